package v1alpha1

// ControlGuard is the control of spec.guard.
const ControlGuard ControlName = "Guard"

// Guard protects the managed objects in a governed namespace, the namespace
// labels that the operator set, and the labels by which baselines select
// namespaces or name subjects. Only the operator, Kubernetes' own controllers
// and exempt subjects can change or delete them.
type Guard struct {
	// exempt lists additional subjects that can change and delete them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Exempt []Subject `json:"exempt,omitempty"`

	// action is what the API server does with a change that violates this control:
	// Deny, the default, Warn or Audit.
	// +optional
	// +kubebuilder:default=Deny
	Action Action `json:"action,omitempty"`
}
