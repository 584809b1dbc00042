package enforcement

import (
	"context"
	"errors"
	"maps"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// The cache can still hold objects of a former namespace of the name, even some that were
// created in the same second as the present one.
func TestSnapshot_IgnoresObjectsOfFormerNamespace(t *testing.T) {
	second := metav1.NewTime(time.Unix(100, 0))
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n", CreationTimestamp: second}}
	policy := func(name, uid string, created metav1.Time) client.Object {
		return &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{
			Namespace: "n", Name: name, UID: types.UID(uid), CreationTimestamp: created, Labels: map[string]string{v1alpha1.BaselineLabel: "a"},
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
	enforcer := New(cached, live, clock.RealClock{}, &State{})
	inventory := &v1alpha1.ControlReport{Inventory: []v1alpha1.InventoryEntry{{Object: "NetworkPolicy/listed", UID: "l"}}}
	current, err := enforcer.takeSnapshot(t.Context(), namespace, []evaluation.Task{{Previous: inventory}})
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"NetworkPolicy/later", "NetworkPolicy/listed", "NetworkPolicy/same", "NetworkPolicy/secret"}
	if got := slices.Sorted(maps.Keys(current.objects)); !slices.Equal(got, want) {
		t.Errorf("got objects %v, want %v", got, want)
	}
}

// A forged label must not hide an object from the control that observes it.
func TestSnapshot_ObservedObjectWithForgedLabelsIsUnmanaged(t *testing.T) {
	control := controls.All[slices.IndexFunc(controls.All, func(control controls.Control) bool { return control.Name == v1alpha1.ControlRBAC })]
	meta := metav1.ObjectMeta{Namespace: "n", Name: v1alpha1.ObjectNamePrefix + "a", Labels: map[string]string{
		v1alpha1.BaselineLabel: "a", v1alpha1.ControlLabel: string(control.Name),
	}}
	current := snapshot{
		namespace: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n"}},
		objects: map[string]client.Object{
			"Role/" + meta.Name: &rbacv1.Role{ObjectMeta: meta}, "RoleBinding/" + meta.Name: &rbacv1.RoleBinding{ObjectMeta: meta},
		},
	}
	observed := current.observe(&evaluation.Task{Control: control, Baseline: &v1alpha1.SecurityBaseline{}})
	got := make([]string, 0, len(observed.Unmanaged))
	for _, object := range observed.Unmanaged {
		got = append(got, objectID(object))
	}
	if want := []string{"Role/" + meta.Name}; !slices.Equal(got, want) {
		t.Errorf("got unmanaged objects %v, want %v", got, want)
	}
}
