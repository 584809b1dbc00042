package controls

import (
	"fmt"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// rbac creates RoleBindings, which grant permissions in one namespace only.
// https://kubernetes.io/docs/concepts/security/rbac-good-practices/
var rbac = Control{
	Name:    v1alpha1.ControlRBAC,
	Section: "rbac",
	IsDeclared: func(spec *v1alpha1.SecurityBaselineSpec) bool {
		return spec.RBAC != nil && len(spec.RBAC.RoleBindings) > 0
	},
	Policies: []AdmissionPolicy{{Name: "restrict-cluster-admin", Action: clusterAdminAction, Scope: ScopeCluster}},
	Manages:  []*Kind{roleBindings},
	Observes: []*Kind{roles},
	render:   renderRBAC,
}

func clusterAdminAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.RBAC == nil || spec.RBAC.ClusterAdmin == nil {
		return ""
	}
	return orDeny(spec.RBAC.ClusterAdmin.Action)
}

// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=bind,resourceNames=view;edit;admin

// roleBindings includes those of other authors, which can grant more than was meant.
var roleBindings = &Kind{
	Object: &rbacv1.RoleBinding{},
	List:   &rbacv1.RoleBindingList{},
	ManagedFields: func(object Object) []Field {
		binding := object.(*rbacv1.RoleBinding)
		return []Field{{Path: roleRefPath, Value: binding.RoleRef}, {Path: fieldpath.MakePathOrDie("subjects"), Value: binding.Subjects}}
	},
	SetManagedFields: func(actual, expected Object) {
		actual.(*rbacv1.RoleBinding).Subjects = expected.(*rbacv1.RoleBinding).Subjects
	},
	Immutable: []fieldpath.Path{roleRefPath},
}

var roleRefPath = fieldpath.MakePathOrDie("roleRef")

// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=roles,verbs=list;watch

// roles are observed for the rules that RoleBindings grant.
var roles = &Kind{
	Object: &rbacv1.Role{},
	List:   &rbacv1.RoleList{},
	IsChanged: func(before, after Object) bool {
		return !HasEqualRules(before, after)
	},
}

func renderRBAC(baseline *v1alpha1.SecurityBaseline, namespace Namespace) Desired {
	desired := Desired{Findings: escalationFindings(namespace)}
	for i := range baseline.Spec.RBAC.RoleBindings {
		binding := &baseline.Spec.RBAC.RoleBindings[i]
		subjects, findings := bindingSubjects(binding, namespace)
		desired.Findings = append(desired.Findings, findings...)
		if len(subjects) == 0 {
			// A binding without subjects grants nothing and would mislead readers.
			continue
		}
		desired.Objects = append(desired.Objects, &rbacv1.RoleBinding{
			ObjectMeta: objectMeta(binding.Name),
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: binding.RoleRef.Kind, Name: binding.RoleRef.Name},
			Subjects:   subjects,
		})
	}
	return desired
}

// bindingSubjects returns the subjects of a binding in a namespace: those that the
// baseline lists and those that it derives from labels of the namespace. It returns a
// finding for each label that the namespace does not have.
func bindingSubjects(binding *v1alpha1.NamedRoleBinding, namespace Namespace) (subjects []rbacv1.Subject, findings []string) {
	for _, subject := range binding.Subjects {
		subjects = append(subjects, rbacv1.Subject{
			Kind: subject.Kind, APIGroup: subjectAPIGroup(subject.Kind), Name: subject.Name, Namespace: subject.Namespace,
		})
	}
	for _, from := range binding.SubjectsFrom {
		value := namespace.Labels[from.Label]
		if value == "" {
			findings = append(findings, fmt.Sprintf("binding %s: the namespace has no label %s, so no %s is added from it",
				binding.Name, from.Label, from.Kind))
			continue
		}
		subjects = append(subjects, rbacv1.Subject{Kind: from.Kind, APIGroup: subjectAPIGroup(from.Kind), Name: from.Prefix + value})
	}
	return subjects, findings
}

// subjectAPIGroup returns the value to which the API server defaults the apiGroup of
// a subject.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/rbac/v1/defaults.go
func subjectAPIGroup(kind string) string {
	if kind == rbacv1.ServiceAccountKind {
		return ""
	}
	return rbacv1.GroupName
}

// escalationFindings returns a finding for each unmanaged RoleBinding that allows
// privilege escalation.
func escalationFindings(namespace Namespace) []string {
	var findings []string
	for _, object := range namespace.Unmanaged {
		binding, ok := object.(*rbacv1.RoleBinding)
		if !ok {
			continue
		}
		finding := EscalationFinding("RoleBinding/"+binding.Name, binding.RoleRef, binding.Subjects, namespace.RoleRules[binding.RoleRef], true)
		if finding != "" {
			findings = append(findings, finding)
		}
	}
	return findings
}

// HasEqualRules reports whether two Roles, or two ClusterRoles, grant the same.
func HasEqualRules(a, b Object) bool {
	return equality.Semantic.DeepEqual(rulesOf(a), rulesOf(b))
}

func rulesOf(object Object) []rbacv1.PolicyRule {
	if role, ok := object.(*rbacv1.Role); ok {
		return role.Rules
	}
	return object.(*rbacv1.ClusterRole).Rules
}
