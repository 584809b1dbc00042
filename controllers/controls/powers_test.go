package controls

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func rule(groups, resources, verbs []string) rbacv1.PolicyRule {
	return rbacv1.PolicyRule{APIGroups: groups, Resources: resources, Verbs: verbs}
}

type words = []string

func TestAllPowerful(t *testing.T) {
	for _, test := range []struct {
		name  string
		rules []rbacv1.PolicyRule
		want  bool
	}{
		{"no rules", nil, false},
		{"as cluster-admin", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"*"})}, true},
		{"among others", []rbacv1.PolicyRule{rule(words{""}, words{"pods"}, words{"get"}), rule(words{"", "*"}, words{"pods", "*"}, words{"get", "*"})}, true},
		{"of one group", []rbacv1.PolicyRule{rule(words{"apps"}, words{"*"}, words{"*"})}, false},
		{"making everything", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"get", "create", "update"})}, true},
		{"removing everything, as the garbage collector", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"get", "list", "patch", "update", "delete"})}, false},
		{"reading everything", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"get", "list", "watch"})}, false},
		{"in parts that do not add up", []rbacv1.PolicyRule{rule(words{"*"}, words{"pods"}, words{"*"}), rule(words{"*"}, words{"*"}, words{"get"})}, false},
		{"by a verb that brings all others", []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"get", "create", "update", "escalate"})}, true},
		{"but not on some resources", []rbacv1.PolicyRule{rule(words{"*"}, words{"clusterroles"}, words{"escalate"})}, false},
		{"of non-resources", []rbacv1.PolicyRule{{NonResourceURLs: words{"*"}, Verbs: words{"*"}}}, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := GrantsAll(test.rules); got != test.want {
				t.Errorf("%t", got)
			}
		})
	}
}

func TestRisk(t *testing.T) {
	jane := rbacv1.Subject{Kind: "User", Name: "jane"}
	robot := rbacv1.Subject{Kind: "ServiceAccount", Namespace: "ci", Name: "robot"}
	for _, test := range []struct {
		name       string
		rules      []rbacv1.PolicyRule
		subjects   []rbacv1.Subject
		namespaced bool
		want       string
	}{
		{name: "an ordinary role", rules: []rbacv1.PolicyRule{rule(words{"", "apps"}, words{"pods", "deployments"}, words{"*"})}, subjects: []rbacv1.Subject{jane}},
		{name: "escalate", rules: []rbacv1.PolicyRule{rule(words{rbacv1.GroupName}, words{"clusterroles"}, words{"escalate", "update"})},
			subjects: []rbacv1.Subject{robot, jane}, want: "B, which the operator did not make, grants escalate to User jane by ClusterRole r; see whether they need it"},
		{name: "bind and escalate, by all verbs", rules: []rbacv1.PolicyRule{rule(words{"*"}, words{"roles"}, words{"*"})},
			subjects: []rbacv1.Subject{jane}, want: "B, which the operator did not make, grants bind and escalate to User jane by ClusterRole r; see whether they need it"},
		{name: "impersonation of users", rules: []rbacv1.PolicyRule{rule(words{""}, words{"users"}, words{"impersonate"})},
			subjects: []rbacv1.Subject{{Kind: "Group", Name: "ops"}}, want: "B, which the operator did not make, grants impersonate to Group ops by ClusterRole r; see whether they need it"},
		{name: "impersonation of ServiceAccounts in the whole cluster", rules: []rbacv1.PolicyRule{rule(words{""}, words{"serviceaccounts"}, words{"impersonate"})},
			subjects: []rbacv1.Subject{jane}, want: "B, which the operator did not make, grants impersonate to User jane by ClusterRole r; see whether they need it"},
		{name: "but not in a namespace, where edit has it", rules: []rbacv1.PolicyRule{rule(words{""}, words{"serviceaccounts"}, words{"impersonate"})},
			subjects: []rbacv1.Subject{jane}, namespaced: true},
		{name: "everything", rules: []rbacv1.PolicyRule{rule(words{""}, words{"*"}, words{"*"})},
			subjects: []rbacv1.Subject{jane}, want: "B, which the operator did not make, grants all verbs on all resources of the core group to User jane by ClusterRole r; see whether they need it"},
		{name: "verbs of another group", rules: []rbacv1.PolicyRule{rule(words{"apps"}, words{"roles"}, words{"bind"})}, subjects: []rbacv1.Subject{jane}},
		{name: "to machines only", rules: []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"*"})}, subjects: []rbacv1.Subject{robot}},
		{name: "to Kubernetes' own", rules: []rbacv1.PolicyRule{rule(words{"*"}, words{"*"}, words{"*"})},
			subjects: []rbacv1.Subject{{Kind: "Group", Name: "system:masters"}, {Kind: "User", Name: "system:kube-scheduler"}}},
		{name: "to everybody", rules: []rbacv1.PolicyRule{rule(words{rbacv1.GroupName}, words{"roles"}, words{"bind"})},
			subjects: []rbacv1.Subject{{Kind: "Group", Name: "system:authenticated"}, {Kind: "User", Name: "system:anonymous"}},
			want:     "B, which the operator did not make, grants bind to Group system:authenticated, User system:anonymous by ClusterRole r; see whether they need it"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := EscalationFinding("B", rbacv1.RoleRef{Kind: "ClusterRole", Name: "r"}, test.subjects, test.rules, test.namespaced); got != test.want {
				t.Errorf("%q", got)
			}
		})
	}
}

// The policies of others that undo a default-deny, and those that only look so.
func TestOpenings(t *testing.T) {
	from := func(cidr string, except ...string) networkingv1.NetworkPolicySpec {
		return networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{
			From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}},
		}}}
	}
	const ingress = "NetworkPolicy/theirs, which the operator did not make, opens all pods to ingress from everybody, so that it is not denied; delete it or make it narrower"
	const fromPods = "NetworkPolicy/theirs, which the operator did not make, opens all pods to ingress from every pod of the cluster, so that it is not denied; delete it or make it narrower"
	const mostPods = "NetworkPolicy/theirs, which the operator did not make, opens all pods but some to ingress from everybody, so that it is not denied; delete it or make it narrower"
	port := func(protocol corev1.Protocol, first, last int32) networkingv1.NetworkPolicyPort {
		out := networkingv1.NetworkPolicyPort{Protocol: &protocol}
		if first > 0 {
			out.Port, out.EndPort = new(intstr.FromInt32(first)), &last
		}
		return out
	}
	through := func(ports ...networkingv1.NetworkPolicyPort) networkingv1.NetworkPolicySpec {
		return networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{Ports: ports}}}
	}
	peers := func(peers ...networkingv1.NetworkPolicyPeer) networkingv1.NetworkPolicySpec {
		return networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: peers}}}
	}
	block := func(cidr string) networkingv1.NetworkPolicyPeer {
		return networkingv1.NetworkPolicyPeer{IPBlock: &networkingv1.IPBlock{CIDR: cidr}}
	}
	pods := func(operator metav1.LabelSelectorOperator) networkingv1.NetworkPolicySpec {
		return networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{Key: "app", Operator: operator}}},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		}
	}
	const egress = "NetworkPolicy/theirs, which the operator did not make, opens all pods to egress to everybody, so that it is not denied; delete it or make it narrower"
	for _, test := range []struct {
		name   string
		theirs networkingv1.NetworkPolicySpec
		want   []string
	}{
		{"allows nothing", networkingv1.NetworkPolicySpec{}, nil},
		{"everybody in", networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}}, []string{ingress}},
		{"both ways", networkingv1.NetworkPolicySpec{
			Ingress: []networkingv1.NetworkPolicyIngressRule{{}}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
		}, []string{ingress, egress}},
		{"every address", from("0.0.0.0/0"), []string{ingress}},
		{"every address of IPv6", from("::/0"), []string{ingress}},
		{"not quite every address", from("0.0.0.0/0", "10.0.0.0/8"), nil},
		{"every address but a metadata service's", from("0.0.0.0/0", "169.254.169.254/32"), []string{ingress}},
		{"half of them", from("0.0.0.0/1"), nil},
		{"both halves", peers(block("0.0.0.0/1"), block("128.0.0.0/1")), []string{ingress}},
		{"both halves, in two rules", networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{
			{From: []networkingv1.NetworkPolicyPeer{block("::/1")}}, {From: []networkingv1.NetworkPolicyPeer{block("8000::/1")}},
		}}, []string{ingress}},
		{"some port", through(port("TCP", 443, 443), port("UDP", 0, 0)), nil},
		{"every port of TCP", through(port("TCP", 0, 0)), []string{ingress}},
		{"every port of TCP, counted", through(port("TCP", 1, 65535)), []string{ingress}},
		{"every port of TCP, in parts", through(port("TCP", 1, 30000), port("TCP", 30001, 65535)), []string{ingress}},
		{"all but the first", through(port("TCP", 2, 65535)), []string{ingress}},
		{"half of them all", through(port("TCP", 1, 30000)), nil},
		{"a port by its name", through(networkingv1.NetworkPolicyPort{Port: new(intstr.FromString("http"))}), nil},
		{"every pod of the cluster, by the label that every namespace has", peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpExists}},
		}}), []string{fromPods}},
		{"a port of no protocol", through(networkingv1.NetworkPolicyPort{}), []string{ingress}},
		{"every pod of the cluster", peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}}), []string{fromPods}},
		{"the pods of some namespaces", peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}), nil},
		{"some pods of every namespace", peers(networkingv1.NetworkPolicyPeer{
			NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		}), nil},
		{"pods without a label", pods(metav1.LabelSelectorOpDoesNotExist), []string{mostPods}},
		{"pods with a label", pods(metav1.LabelSelectorOpExists), nil},
		{"some pods", networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}, nil},
		{"some peers", networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{
			From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}},
		}}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			other := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "theirs"}, Spec: test.theirs}
			baseline := &v1alpha1.SecurityBaseline{Spec: v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Egress", "Ingress"}}}}
			got := network.Render(baseline, Namespace{Name: "n", Unmanaged: []Object{other}}).Violations
			equal(t, test.want, got)
		})
	}
	t.Run("of a direction that is not denied", func(t *testing.T) {
		other := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{}}}}
		baseline := &v1alpha1.SecurityBaseline{Spec: v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}}}}
		equal(t, nil, network.Render(baseline, Namespace{Unmanaged: []Object{other}}).Violations)
	})
}

func TestDenies(t *testing.T) {
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}}}}
	asked := network.Render(baseline, Namespace{Name: "n"}).Objects[0].(*networkingv1.NetworkPolicy)
	for _, test := range []struct {
		name   string
		change func(*networkingv1.NetworkPolicy)
		want   bool
	}{
		{"as asked for", func(*networkingv1.NetworkPolicy) {}, true},
		{"of nobody's", func(p *networkingv1.NetworkPolicy) { p.Labels = nil }, false},
		{"of another name", func(p *networkingv1.NetworkPolicy) { p.Name = "security-baseline-deny" }, false},
		{"open", func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}} }, false},
		{"of the other direction", func(p *networkingv1.NetworkPolicy) { p.Spec.PolicyTypes = []networkingv1.PolicyType{"Egress"} }, false},
		{"for some pods", func(p *networkingv1.NetworkPolicy) { p.Spec.PodSelector.MatchLabels = map[string]string{"a": "b"} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			object := asked.DeepCopy()
			test.change(object)
			equal(t, test.want, IsDefaultDeny(baseline, object))
		})
	}
	equal(t, false, IsDefaultDeny(&v1alpha1.SecurityBaseline{}, asked))
}

func TestNotAllowed(t *testing.T) {
	allowed := &v1alpha1.ClusterAdmin{AllowedSubjects: []v1alpha1.Subject{{Kind: "Group", Name: "ops"}, {Kind: "ServiceAccount", Namespace: "flux", Name: "sync"}}}
	subject := func(kind, namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: kind, Namespace: namespace, Name: name}
	}
	for _, test := range []struct {
		name     string
		subjects []rbacv1.Subject
		want     string
	}{
		{name: "nobody"},
		{name: "who is allowed", subjects: []rbacv1.Subject{subject("Group", "", "ops"), subject("ServiceAccount", "flux", "sync")}},
		{name: "what only sounds like Kubernetes' own", subjects: []rbacv1.Subject{subject("User", "", "system:eve"), subject("Group", "", "system:nodes")},
			want: "B grants everything, by ClusterRole cluster-admin, to User system:eve, Group system:nodes; delete it or bind a narrower role, or add them to rbac.clusterAdmin.allowedSubjects"},
		{name: "Kubernetes' own", subjects: []rbacv1.Subject{subject("Group", "", "system:masters"), subject("User", "", "system:kube-controller-manager")}},
		{name: "all who are not, by name", subjects: []rbacv1.Subject{subject("User", "", "ops"), subject("Group", "", "ops"), subject("ServiceAccount", "ci", "sync")},
			want: "B grants everything, by ClusterRole cluster-admin, to User ops, ServiceAccount ci/sync; delete it or bind a narrower role, or add them to rbac.clusterAdmin.allowedSubjects"},
		{name: "a ServiceAccount as a user", subjects: []rbacv1.Subject{subject("User", "", "system:serviceaccount:ci:sync")},
			want: "B grants everything, by ClusterRole cluster-admin, to User system:serviceaccount:ci:sync; delete it or bind a narrower role, or add them to rbac.clusterAdmin.allowedSubjects"},
	} {
		t.Run(test.name, func(t *testing.T) {
			equal(t, test.want, ClusterAdminViolation("B", rbacv1.RoleRef{Kind: "ClusterRole", Name: "cluster-admin"}, test.subjects, allowed))
		})
	}
}
