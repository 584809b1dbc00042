package diff

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

func denyPolicy() *networkingv1.NetworkPolicy {
	return &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: "deny", Labels: map[string]string{v1alpha1.BaselineLabel: "a"}},
		Spec:       networkingv1.NetworkPolicySpec{PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}},
	}
}

func viewBinding() *rbacv1.RoleBinding {
	return &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: "view", Labels: map[string]string{v1alpha1.BaselineLabel: "a"}},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
		Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "u"}},
	}
}

func changed[T controls.Object](object T, change func(T)) T {
	change(object)
	return object
}

func TestObjects_ReportedDifferences(t *testing.T) {
	for _, test := range []struct {
		name             string
		actual, expected controls.Object
		fields           []v1alpha1.FieldDifference
	}{
		{"equal objects", denyPolicy(), denyPolicy(), nil},
		{
			"empty list equals absent list",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{} }),
			denyPolicy(), nil,
		},
		{
			"foreign labels and annotations are ignored",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Labels["foreign"] = "x"
				p.Annotations = map[string]string{"foreign": "x"}
			}),
			denyPolicy(), nil,
		},
		{
			"rule that allows everything",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}} }),
			denyPolicy(), []v1alpha1.FieldDifference{{Path: "spec.ingress", Actual: `[{}]`}},
		},
		{
			"selector of other kind",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}}
			}),
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}}}
			}),
			[]v1alpha1.FieldDifference{{Path: "spec.ingress", Expected: `[{"from":[{"namespaceSelector":{}}]}]`, Actual: `[{"from":[{"podSelector":{}}]}]`}},
		},
		{
			"every field",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Labels = nil
				p.Spec = networkingv1.NetworkPolicySpec{
					PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"a": "b"}},
					Egress:      []networkingv1.NetworkPolicyEgressRule{{}},
				}
			}),
			denyPolicy(),
			[]v1alpha1.FieldDifference{
				{Path: "metadata.labels.securitybaseline.io/baseline", Expected: "a"},
				{Path: "spec.podSelector", Expected: `{}`, Actual: `{"matchLabels":{"a":"b"}}`},
				{Path: "spec.policyTypes", Expected: `["Ingress"]`},
				{Path: "spec.egress", Actual: `[{}]`},
			},
		},
		{
			"subjects and role of a binding",
			changed(viewBinding(), func(b *rbacv1.RoleBinding) { b.RoleRef.Name, b.Subjects = "admin", nil }),
			viewBinding(), []v1alpha1.FieldDifference{
				{
					Path:     "roleRef",
					Expected: `{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}`,
					Actual:   `{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"admin"}`,
				},
				{Path: "subjects", Expected: `[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"u"}]`},
			},
		},
		{
			"only differing elements of a list",
			changed(viewBinding(), func(b *rbacv1.RoleBinding) { b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", Name: "x"}) }),
			viewBinding(), []v1alpha1.FieldDifference{{Path: "subjects", Actual: `[{"kind":"User","name":"x"}]`}},
		},
		{
			"list in another order is shown whole",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Spec.PolicyTypes = []networkingv1.PolicyType{"Egress", "Ingress"}
			}),
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Spec.PolicyTypes = []networkingv1.PolicyType{"Ingress", "Egress"}
			}),
			[]v1alpha1.FieldDifference{{Path: "spec.policyTypes", Expected: `["Ingress","Egress"]`, Actual: `["Egress","Ingress"]`}},
		},
		{
			"long value is cut",
			changed(viewBinding(), func(b *rbacv1.RoleBinding) { b.RoleRef = rbacv1.RoleRef{Name: strings.Repeat("é", 200)} }),
			changed(viewBinding(), func(b *rbacv1.RoleBinding) { b.RoleRef = rbacv1.RoleRef{} }),
			[]v1alpha1.FieldDifference{{
				Path: "roleRef", Expected: `{"apiGroup":"","kind":"","name":""}`, Actual: `{"apiGroup":"","kind":"","name":"` + strings.Repeat("é", 110) + "...",
			}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.fields, Objects(test.actual, test.expected).Report(), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("fields (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOverwrite_KeepsForeignMetadata(t *testing.T) {
	mutate := func(p *networkingv1.NetworkPolicy) {
		p.Labels = map[string]string{"foreign": "x", v1alpha1.BaselineLabel: "b"}
		p.Annotations = map[string]string{"foreign": "x"}
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	}
	actual := changed(denyPolicy(), mutate)
	Overwrite(actual, denyPolicy())
	want := denyPolicy()
	want.Labels["foreign"] = "x"
	want.Annotations = map[string]string{"foreign": "x"}
	if diff := cmp.Diff(want, actual); diff != "" {
		t.Errorf("fields (-want +got):\n%s", diff)
	}
}

func BenchmarkObjects(b *testing.B) {
	actual := denyPolicy()
	expected := denyPolicy()
	for b.Loop() {
		Objects(actual, expected)
	}
}
