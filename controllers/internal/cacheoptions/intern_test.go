package cacheoptions

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func transformed[T client.Object](t *testing.T, i *interner, object T) T {
	t.Helper()
	cached, err := i.transform(object)
	if err != nil {
		t.Fatal(err)
	}
	return cached.(T)
}

func TestInterner_SharesEqualSpecs(t *testing.T) {
	interner := &interner{}
	received := func(namespace, from string) *networkingv1.NetworkPolicy {
		return &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{
				Namespace: namespace, Name: "p", Labels: map[string]string{"a": "b"}, Annotations: map[string]string{"c": namespace},
				ManagedFields: []metav1.ManagedFieldsEntry{{Manager: "m"}},
			},
			Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{From: []networkingv1.NetworkPolicyPeer{{
				PodSelector: &metav1.LabelSelector{MatchLabels: map[string]string{"app": from}},
			}}}}},
		}
	}
	a := transformed(t, interner, received("a", "x"))
	b := transformed(t, interner, received("b", "x"))
	other := transformed(t, interner, received("c", "y"))
	if &a.Spec.Ingress[0] != &b.Spec.Ingress[0] {
		t.Error("equal specs: got two copies, want one")
	}
	for _, got := range []*networkingv1.NetworkPolicy{a, b, other} {
		want := received(got.Namespace, map[string]string{"a": "x", "b": "x", "c": "y"}[got.Namespace])
		want.ManagedFields = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("policy in %s (-want +got):\n%s", got.Namespace, diff)
		}
	}
}

func TestInterner_DropsQuotaStatus(t *testing.T) {
	hard := corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")}
	quota := transformed(t, &interner{}, &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: hard}, Status: corev1.ResourceQuotaStatus{Used: hard}})
	if got := quota.Spec.Hard.Pods().Value(); got != 10 {
		t.Errorf("spec.hard.pods = %d, want 10", got)
	}
	if quota.Status.Used != nil {
		t.Errorf("status.used = %v, want none", quota.Status.Used)
	}
}

func TestPool_StaysBelowItsMaximum(t *testing.T) {
	var values pool[int]
	for i := range 3 * maxPoolSize {
		if got := values.intern(i); got != i {
			t.Fatalf("intern(%d) = %d", i, got)
		}
	}
	if got := len(values.values); got > maxPoolSize {
		t.Errorf("got %d values, want at most %d", got, maxPoolSize)
	}
}
