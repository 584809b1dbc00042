package controls

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func TestHasAllPermissions_AllVerbsOrEscalatingVerbOnAllResources(t *testing.T) {
	for _, test := range []struct {
		name  string
		rules []rbacv1.PolicyRule
		want  bool
	}{
		{"no rules", nil, false},
		{"all verbs, as cluster-admin", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"*"})}, true},
		{"one rule of several", []rbacv1.PolicyRule{rule(words{""}, words{"pods"}, words{"get"}), rule(words{"", "*"}, words{"pods", "*"}, words{"get", "*"})}, true},
		{"one API group", []rbacv1.PolicyRule{rule(words{"apps"}, words{"*"}, words{"*"})}, false},
		{"create on all resources", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"get", "create", "update"})}, true},
		{"delete on all resources, as the garbage collector", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"get", "list", "patch", "update", "delete"})}, false},
		{"read on all resources", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"get", "list", "watch"})}, false},
		{"wildcards in separate rules", []rbacv1.PolicyRule{rule(words{"*"}, words{"pods"}, words{"*"}), rule(words{"*"}, words{"*"}, words{"get"})}, false},
		{"escalate on all resources", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"get", "create", "update", "escalate"})}, true},
		{"escalate on one resource", []rbacv1.PolicyRule{rule(words{"*"}, words{"clusterroles"}, words{"escalate"})}, false},
		{"non-resource URLs", []rbacv1.PolicyRule{{NonResourceURLs: words{"*"}, Verbs: words{"*"}}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := HasAllPermissions(test.rules); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}

func TestClusterAdminViolation_NamesDisallowedSubjects(t *testing.T) {
	allowed := &v1alpha1.ClusterAdmin{AllowedSubjects: []v1alpha1.Subject{{Kind: "Group", Name: "ops"}, {Kind: "ServiceAccount", Namespace: "flux", Name: "sync"}}}
	subject := func(kind, namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: kind, Namespace: namespace, Name: name}
	}
	for _, test := range []struct {
		name     string
		subjects []rbacv1.Subject
		want     string
	}{
		{name: "no subjects"},
		{name: "allowed subjects", subjects: []rbacv1.Subject{subject("Group", "", "ops"), subject("ServiceAccount", "flux", "sync")}},
		{name: "other subjects with the prefix system:", subjects: []rbacv1.Subject{subject("User", "", "system:eve"), subject("Group", "", "system:nodes")},
			want: "B grants all permissions through ClusterRole cluster-admin to User system:eve, Group system:nodes; delete it, bind a narrower role, or add the subjects to rbac.clusterAdmin.allowedSubjects"},
		{name: "control plane subjects", subjects: []rbacv1.Subject{subject("Group", "", "system:masters"), subject("User", "", "system:kube-controller-manager")}},
		{name: "names of allowed subjects, other kind or namespace", subjects: []rbacv1.Subject{subject("User", "", "ops"), subject("Group", "", "ops"), subject("ServiceAccount", "ci", "sync")},
			want: "B grants all permissions through ClusterRole cluster-admin to User ops, ServiceAccount ci/sync; delete it, bind a narrower role, or add the subjects to rbac.clusterAdmin.allowedSubjects"},
		{name: "ServiceAccount as a User", subjects: []rbacv1.Subject{subject("User", "", "system:serviceaccount:ci:sync")},
			want: "B grants all permissions through ClusterRole cluster-admin to User system:serviceaccount:ci:sync; delete it, bind a narrower role, or add the subjects to rbac.clusterAdmin.allowedSubjects"},
	} {
		t.Run(test.name, func(t *testing.T) {
			assertEqual(t, "violation", test.want, ClusterAdminViolation("B", rbacv1.RoleRef{Kind: "ClusterRole", Name: "cluster-admin"}, test.subjects, allowed))
		})
	}
}
