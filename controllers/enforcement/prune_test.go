package enforcement

import (
	"slices"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// An object of a kind that is only observed can have the operator's labels and a name that
// the operator uses. It is not the operator's, and the operator must not need permission to
// delete it.
func TestPrune_NeverRemovesObservedKinds(t *testing.T) {
	for i := range controls.All {
		control := &controls.All[i]
		meta := metav1.ObjectMeta{Namespace: "n", Name: v1alpha1.ObjectNamePrefix + "old", UID: "u", Labels: map[string]string{
			v1alpha1.BaselineLabel: "a", v1alpha1.ControlLabel: string(control.Name),
		}}
		policy := &networkingv1.NetworkPolicy{ObjectMeta: meta}
		role := &rbacv1.Role{ObjectMeta: meta}
		cluster := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(policy, role).Build()
		enforcer := New(cluster, cluster, clock.RealClock{}, &State{})
		current := snapshot{
			namespace: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n"}},
			objects:   map[string]client.Object{},
		}
		for _, object := range []client.Object{policy, role} {
			if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(object), object); err != nil {
				t.Fatal(err)
			}
			current.objects[objectID(object)] = object
		}
		p := &plan{Task: &evaluation.Task{Control: *control}, shouldPrune: func(string) bool { return true }}
		removals := enforcer.prune(t.Context(), current, p, sets.New[string]())
		got := make([]string, 0, len(removals))
		for _, removed := range removals {
			got = append(got, removed.id)
			if removed.err != nil {
				t.Errorf("removing %s: got error %v", removed.id, removed.err)
			}
		}
		if want := []string{"NetworkPolicy/security-baseline-old"}; !slices.Equal(got, want) {
			t.Errorf("control %s: got removals %v, want %v", control.Name, got, want)
		}
		if err := cluster.Get(t.Context(), client.ObjectKeyFromObject(role), &rbacv1.Role{}); err != nil {
			t.Errorf("control %s: got error %v for the Role, want it to exist", control.Name, err)
		}
	}
}
