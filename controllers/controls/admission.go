package controls

import (
	"github.com/securitybaseline/operator/api/v1alpha1"
)

// The controls that act at admission. The API server itself enforces them in the
// namespaces that bear their label, by the policies of config/policies.

var images = atAdmission(v1alpha1.ControlImages, "images", func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Images != nil })

var workloads = atAdmission(v1alpha1.ControlWorkloads, "workloads", func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Workloads != nil })

var guard = atAdmission(v1alpha1.ControlGuard, "guard", func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Guard != nil })

// atAdmission returns a control that only labels the namespace.
func atAdmission(name v1alpha1.ControlName, section string, declared func(*v1alpha1.SecurityBaselineSpec) bool) Control {
	label := v1alpha1.GoverningBaselineLabel(name)
	return Control{
		Name:                name,
		Section:             section,
		LabelsNewNamespaces: declared,
		IsDeclared:          declared,
		NamespaceLabels:     []string{label},
		render: func(baseline *v1alpha1.SecurityBaseline, _ Namespace) Desired {
			return Desired{NamespaceLabels: map[string]string{label: baseline.Name}}
		},
	}
}
