package controls

import (
	"github.com/securitybaseline/operator/api/v1alpha1"
)

var guard = newAdmissionControl(v1alpha1.ControlGuard, "guard", func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Guard != nil },
	AdmissionPolicy{Name: "protect-managed-objects", Action: guardAction, Scope: ScopeInsideNamespaces},
	AdmissionPolicy{Name: "protect-namespace-labels", Action: guardAction, Scope: ScopeNamespaces})

func guardAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Guard == nil {
		return ""
	}
	return orDeny(spec.Guard.Action)
}
