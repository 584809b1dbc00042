package v1alpha1

// ControlServiceAccounts is the control of spec.serviceAccounts.
const ControlServiceAccounts ControlName = "ServiceAccounts"

// ServiceAccounts configures the ServiceAccount named default of each governed
// namespace.
type ServiceAccounts struct {
	// automountDefaultToken must be false: pods that run as the ServiceAccount
	// default of their namespace get no API token, unless they request one
	// themselves.
	// https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#opt-out-of-api-credential-automounting
	// +required
	// +kubebuilder:validation:XValidation:rule="!self",message="serviceAccounts.automountDefaultToken must be false, because true is already the default in Kubernetes; set it to false or remove serviceAccounts"
	AutomountDefaultToken *bool `json:"automountDefaultToken,omitempty"`
}
