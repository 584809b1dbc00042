package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

func denyAllSpec() v1alpha1.SecurityBaselineSpec {
	return v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{
		DefaultDeny: []v1alpha1.Direction{v1alpha1.DirectionIngress, v1alpha1.DirectionEgress},
	}}
}

func TestPrecedence_HigherPriorityTakesControlOverInPlace(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	low := env.NewBaseline(t, "low", defaultSpec())
	env.WaitForReport(t, namespace.Name, low, v1alpha1.StateCompliant)
	uid := env.WaitForPolicy(t, namespace.Name, "default-deny").UID
	events := recordEvents(t, namespace.Name, &networkingv1.NetworkPolicyList{})

	spec := denyAllSpec()
	spec.Priority = 10
	high := env.NewBaseline(t, "high", spec)
	current := env.WaitForReport(t, namespace.Name, high, v1alpha1.StateCompliant)
	requireGoverningBaselines(t, current, map[v1alpha1.ControlName]string{"PodSecurity": low.Name, "Network": high.Name, "RBAC": low.Name})
	env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](high.Name))
	env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})

	env.WaitForStatus(t, low, func(status v1alpha1.SecurityBaselineStatus) error {
		for _, control := range status.Controls {
			if control.Name == v1alpha1.ControlNetwork && control.Overridden != 1 {
				return fmt.Errorf("control Network: got %+v, want 1 overridden", control)
			}
		}
		return nil
	})

	// After its deletion the other baseline governs again, whatever the deletionPolicy.
	testutil.Must(t, env.Admin.Delete(t.Context(), high))
	env.WaitForNotFound(t, "", high.Name, &v1alpha1.SecurityBaseline{})
	env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](low.Name))
	env.WaitForReport(t, namespace.Name, low, v1alpha1.StateCompliant, testutil.HasDrifts(0))

	for _, event := range events() {
		if deny, ok := event.Object.(*networkingv1.NetworkPolicy); ok && deny.Name == "security-baseline-default-deny" {
			if event.Type == watch.Deleted || deny.UID != uid {
				t.Errorf("default-deny: got %s of UID %s, want UID %s all the time", event.Type, deny.UID, uid)
			}
		}
	}
}

func requireGoverningBaselines(t *testing.T, current *v1alpha1.BaselineReport, want map[v1alpha1.ControlName]string) {
	t.Helper()
	got := map[v1alpha1.ControlName]string{}
	for _, control := range current.Controls {
		got[control.Name] = control.Baseline
	}
	testutil.Equal(t, "who governs", got, want)
}

func TestPrecedence_OldestBaselineGovernsAtEqualPriority(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	older := env.NewBaseline(t, "z", denyAllSpec())
	env.WaitForReport(t, namespace.Name, older, v1alpha1.StateCompliant)
	// Creation times have a precision of one second.
	testutil.WaitFor(t, func(context.Context) error {
		if metav1.Now().Unix() <= older.CreationTimestamp.Unix() {
			return errors.New("the clock shows the second in which the first baseline was created")
		}
		return nil
	})
	younger := env.NewBaseline(t, "a", denyAllSpec())
	current := env.WaitForReport(t, namespace.Name, younger, v1alpha1.StateCompliant)
	requireGoverningBaselines(t, current, map[v1alpha1.ControlName]string{"Network": older.Name})
	env.WaitForStatus(t, younger, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned),
		func(status v1alpha1.SecurityBaselineStatus) error {
			return testutil.CheckEqual("counts", status.Namespaces, v1alpha1.NamespaceCounts{StateCounts: v1alpha1.StateCounts{Overridden: 1}})
		})
}
