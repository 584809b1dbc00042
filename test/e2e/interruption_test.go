package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// The tests in this file are about what an operator leaves behind that ends between a write and
// the report of it. test/chaos found these cases.

func TestManagedObjects_RemovedWhenLabelIsMissingAndBaselineDropsThem(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	denyOperatorWritesAndWait(t, namespace.Name, admissionregistrationv1.Update, "rolebindings")
	update(t, env.WaitForPolicy(t, namespace.Name, "from-ingress"), func(p *networkingv1.NetworkPolicy) { delete(p.Labels, v1alpha1.BaselineLabel) })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
}

// TestDrift_NotReportedForOwnWritesWhenReportsAreDelayed has two baselines take turns.
func TestDrift_NotReportedForOwnWritesWhenReportsAreDelayed(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	other := defaultSpec()
	other.Priority = 1
	other.Network.Policies = nil
	other.RBAC.RoleBindings[0].RoleRef.Name = "view"
	second := env.NewBaseline(t, "other", other)
	env.WaitForReport(t, namespace.Name, second, v1alpha1.StateCompliant)
	env.delayReports(t, 500*time.Millisecond)
	for _, priority := range []int32{-1, 1, -1, 1, -1} {
		update(t, second, func(b *v1alpha1.SecurityBaseline) { b.Spec.Priority = priority })
		want := map[int32]string{-1: baseline.Name, 1: second.Name}[priority]
		env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](want))
		testutil.WaitFor(t, func(ctx context.Context) error {
			err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "security-baseline-from-ingress"}, &networkingv1.NetworkPolicy{})
			if (err == nil) != (priority < 0) {
				return fmt.Errorf("the policy from-ingress: got %w, want it only if %s governs", err, baseline.Name)
			}
			return nil
		})
	}
	env.delayReports(t, 0)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
}

// TestRoleBindings_StandInRemovedAfterInterruption creates the stand-in that an operator leaves
// behind when it ends while it replaces a RoleBinding.
func TestRoleBindings_StandInRemovedAfterInterruption(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	reports, err := env.WatchClient(t).Watch(t.Context(), &v1alpha1.BaselineReportList{}, client.InNamespace(namespace.Name))
	testutil.Must(t, err)
	defer reports.Stop()
	env.stopOperator(t)
	standIn := waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}).DeepCopy()
	standIn.ObjectMeta = metav1.ObjectMeta{Namespace: namespace.Name, Name: standIn.Name + ":stand-in", Labels: standIn.Labels}
	standIn.RoleRef.Name = "view"
	testutil.Must(t, env.Admin.Create(t.Context(), standIn))
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	env.startOperator(t)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "the role", waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}).RoleRef.Name, "view")
	env.WaitForNotFound(t, namespace.Name, standIn.Name, &rbacv1.RoleBinding{})
	seen, cancel := context.WithTimeout(t.Context(), testutil.Timeout)
	defer cancel()
	for {
		select {
		case event := <-reports.ResultChan():
			current, ok := event.Object.(*v1alpha1.BaselineReport)
			if !ok {
				t.Fatalf("the watch of reports ended: %+v", event)
			}
			if current.State == v1alpha1.StateConflict || current.State == v1alpha1.StateFailed {
				t.Fatalf("state of the report: got %s, want neither Conflict nor Failed: %+v", current.State, current.Controls)
			}
			if slices.Contains(current.ObservedBaselines, v1alpha1.ObservedBaseline{Name: baseline.Name, Generation: baseline.Generation}) && current.State == v1alpha1.StateCompliant {
				return
			}
		case <-seen.Done():
			t.Fatalf("reports within %s: got no compliant one, want one", testutil.Timeout)
		}
	}
}

// TestNamespaceLabels_ReleasedWhenBaselineStopsSelecting removes a namespace from the baseline
// that set its level at creation, before the operator sees the namespace.
func TestNamespaceLabels_ReleasedWhenBaselineStopsSelecting(t *testing.T) {
	env.NewBaseline(t, "floor", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	tier := map[string]string{"tier": "strict"}
	selector := testutil.Selector(t)
	selector.MatchLabels["tier"] = "strict"
	env.Create(t, &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-strict"}, Spec: v1alpha1.SecurityBaselineSpec{
		NamespaceSelector: selector, Priority: 1, PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted"},
	}})
	for _, test := range []struct {
		labels map[string]string
		level  string
	}{{nil, "baseline"}, {tier, "restricted"}} {
		testutil.WaitFor(t, func(context.Context) error {
			if labels := labelsAtCreation(t, testutil.Name(t)+"-probe", test.labels); labels[enforceLabel] != test.level {
				return fmt.Errorf("labels at creation: got %v, want the level %s", labels, test.level)
			}
			return nil
		})
	}
	env.stopOperator(t)
	namespace := env.NewNamespace(t, "a", tier)
	testutil.Equal(t, "the level at creation", namespace.Labels[enforceLabel], "restricted")
	update(t, namespace, func(n *corev1.Namespace) { delete(n.Labels, "tier") })
	env.startOperator(t)
	waitForLevels(t, namespace.Name, "baseline", "", "")
}
