package controls

import (
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// NotAllowed says who is bound to a role that may do everything and may not be,
// and what to do; empty if nobody. The policy restrict-cluster-admin.securitybaseline.io
// judges alike.
func ClusterAdminViolation(binding string, roleRef rbacv1.RoleRef, subjects []rbacv1.Subject, allowed *v1alpha1.ClusterAdmin) string {
	var others []string
	for _, subject := range subjects {
		known := slices.ContainsFunc(allowed.AllowedSubjects, func(a v1alpha1.Subject) bool {
			return a.Kind == subject.Kind && a.Name == subject.Name && (a.Kind != rbacv1.ServiceAccountKind || a.Namespace == subject.Namespace)
		})
		if !known && !IsControlPlaneSubject(subject) {
			others = append(others, SubjectName(subject))
		}
	}
	if len(others) == 0 {
		return ""
	}
	return fmt.Sprintf("%s grants everything, by %s %s, to %s; delete it or bind a narrower role, or add them to rbac.clusterAdmin.allowedSubjects",
		binding, roleRef.Kind, roleRef.Name, strings.Join(others, ", "))
}
