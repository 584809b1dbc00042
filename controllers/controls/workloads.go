package controls

import (
	"github.com/securitybaseline/operator/api/v1alpha1"
)

var workloads = newAdmissionControl(v1alpha1.ControlWorkloads, "workloads", func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Workloads != nil },
	AdmissionPolicy{Name: "workloads", Action: workloadsAction, Scope: ScopeInsideNamespaces})

func workloadsAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Workloads == nil {
		return ""
	}
	return orDeny(spec.Workloads.Action)
}
