package v1alpha1

// PodSecurityReport compares the pods that run in a namespace with the Pod
// Security level that a baseline enforces. It is the result of the API server's
// own Pod Security admission.
type PodSecurityReport struct {
	// level is the level and the version of the standards that the pods were
	// compared with, such as restricted:latest.
	// +required
	Level string `json:"level"`

	// enforced is the highest level and version that the namespace has reached so
	// far. The operator does not lower it while the baseline declares this level
	// or a higher one.
	// +optional
	Enforced string `json:"enforced,omitempty"`

	// violations lists the pods that the level rejects, in the words of the API
	// server.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=100
	Violations []PodViolation `json:"violations,omitempty"`

	// incomplete describes what the API server did not check or left out of its
	// response. It checks at most 3,000 pods within one second, and its responses
	// have at most 4,096 characters. With the rollout WhenClean, incomplete also
	// names a workload that is being rolled out, whose pods may not exist yet.
	// +optional
	Incomplete string `json:"incomplete,omitempty"`

	// provisional is true after another author changed the enforced level. Before
	// the operator reverted it, pods may have been admitted that the API server
	// did not check, so the operator checks again soon.
	// +optional
	Provisional bool `json:"provisional,omitempty"`
}

// PodViolation describes why a level rejects pods.
type PodViolation struct {
	// pods names one pod and the number of other pods that violate the level in
	// the same way, in the format of the API server.
	// +required
	Pods string `json:"pods"`

	// reasons describes what the pods violate, and with which fields.
	// +required
	Reasons string `json:"reasons"`
}
