package v1alpha1

// ControlName identifies a control in exceptions, reports, status and metrics. Each
// control has a constant beside the type of its section. The CRD accepts the names in the
// table of controls: the word CONTROLS stands for them.
//
// +kubebuilder:validation:Enum=CONTROLS
type ControlName string
