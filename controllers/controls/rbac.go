package controls

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// rbac makes RoleBindings, which grant within one namespace only.
// https://kubernetes.io/docs/concepts/security/rbac-good-practices/
var rbac = Control{
	Name: v1alpha1.ControlRBAC,
	IsDeclared: func(spec *v1alpha1.SecurityBaselineSpec) bool {
		return spec.RBAC != nil && len(spec.RBAC.RoleBindings) > 0
	},
	render: renderRBAC,
}

func renderRBAC(baseline *v1alpha1.SecurityBaseline, namespace Namespace) Desired {
	desired := Desired{Findings: risks(namespace)}
	for i := range baseline.Spec.RBAC.RoleBindings {
		binding := &baseline.Spec.RBAC.RoleBindings[i]
		subjects, findings := subjectsOf(binding, namespace)
		desired.Findings = append(desired.Findings, findings...)
		if len(subjects) == 0 {
			// Nobody to grant it to here: a binding would only mislead.
			continue
		}
		desired.Objects = append(desired.Objects, Object(&rbacv1.RoleBinding{
			ObjectMeta: objectMeta(binding.Name),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: binding.RoleRef.Kind, Name: binding.RoleRef.Name},
			Subjects:   subjects,
		}))
	}
	return desired
}

func subjectsOf(binding *v1alpha1.NamedRoleBinding, namespace Namespace) (subjects []rbacv1.Subject, findings []string) {
	for _, subject := range binding.Subjects {
		subjects = append(subjects, rbacv1.Subject{
			Kind: subject.Kind, APIGroup: subjectAPIGroup(subject.Kind), Name: subject.Name, Namespace: subject.Namespace,
		})
	}
	for _, from := range binding.SubjectsFrom {
		value := namespace.Labels[from.Label]
		if value == "" {
			findings = append(findings, fmt.Sprintf("binding %s: the namespace has no label %s, so it grants to no %s by it",
				binding.Name, from.Label, from.Kind))
			continue
		}
		subjects = append(subjects, rbacv1.Subject{Kind: from.Kind, APIGroup: subjectAPIGroup(from.Kind), Name: from.Prefix + value})
	}
	return subjects, findings
}

// subjectAPIGroup is what the API server defaults a subject's apiGroup to.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/rbac/v1/defaults.go
func subjectAPIGroup(kind string) string {
	if kind == rbacv1.ServiceAccountKind {
		return ""
	}
	return rbacv1.GroupName
}

// risks says which of the bindings that other people made let somebody obtain
// more than was meant.
func risks(namespace Namespace) []string {
	var risks []string
	for _, other := range namespace.Unmanaged {
		binding, ok := other.(*rbacv1.RoleBinding)
		if !ok {
			continue
		}
		if risk := EscalationFinding("RoleBinding/"+binding.Name, binding.RoleRef, binding.Subjects, namespace.RoleRules[binding.RoleRef], true); risk != "" {
			risks = append(risks, risk)
		}
	}
	return risks
}
