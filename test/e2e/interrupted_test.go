package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// These are what test/chaos found: what an operator leaves behind that is ended between
// a write and the report that tells of it.

func TestAnObjectWhoseLabelIsStrippedIsRemovedWhenTheBaselineDropsIt(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	refuse(t, namespace.Name, admissionregistrationv1.Update)
	change(t, policy(t, namespace.Name, "from-ingress"), func(p *networkingv1.NetworkPolicy) { delete(p.Labels, v1alpha1.BaselineLabel) })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateFailed)
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	absent(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
}

// Two baselines take turns while the operator sees its own reports late.
func TestWhatTheOperatorDoesItselfIsNoDrift(t *testing.T) {
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	other := everything()
	other.Priority, other.Network.Policies, other.RBAC.RoleBindings[0].RoleRef.Name = 1, nil, "view"
	second := newBaseline(t, "other", other)
	evaluated(t, namespace.Name, second, v1alpha1.StateCompliant)
	reportLag.Store(int64(500 * time.Millisecond))
	t.Cleanup(func() { reportLag.Store(0) })
	for _, priority := range []int32{-1, 1, -1, 1, -1} {
		change(t, second, func(b *v1alpha1.SecurityBaseline) { b.Spec.Priority = priority })
		eventually(t, func(ctx context.Context) error {
			given := policy(t, namespace.Name, "default-deny").Labels[v1alpha1.BaselineLabel]
			if want := map[int32]string{-1: baseline.Name, 1: second.Name}[priority]; given != want {
				return fmt.Errorf("%s gave it", given)
			}
			err := admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "security-baseline-from-ingress"}, &networkingv1.NetworkPolicy{})
			if (err == nil) != (priority < 0) {
				return errors.Join(errors.New("the other's policy"), err)
			}
			return nil
		})
	}
	reportLag.Store(0)
	if current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant); current.Summary.Drifts > 0 {
		t.Errorf("drifts: %+v", current.Drifts)
	}
}
