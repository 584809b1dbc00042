package controls

import (
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
)

func rule(groups, resources, verbs []string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: groups, Resources: resources, Verbs: verbs}
}

type words = []string

func TestEscalationFinding_NamesPermissionsAndHumans(t *testing.T) {
	jane := rbacv1.Subject{Kind: "User", Name: "jane"}
	robot := rbacv1.Subject{Kind: "ServiceAccount", Namespace: "ci", Name: "robot"}
	for _, test := range []struct {
		name       string
		rules      []rbacv1.PolicyRule
		subjects   []rbacv1.Subject
		namespaced bool
		want       string
	}{
		{name: "no escalating verb", rules: []rbacv1.PolicyRule{rule(words{"", "apps"}, words{"pods", "deployments"}, words{"*"})}, subjects: []rbacv1.Subject{jane}},
		{name: "escalate", rules: []rbacv1.PolicyRule{rule(words{rbacv1.GroupName}, words{"clusterroles"}, words{"escalate", "update"})},
			subjects: []rbacv1.Subject{robot, jane}, want: "B is not managed by the operator and grants escalate to User jane through ClusterRole r; check whether they need it"},
		{name: "bind and escalate from the wildcard verb", rules: []rbacv1.PolicyRule{rule(words{"*"}, words{"roles"}, words{"*"})},
			subjects: []rbacv1.Subject{jane}, want: "B is not managed by the operator and grants bind and escalate to User jane through ClusterRole r; check whether they need it"},
		{name: "impersonate users", rules: []rbacv1.PolicyRule{rule(words{""}, words{"users"}, words{"impersonate"})},
			subjects: []rbacv1.Subject{{Kind: "Group", Name: "ops"}}, want: "B is not managed by the operator and grants impersonate to Group ops through ClusterRole r; check whether they need it"},
		{name: "impersonate ServiceAccounts in the cluster", rules: []rbacv1.PolicyRule{rule(words{""}, words{"serviceaccounts"}, words{"impersonate"})},
			subjects: []rbacv1.Subject{jane}, want: "B is not managed by the operator and grants impersonate to User jane through ClusterRole r; check whether they need it"},
		{name: "impersonate ServiceAccounts in one namespace, as the role edit", rules: []rbacv1.PolicyRule{rule(words{""}, words{"serviceaccounts"}, words{"impersonate"})},
			subjects: []rbacv1.Subject{jane}, namespaced: true},
		{name: "all verbs on all resources of one group", rules: []rbacv1.PolicyRule{rule(words{""}, words{"*"}, words{"*"})},
			subjects: []rbacv1.Subject{jane}, want: "B is not managed by the operator and grants all verbs on all resources in the core group to User jane through ClusterRole r; check whether they need it"},
		{name: "resource of another group", rules: []rbacv1.PolicyRule{rule(words{"apps"}, words{"roles"}, words{"bind"})}, subjects: []rbacv1.Subject{jane}},
		{name: "ServiceAccounts only", rules: []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"*"})}, subjects: []rbacv1.Subject{robot}},
		{name: "control plane subjects", rules: []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"*"})},
			subjects: []rbacv1.Subject{{Kind: "Group", Name: "system:masters"}, {Kind: "User", Name: "system:kube-scheduler"}}},
		{name: "all users", rules: []rbacv1.PolicyRule{rule(words{rbacv1.GroupName}, words{"roles"}, words{"bind"})},
			subjects: []rbacv1.Subject{{Kind: "Group", Name: "system:authenticated"}, {Kind: "User", Name: "system:anonymous"}},
			want:     "B is not managed by the operator and grants bind to Group system:authenticated, User system:anonymous through ClusterRole r; check whether they need it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := EscalationFinding("B", rbacv1.RoleRef{Kind: "ClusterRole", Name: "r"}, test.subjects, test.rules, test.namespaced); got != test.want {
				t.Errorf("got %q, want %q", got, test.want)
			}
		})
	}
}
