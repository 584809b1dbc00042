package v1alpha1

// ControlName identifies a control in exceptions, reports, status and metrics.
//
// +kubebuilder:validation:Enum=PodSecurity;Network;RBAC;ServiceAccounts;Resources;Images;Workloads;Guard
type ControlName string

const (
	// ControlPodSecurity is the control of spec.podSecurity.
	ControlPodSecurity ControlName = "PodSecurity"
	// ControlNetwork is the control of spec.network.
	ControlNetwork ControlName = "Network"
	// ControlRBAC is the control of spec.rbac.
	ControlRBAC ControlName = "RBAC"
	// ControlServiceAccounts is the control of spec.serviceAccounts.
	ControlServiceAccounts ControlName = "ServiceAccounts"
	// ControlResources is the control of spec.resources.
	ControlResources ControlName = "Resources"
	// ControlImages is the control of spec.images.
	ControlImages ControlName = "Images"
	// ControlWorkloads is the control of spec.workloads.
	ControlWorkloads ControlName = "Workloads"
	// ControlGuard is the control of spec.guard.
	ControlGuard ControlName = "Guard"
)
