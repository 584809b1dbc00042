package controls

import (
	"github.com/securitybaseline/operator/api/v1alpha1"
)

var images = newAdmissionControl(v1alpha1.ControlImages, "images", func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Images != nil },
	AdmissionPolicy{Name: "images", Action: imagesAction, Scope: ScopeInsideNamespaces})

func imagesAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Images == nil {
		return ""
	}
	return orDeny(spec.Images.Action)
}
