package controls

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// ClusterAdminViolation names the subjects that a binding grants all permissions
// although rbac.clusterAdmin does not allow them, and says what to do. It returns
// "" if there are none. The policy restrict-cluster-admin.securitybaseline.io
// applies the same rule at admission.
func ClusterAdminViolation(binding string, roleRef rbacv1.RoleRef, subjects []rbacv1.Subject, allowed *v1alpha1.ClusterAdmin) string {
	var disallowed []string
	for _, subject := range subjects {
		isAllowed := slices.ContainsFunc(allowed.AllowedSubjects, func(a v1alpha1.Subject) bool {
			return a.Kind == subject.Kind && a.Name == subject.Name && (a.Kind != rbacv1.ServiceAccountKind || a.Namespace == subject.Namespace)
		})
		if !isAllowed && !IsControlPlaneSubject(subject) {
			disallowed = append(disallowed, SubjectName(subject))
		}
	}
	if len(disallowed) == 0 {
		return ""
	}
	return fmt.Sprintf("%s grants all permissions through %s %s to %s; delete it, bind a narrower role, or add the subjects to rbac.clusterAdmin.allowedSubjects",
		binding, roleRef.Kind, roleRef.Name, strings.Join(disallowed, ", "))
}

// HasAllPermissions reports whether rules grant all permissions: on all resources, either
// all verbs, as cluster-admin does, or one verb through which a subject can obtain
// the others. The verb create is one of these because it makes tokens and pods for
// any ServiceAccount.
func HasAllPermissions(rules []rbacv1.PolicyRule) bool {
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.Resources, rbacv1.ResourceAll) && slices.Contains(rule.APIGroups, rbacv1.APIGroupAll) &&
			slices.ContainsFunc(rule.Verbs, func(verb string) bool {
				return verb == rbacv1.VerbAll || verb == "create" || slices.ContainsFunc(escalations, func(e escalation) bool { return e.verb == verb })
			})
	})
}
