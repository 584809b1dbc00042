package controls

import (
	"github.com/securitybaseline/operator/api/v1alpha1"
)

var images = atAdmission(v1alpha1.ControlImages, "images", func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Images != nil },
	AdmissionPolicy{Name: "images", Action: imagesAction, Scope: ScopeInsideNamespaces})

func imagesAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Images == nil {
		return ""
	}
	return orDeny(spec.Images.Action)
}

// atAdmission returns a control that only labels the namespace. The API server
// enforces such a control itself: the admission policies in config/policies apply
// to the namespaces that have its label.
func atAdmission(name v1alpha1.ControlName, section string, declared func(*v1alpha1.SecurityBaselineSpec) bool, policies ...AdmissionPolicy) Control {
	label := v1alpha1.GoverningBaselineLabel(name)
	return Control{
		Name:                name,
		Section:             section,
		LabelsNewNamespaces: declared,
		IsDeclared:          declared,
		Policies:            policies,
		NamespaceLabels:     []string{label},
		render: func(baseline *v1alpha1.SecurityBaseline, _ Namespace) Desired {
			return Desired{NamespaceLabels: map[string]string{label: baseline.Name}}
		},
	}
}
