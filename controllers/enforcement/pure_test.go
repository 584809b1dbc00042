package enforcement

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
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

func changed[T client.Object](object T, change func(T)) T {
	change(object)
	return object
}

func TestDifferences(t *testing.T) {
	for _, test := range []struct {
		name       string
		have, want client.Object
		fields     []v1alpha1.FieldDifference
	}{
		{"nothing", denyPolicy(), denyPolicy(), nil},
		{
			"an empty list is no list",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{} }),
			denyPolicy(), nil,
		},
		{
			"other labels and annotations are other people's",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Labels["theirs"] = "x"
				p.Annotations = map[string]string{"theirs": "x"}
			}),
			denyPolicy(), nil,
		},
		{
			"a rule that allows everything",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}} }),
			denyPolicy(), []v1alpha1.FieldDifference{{Path: "spec.ingress", Actual: `[{}]`}},
		},
		{
			"no peers is not the same as a peer that selects all pods",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}}}
			}),
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}}}
			}),
			[]v1alpha1.FieldDifference{{Path: "spec.ingress", Expected: `[{"from":[{"namespaceSelector":{}}]}]`, Actual: `[{"from":[{"podSelector":{}}]}]`}},
		},
		{
			"every part at once",
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
			"a binding's subjects and role",
			changed(viewBinding(), func(b *rbacv1.RoleBinding) { b.RoleRef.Name, b.Subjects = "admin", nil }),
			viewBinding(), []v1alpha1.FieldDifference{
				{
					Path:   "roleRef",
					Expected: `{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}`,
					Actual:  `{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"admin"}`,
				},
				{Path: "subjects", Expected: `[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"u"}]`},
			},
		},
		{
			"of a list only the elements that differ",
			changed(viewBinding(), func(b *rbacv1.RoleBinding) { b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", Name: "x"}) }),
			viewBinding(), []v1alpha1.FieldDifference{{Path: "subjects", Actual: `[{"kind":"User","name":"x"}]`}},
		},
		{
			"a list in another order is shown whole",
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Spec.PolicyTypes = []networkingv1.PolicyType{"Egress", "Ingress"}
			}),
			changed(denyPolicy(), func(p *networkingv1.NetworkPolicy) {
				p.Spec.PolicyTypes = []networkingv1.PolicyType{"Ingress", "Egress"}
			}),
			[]v1alpha1.FieldDifference{{Path: "spec.policyTypes", Expected: `["Ingress","Egress"]`, Actual: `["Egress","Ingress"]`}},
		},
		{
			"what is long is cut",
			changed(viewBinding(), func(b *rbacv1.RoleBinding) { b.RoleRef = rbacv1.RoleRef{Name: strings.Repeat("é", 200)} }),
			changed(viewBinding(), func(b *rbacv1.RoleBinding) { b.RoleRef = rbacv1.RoleRef{} }),
			[]v1alpha1.FieldDifference{{
				Path: "roleRef", Expected: `{"apiGroup":"","kind":"","name":""}`, Actual: `{"apiGroup":"","kind":"","name":"` + strings.Repeat("é", 110) + "...",
			}},
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.fields, reported(differences(test.have, test.want)), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestOverwrite(t *testing.T) {
	theirs := func(p *networkingv1.NetworkPolicy) {
		p.Labels = map[string]string{"theirs": "x", v1alpha1.BaselineLabel: "b"}
		p.Annotations = map[string]string{"theirs": "x"}
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	}
	have := changed(denyPolicy(), theirs)
	overwrite(have, denyPolicy())
	want := denyPolicy()
	want.Labels["theirs"] = "x"
	want.Annotations = map[string]string{"theirs": "x"}
	if diff := cmp.Diff(want, have); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func entry(manager string, at int, fields string) metav1.ManagedFieldsEntry {
	written := metav1.NewTime(time.Unix(int64(at), 0))
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: "Update", Time: &written, FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestAttribute(t *testing.T) {
	const ours = v1alpha1.FieldManager
	for _, test := range []struct {
		name    string
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		{"nobody wrote it", nil, ""},
		{"only the operator wrote it", []metav1.ManagedFieldsEntry{entry(ours, 1, `{"f:spec":{"f:ingress":{}}}`)}, ""},
		{"somebody wrote something else", []metav1.ManagedFieldsEntry{entry("them", 1, `{"f:spec":{"f:egress":{}}}`)}, ""},
		{"somebody wrote it", []metav1.ManagedFieldsEntry{entry("them", 1, `{"f:spec":{"f:ingress":{}}}`)}, "them"},
		{"somebody wrote a part of it", []metav1.ManagedFieldsEntry{entry("them", 1, `{"f:spec":{"f:ingress":{"f:x":{}}}}`)}, "them"},
		{"the last of several", []metav1.ManagedFieldsEntry{
			entry("first", 1, `{"f:spec":{"f:ingress":{}}}`), entry("last", 3, `{"f:spec":{"f:ingress":{}}}`), entry("second", 2, `{"f:spec":{"f:ingress":{}}}`),
		}, "last"},
		{"what does not parse owns nothing", []metav1.ManagedFieldsEntry{entry("them", 1, `{`)}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			by := attribute(&metav1.ObjectMeta{ManagedFields: test.entries}, []difference{{path: fieldpath.MakePathOrDie("spec", "ingress")}})
			if by.manager != test.want {
				t.Errorf("want %q, got %q", test.want, by.manager)
			}
		})
	}
}

func TestOwnLabels(t *testing.T) {
	got := OwnLabels([]metav1.ManagedFieldsEntry{
		entry(v1alpha1.FieldManager, 1, `{"f:metadata":{"f:labels":{".":{},"f:ours":{},"f:both":{}},"f:annotations":{"f:x":{}}}}`),
		entry("them", 1, `{"f:metadata":{"f:labels":{"f:both":{},"f:theirs":{}}}}`),
	})
	if want := sets.New("ours"); !got.Equal(want) {
		t.Errorf("want %v, got %v", want, got)
	}
}

func TestErrorsAreSorted(t *testing.T) {
	policies, bindings := schema.GroupResource{Group: "networking.k8s.io", Resource: "networkpolicies"}, schema.GroupResource{Group: rbacv1.GroupName, Resource: "rolebindings"}
	terminating := apierrors.NewForbidden(policies, "p", errors.New("the namespace is being terminated"))
	terminating.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: corev1.NamespaceTerminatingCause}}
	escalation := apierrors.NewForbidden(bindings, "b", errors.New("user is attempting to grant RBAC permissions not currently held"))
	for _, test := range []struct {
		name               string
		err                error
		vanishing, refused bool
	}{
		{"a namespace that is terminating is no refusal", terminating, true, true},
		{"a namespace that is gone", apierrors.NewNotFound(corev1.Resource("namespaces"), "n"), true, false},
		{"an object that is gone is tried again", apierrors.NewNotFound(policies, "p"), false, false},
		{"a missing permission", apierrors.NewForbidden(policies, "p", errors.New("no")), false, true},
		{"what is invalid", apierrors.NewInvalid(schema.GroupKind{}, "p", nil), false, true},
		{"a role that may not be bound", explained(viewBinding(), escalation), false, true},
		{"a role that does not exist", explained(viewBinding(), apierrors.NewNotFound(bindings, "view")), false, true},
		{"a binding that is gone is tried again", explained(viewBinding(), apierrors.NewNotFound(bindings, "other")), false, false},
		{"a version that is not the last is tried again", apierrors.NewConflict(policies, "p", errors.New("changed")), false, false},
		{"a webhook that says no in its own way is a refusal", &apierrors.StatusError{ErrStatus: metav1.Status{Code: 409, Reason: "Conflict", Message: "denied"}}, false, true},
		{"whatever its code", &apierrors.StatusError{ErrStatus: metav1.Status{Code: 406, Message: "denied"}}, false, true},
		{"too many requests are tried again", apierrors.NewTooManyRequests("later", 1), false, false},
		{"an API server that is tired is tried again", apierrors.NewServiceUnavailable("tired"), false, false},
		{"no answer is tried again", fmt.Errorf("connection refused"), false, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := Vanishing(test.err); got != test.vanishing {
				t.Errorf("vanishing: %t", got)
			}
			if got := refused(test.err); got != test.refused {
				t.Errorf("refused: %t", got)
			}
		})
	}
}

func BenchmarkDifferences(b *testing.B) {
	have, want := denyPolicy(), denyPolicy()
	for b.Loop() {
		differences(have, want)
	}
}
