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

func transformed[T client.Object](t *testing.T, s *Sharing, object T) T {
	t.Helper()
	kept, err := s.Transform(object)
	if err != nil {
		t.Fatal(err)
	}
	return kept.(T)
}

func TestWhatIsEqualIsHeldOnce(t *testing.T) {
	s := &Sharing{}
	given := func(namespace, from string) *networkingv1.NetworkPolicy {
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
	a, b, other := transformed(t, s, given("a", "x")), transformed(t, s, given("b", "x")), transformed(t, s, given("c", "y"))
	if &a.Spec.Ingress[0] != &b.Spec.Ingress[0] {
		t.Error("two equal specs are held")
	}
	for _, got := range []*networkingv1.NetworkPolicy{a, b, other} {
		want := given(got.Namespace, map[string]string{"a": "x", "b": "x", "c": "y"}[got.Namespace])
		want.ManagedFields = nil
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

func TestOfAQuotaOnlyWhatIsAskedForIsKept(t *testing.T) {
	hard := corev1.ResourceList{corev1.ResourcePods: resource.MustParse("10")}
	quota := transformed(t, &Sharing{}, &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: hard}, Status: corev1.ResourceQuotaStatus{Used: hard}})
	if quota.Spec.Hard.Pods().Value() != 10 || quota.Status.Used != nil {
		t.Errorf("%+v", quota)
	}
}

func TestAPoolForgets(t *testing.T) {
	var p pool[int]
	for i := range 3 * maxShared {
		if p.share(i) != i {
			t.Fatal("another value is shared")
		}
	}
	if len(p.values) > maxShared {
		t.Errorf("%d values are held", len(p.values))
	}
}
