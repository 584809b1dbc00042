package controls

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func TestNetworkViolations_PolicyUndoesDefaultDeny(t *testing.T) {
	from := func(cidr string, except ...string) networkingv1.NetworkPolicySpec {
		return networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{
			From: []networkingv1.NetworkPolicyPeer{{IPBlock: &networkingv1.IPBlock{CIDR: cidr, Except: except}}},
		}}}
	}
	const ingress = "NetworkPolicy/unmanaged is not managed by the operator and allows all pods ingress from anywhere, which undoes the default deny; delete it or narrow it"
	const fromPods = "NetworkPolicy/unmanaged is not managed by the operator and allows all pods ingress from every pod in the cluster, which undoes the default deny; delete it or narrow it"
	const mostPods = "NetworkPolicy/unmanaged is not managed by the operator and allows nearly all pods ingress from anywhere, which undoes the default deny; delete it or narrow it"
	port := func(protocol corev1.Protocol, first, last int32) networkingv1.NetworkPolicyPort {
		out := networkingv1.NetworkPolicyPort{Protocol: &protocol}
		if first > 0 {
			out.Port = new(intstr.FromInt32(first))
			out.EndPort = &last
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
	const egress = "NetworkPolicy/unmanaged is not managed by the operator and allows all pods egress to anywhere, which undoes the default deny; delete it or narrow it"
	for _, test := range []struct {
		name   string
		policy networkingv1.NetworkPolicySpec
		want   []string
	}{
		{"allows nothing", networkingv1.NetworkPolicySpec{}, nil},
		{"ingress rule without peers", networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}}, []string{ingress}},
		{"both directions", networkingv1.NetworkPolicySpec{
			Ingress: []networkingv1.NetworkPolicyIngressRule{{}}, Egress: []networkingv1.NetworkPolicyEgressRule{{}},
		}, []string{ingress, egress}},
		{"all IPv4 addresses", from("0.0.0.0/0"), []string{ingress}},
		{"all IPv6 addresses", from("::/0"), []string{ingress}},
		{"large exception", from("0.0.0.0/0", "10.0.0.0/8"), nil},
		{"metadata service as the only exception", from("0.0.0.0/0", "169.254.169.254/32"), []string{ingress}},
		{"half of all addresses", from("0.0.0.0/1"), nil},
		{"both halves of all addresses", peers(block("0.0.0.0/1"), block("128.0.0.0/1")), []string{ingress}},
		{"both halves in two rules", networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{
			{From: []networkingv1.NetworkPolicyPeer{block("::/1")}}, {From: []networkingv1.NetworkPolicyPeer{block("8000::/1")}},
		}}, []string{ingress}},
		{"some ports", through(port("TCP", 443, 443), port("UDP", 0, 0)), nil},
		{"all TCP ports", through(port("TCP", 0, 0)), []string{ingress}},
		{"all TCP ports as a range", through(port("TCP", 1, 65535)), []string{ingress}},
		{"all TCP ports as two ranges", through(port("TCP", 1, 30000), port("TCP", 30001, 65535)), []string{ingress}},
		{"all TCP ports except the first", through(port("TCP", 2, 65535)), []string{ingress}},
		{"half of all TCP ports", through(port("TCP", 1, 30000)), nil},
		{"named port", through(networkingv1.NetworkPolicyPort{Port: new(intstr.FromString("http"))}), nil},
		{"all pods in the cluster, selected by the name label", peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{
			MatchExpressions: []metav1.LabelSelectorRequirement{{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpExists}},
		}}), []string{fromPods}},
		{"port without number and protocol", through(networkingv1.NetworkPolicyPort{}), []string{ingress}},
		{"all pods in the cluster", peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{}}), []string{fromPods}},
		{"pods of some namespaces", peers(networkingv1.NetworkPolicyPeer{NamespaceSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}}}), nil},
		{"some pods of every namespace", peers(networkingv1.NetworkPolicyPeer{
			NamespaceSelector: &metav1.LabelSelector{}, PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
		}), nil},
		{"selects pods without a label", pods(metav1.LabelSelectorOpDoesNotExist), []string{mostPods}},
		{"selects pods with a label", pods(metav1.LabelSelectorOpExists), nil},
		{"selects some pods", networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "web"}}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}, nil},
		{"some peers", networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{
			From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}},
		}}}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			unmanaged := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: "unmanaged"}, Spec: test.policy}
			baseline := &v1alpha1.SecurityBaseline{Spec: v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Egress", "Ingress"}}}}
			got := network.Render(baseline, Namespace{Name: "n", Unmanaged: []Object{unmanaged}}).Violations
			assertEqual(t, "violations", test.want, got)
		})
	}
	t.Run("direction not denied", func(t *testing.T) {
		unmanaged := &networkingv1.NetworkPolicy{Spec: networkingv1.NetworkPolicySpec{Egress: []networkingv1.NetworkPolicyEgressRule{{}}}}
		baseline := &v1alpha1.SecurityBaseline{Spec: v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}}}}
		assertEqual(t, "violations", nil, network.Render(baseline, Namespace{Unmanaged: []Object{unmanaged}}).Violations)
	})
}
