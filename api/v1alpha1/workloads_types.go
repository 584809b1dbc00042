package v1alpha1

// ControlWorkloads is the control of spec.workloads.
const ControlWorkloads ControlName = "Workloads"

// Workloads sets what pods and pod templates must specify. Ephemeral
// containers, which kubectl debug adds, are not checked.
//
// +kubebuilder:validation:XValidation:rule="(has(self.requireLimits) && self.requireLimits) || (has(self.readOnlyRootFilesystem) && self.readOnlyRootFilesystem) || (has(self.forbidDefaultServiceAccount) && self.forbidDefaultServiceAccount)",message="workloads has no rule; set requireLimits, readOnlyRootFilesystem or forbidDefaultServiceAccount to true"
type Workloads struct {
	// requireLimits requires each container, or the pod as a whole, to set a cpu
	// request, a memory request and a memory limit. Defaults to false.
	// +optional
	RequireLimits bool `json:"requireLimits,omitempty"`

	// readOnlyRootFilesystem requires a read-only root filesystem in each
	// container. Defaults to false.
	// +optional
	ReadOnlyRootFilesystem bool `json:"readOnlyRootFilesystem,omitempty"`

	// forbidDefaultServiceAccount forbids pods to run as the ServiceAccount
	// default, which all pods share that do not name a ServiceAccount. Defaults to
	// false.
	// +optional
	ForbidDefaultServiceAccount bool `json:"forbidDefaultServiceAccount,omitempty"`

	// action is what the API server does with pods that violate this control:
	// Deny, the default, Warn or Audit.
	// +optional
	// +kubebuilder:default=Deny
	Action Action `json:"action,omitempty"`
}
