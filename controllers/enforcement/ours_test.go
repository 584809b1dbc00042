package enforcement

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Somebody may strip the label of what was made just before an operator was ended, so
// that the ledger knows another object of that name, or none.
func TestWhatTheOperatorMadeIsItsOwn(t *testing.T) {
	cluster := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).Build()
	written := func(manager string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{Manager: manager}}
	}
	label := map[string]string{v1alpha1.BaselineLabel: "a"}
	for _, test := range []struct {
		name   string
		meta   metav1.ObjectMeta
		ledger []v1alpha1.InventoryEntry
		want   bool
	}{
		{"its label says so", metav1.ObjectMeta{Labels: label}, nil, true},
		{"the ledger knows it", metav1.ObjectMeta{UID: "it"}, []v1alpha1.InventoryEntry{{Object: "NetworkPolicy/p", UID: "it"}}, true},
		{"the ledger knows another one, and the operator wrote it", metav1.ObjectMeta{UID: "it", ManagedFields: written(v1alpha1.FieldManager)},
			[]v1alpha1.InventoryEntry{{Object: "NetworkPolicy/p", UID: "another"}}, true},
		{"the ledger knows nothing, and the operator wrote it", metav1.ObjectMeta{UID: "it", ManagedFields: written(v1alpha1.FieldManager)}, nil, true},
		{"the ledger knows another one, and somebody wrote it", metav1.ObjectMeta{UID: "it", ManagedFields: written("kubectl")},
			[]v1alpha1.InventoryEntry{{Object: "NetworkPolicy/p", UID: "another"}}, false},
		{"nobody knows it", metav1.ObjectMeta{UID: "it"}, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.meta.Name = "p"
			r := &run{Enforcer: &Enforcer{Client: cluster}, Task: &Task{Ledger: &v1alpha1.ControlReport{Inventory: test.ledger}}}
			if got := r.ours(&networkingv1.NetworkPolicy{ObjectMeta: test.meta}); got != test.want {
				t.Errorf("it is the operator's: %t", got)
			}
		})
	}
}

// The cache may still hold what was in a former namespace of the name, made in the very
// second in which the next one was.
func TestWhatIsOfAFormerNamespaceIsNotThere(t *testing.T) {
	second := metav1.NewTime(time.Unix(100, 0))
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n", CreationTimestamp: second}}
	policy := func(name, uid string, made metav1.Time) client.Object {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{
			Namespace: "n", Name: name, UID: types.UID(uid), CreationTimestamp: made, Labels: map[string]string{v1alpha1.BaselineLabel: "a"},
		}}
	}
	cached := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(
		policy("before", "b", metav1.NewTime(second.Add(-time.Second))), policy("gone", "g", second), policy("another", "old", second),
		policy("same", "s", second), policy("listed", "l", second), policy("later", "t", metav1.NewTime(second.Add(time.Second))),
		policy("secret", "f", second),
	).Build()
	live := fake.NewClientBuilder().WithScheme(clientgoscheme.Scheme).WithObjects(policy("another", "new", second), policy("same", "s", second)).
		WithInterceptorFuncs(interceptor.Funcs{Get: func(ctx context.Context, c client.WithWatch, key client.ObjectKey, object client.Object, options ...client.GetOption) error {
			if key.Name == "secret" {
				return apierrors.NewForbidden(networkingv1.Resource("networkpolicies"), key.Name, errors.New("revoked"))
			}
			return c.Get(ctx, key, object, options...)
		}}).Build()
	e := &Enforcer{Client: cached, Live: live}
	have, err := e.observe(t.Context(), namespace, sets.New[types.UID]("l"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"NetworkPolicy/later", "NetworkPolicy/listed", "NetworkPolicy/same", "NetworkPolicy/secret"}
	if got := slices.Sorted(maps.Keys(have)); !slices.Equal(got, want) {
		t.Errorf("%v are there, not %v", got, want)
	}
}
