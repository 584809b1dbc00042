package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// openPolicy opens the default-deny policy to all ingress, as a field manager.
func openPolicy(ctx context.Context, namespace, manager string) error {
	return retry.RetryOnConflict(retry.DefaultBackoff, func() error { return tryOpenPolicy(ctx, namespace, manager) })
}

func tryOpenPolicy(ctx context.Context, namespace, manager string) error {
	deny := &networkingv1.NetworkPolicy{}
	if err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "security-baseline-default-deny"}, deny); err != nil {
		return err
	}
	deny.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	return env.Admin.Update(ctx, deny, client.FieldOwner(manager))
}

// isClosed checks that a NetworkPolicy allows no ingress.
func isClosed(policy *networkingv1.NetworkPolicy) error {
	if got := len(policy.Spec.Ingress); got != 0 {
		return fmt.Errorf("ingress rules of %s: got %d, want 0", policy.Name, got)
	}
	return nil
}

// driftAndWait opens the default-deny policy as a field manager, and waits until the
// operator has reverted it.
func driftAndWait(t *testing.T, namespace, manager string) {
	t.Helper()
	testutil.Must(t, openPolicy(t.Context(), namespace, manager))
	env.WaitForPolicy(t, namespace, "default-deny", isClosed)
}

// hasControlDrifts checks how many drifts a control counts.
func hasControlDrifts(want int64) func(*v1alpha1.ControlReport) error {
	return func(control *v1alpha1.ControlReport) error {
		if control.DriftsTotal != want {
			return fmt.Errorf("drifts of %s: got %d, want %d", control.Name, control.DriftsTotal, want)
		}
		return nil
	}
}

const (
	// openEvery is how often a client opens a policy that the operator closes.
	openEvery = 100 * time.Millisecond
	// driftElsewhereEvery is how often another namespace drifts meanwhile.
	driftElsewhereEvery = 2 * time.Second
	// minReverts is the number of reverts of the contested policy before the test ends.
	minReverts = 30
	// minDriftsElsewhere is the number of drifts in the other namespace before the test
	// ends.
	minDriftsElsewhere = 10
)

func TestContestedDrift_RevertedAtMostOnceASecond(t *testing.T) {
	t.Parallel()
	contested := env.NewNamespace(t, "contested", nil)
	other := env.NewNamespace(t, "other", nil)
	baseline := env.NewBaseline(t, "all", denyAllSpec())
	env.WaitForReport(t, contested.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, other.Name, baseline, v1alpha1.StateCompliant)

	reverts, stop := contest(t, baseline, contested.Name, other.Name)
	control := env.WaitForControl(t, contested.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateContested))
	testutil.Equal(t, "the message", control.Message, `"argocd-controller" repeatedly modifies spec.ingress of NetworkPolicy/security-baseline-default-deny; the operator reverts it at most once per second. `+
		"Remove it from the source that Argo CD syncs. If you cannot, ignore /spec/ingress of NetworkPolicy security-baseline-default-deny in "+
		"spec.ignoreDifferences[].jsonPointers of the Application, with the sync option RespectIgnoreDifferences=true")
	env.WaitForStatus(t, baseline,
		testutil.HasCondition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonContested),
		testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonContested),
		testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	stop()
	env.WaitForPolicy(t, contested.Name, "default-deny", isClosed)

	env.WaitForControl(t, contested.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateContested), func(control *v1alpha1.ControlReport) error {
		if want := int64(*reverts) - 1; control.DriftsTotal < want {
			return fmt.Errorf("drifts: got %d, want at least %d", control.DriftsTotal, want)
		}
		return nil
	})
	env.WaitForReport(t, contested.Name, baseline, v1alpha1.StateContested, func(current *v1alpha1.BaselineReport) error {
		drifts := current.Drifts
		want := int64(*reverts) - 1
		if len(drifts) != 1 || drifts[0].Count < want || len(drifts[0].PreviousDetectionTimes) != 2 {
			return fmt.Errorf("drifts: got %+v, want one with a count of at least %d and 2 previous detection times", drifts, want)
		}
		return nil
	})
	for about, want := range map[string]string{contested.Name: control.Message, baseline.Name: "namespace " + contested.Name + ": " + control.Message} {
		waitForOneEvent(t, about, "Contested", func(event eventsv1.Event) bool { return event.Note == want })
		waitForOneEvent(t, about, "Drift", func(event eventsv1.Event) bool { return strings.Contains(event.Note, "argocd-controller") })
	}
}

// contest has one client open the policy of a contested namespace again and again,
// while the policy of another namespace drifts now and then. The operator must revert
// each of the latter. The function that contest returns waits until enough has
// happened, ends it, and sets reverts to how often the operator closed the contested
// policy.
func contest(t *testing.T, baseline *v1alpha1.SecurityBaseline, contested, other string) (reverts *int, stop func()) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), testutil.Timeout)
	t.Cleanup(cancel)
	watcher := watchPolicies(t, ctx, contested)
	enough := make(chan struct{})
	reverts = new(int)
	var changes int
	var longest time.Duration
	var clients, counter sync.WaitGroup
	start := time.Now()
	counter.Go(func() { *reverts, longest = countReverts(watcher, enough) })
	clients.Go(func() {
		_ = wait.PollUntilContextCancel(ctx, openEvery, true, func(ctx context.Context) (bool, error) {
			// The operator may be faster, which is a conflict.
			if err := tryOpenPolicy(ctx, contested, "argocd-controller"); err == nil {
				changes++
			}
			return false, nil
		})
	})
	elsewhere := make(chan error, 1)
	clients.Go(func() { elsewhere <- driftElsewhere(ctx, other) })
	return reverts, func() {
		t.Helper()
		if err := <-elsewhere; err != nil {
			t.Errorf("namespace %s: %v", other, err)
		}
		select {
		case <-enough:
		case <-ctx.Done():
			t.Errorf("reverts of the contested policy in %s: got less than %d, want at least %d", testutil.Timeout, minReverts, minReverts)
		}
		cancel()
		clients.Wait()
		counter.Wait()
		elapsed := time.Since(start)
		t.Logf("%s: %d changes in %s, %d reverts, open for %s at the longest", baseline.Name, changes, elapsed, *reverts, longest)
		if most := int(elapsed/time.Second) + 1; *reverts > most {
			t.Errorf("reverts in %s: got %d, want at most %d", elapsed, *reverts, most)
		}
	}
}

// driftElsewhere changes the policy of a namespace minDriftsElsewhere times, and waits
// each time until the operator has reverted it.
func driftElsewhere(ctx context.Context, namespace string) error {
	drifts := 0
	return wait.PollUntilContextCancel(ctx, driftElsewhereEvery, true, func(ctx context.Context) (bool, error) {
		drifts++
		if err := openPolicy(ctx, namespace, fmt.Sprintf("client-%d", drifts)); err != nil {
			return false, err
		}
		err := wait.PollUntilContextCancel(ctx, testutil.PollInterval, true, func(ctx context.Context) (bool, error) {
			deny := &networkingv1.NetworkPolicy{}
			err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "security-baseline-default-deny"}, deny)
			return err == nil && isClosed(deny) == nil, err
		})
		if err != nil {
			return false, fmt.Errorf("drift %d was not reverted: %w", drifts, err)
		}
		return drifts == minDriftsElsewhere, nil
	})
}

// waitForOneEvent waits for an event with a reason that matches, and requires that
// there is no other with that reason that matches, and that it is not a series.
func waitForOneEvent(t *testing.T, about, reason string, match func(eventsv1.Event) bool) {
	t.Helper()
	env.WaitForEvent(t, about, reason, match)
	events, err := env.EventsAbout(t.Context(), about)
	testutil.Must(t, err)
	events = slices.DeleteFunc(events, func(event eventsv1.Event) bool {
		return event.Reason != reason || reason == "Drift" && !match(event)
	})
	if len(events) != 1 || events[0].Series != nil {
		t.Errorf("events %s about %s: got %+v, want one that is not a series", reason, about, events)
	}
}

// TestContestedDrift_EndsFiveMinutesAfterLastChange moves the operator's clock.
func TestContestedDrift_EndsFiveMinutesAfterLastChange(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", denyAllSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	for i := range 3 {
		driftAndWait(t, namespace.Name, "kustomize-controller")
		env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, hasControlDrifts(int64(i+1)))
	}
	control := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateContested))
	testutil.Equal(t, "the message", control.Message, `"kustomize-controller" repeatedly modifies spec.ingress of NetworkPolicy/security-baseline-default-deny; the operator reverts it at most once per second. `+
		"Remove it from the source that Flux syncs. If you cannot, ignore /spec/ingress of NetworkPolicy security-baseline-default-deny in "+
		"spec.ignore[].paths of the Kustomization (Flux 2.9 or later)")

	// The time that the test takes adds to the offset of the clock.
	env.setClock(t, 3*time.Minute)
	waitAndTriggerEvaluation(t, namespace.Name)
	testutil.Never(t, 3*time.Second, func(ctx context.Context) error {
		current := &v1alpha1.BaselineReport{}
		err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: v1alpha1.ReportName}, current)
		if got := testutil.StateOf(current, v1alpha1.ControlNetwork); got != v1alpha1.StateContested {
			return errors.Join(err, fmt.Errorf("state: got %s, want Contested", got))
		}
		return err
	})
	env.setClock(t, 6*time.Minute)
	waitAndTriggerEvaluation(t, namespace.Name)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonNoDrift))
}

// waitAndTriggerEvaluation waits for the default-deny policy of a namespace and touches
// it, so that the operator evaluates the namespace.
func waitAndTriggerEvaluation(t *testing.T, namespace string) {
	t.Helper()
	update(t, env.WaitForPolicy(t, namespace, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Annotations = map[string]string{"touched": time.Now().String()}
	})
}

// TestContestedDrift_NotReportedForInfrequentChanges moves the operator's clock: three
// drifts are contested only within five minutes.
func TestContestedDrift_NotReportedForInfrequentChanges(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", denyAllSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	for i := range 4 {
		env.setClock(t, time.Duration(i)*3*time.Minute)
		driftAndWait(t, namespace.Name, "hasty")
		current := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, hasControlDrifts(int64(i+1)))
		testutil.Equal(t, "state", current.State, v1alpha1.StateCompliant)
	}
}
