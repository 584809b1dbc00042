package v1alpha1

// ClusterAdmin limits who may have all permissions in the cluster or in a
// namespace. The bindings of Kubernetes itself, for the group system:masters
// and the Kubernetes components, are always allowed.
type ClusterAdmin struct {
	// allowedSubjects lists the subjects that may be bound. The API server denies
	// new bindings of other subjects; existing ones are violations.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	AllowedSubjects []Subject `json:"allowedSubjects,omitempty"`

	// action is what the API server does with a new binding of a subject that is
	// not allowed: Deny, the default, Warn or Audit.
	// +optional
	// +kubebuilder:default=Deny
	Action Action `json:"action,omitempty"`
}
