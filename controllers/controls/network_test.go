package controls

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func TestIsDefaultDeny_ManagedPolicyWithRequiredSpec(t *testing.T) {
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}}}}
	policy := network.Render(baseline, Namespace{Name: "n"}).Objects[0].(*networkingv1.NetworkPolicy)
	for _, test := range []struct {
		name   string
		change func(*networkingv1.NetworkPolicy)
		want   bool
	}{
		{"required policy", func(*networkingv1.NetworkPolicy) {}, true},
		{"without the labels", func(p *networkingv1.NetworkPolicy) { p.Labels = nil }, false},
		{"another name", func(p *networkingv1.NetworkPolicy) { p.Name = "security-baseline-deny" }, false},
		{"allows ingress", func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}} }, false},
		{"other direction", func(p *networkingv1.NetworkPolicy) { p.Spec.PolicyTypes = []networkingv1.PolicyType{"Egress"} }, false},
		{"some pods", func(p *networkingv1.NetworkPolicy) { p.Spec.PodSelector.MatchLabels = map[string]string{"a": "b"} }, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			object := policy.DeepCopy()
			test.change(object)
			assertEqual(t, "IsDefaultDeny", test.want, IsDefaultDeny(baseline, object))
		})
	}
	assertEqual(t, "IsDefaultDeny without the control", false, IsDefaultDeny(&v1alpha1.SecurityBaseline{}, policy))
}
