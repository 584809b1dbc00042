package e2e

import (
	"context"
	"fmt"
	"slices"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

func migrationException(namespace string, expires *metav1.Time) v1alpha1.Exception {
	return v1alpha1.Exception{
		Name: "migration", Namespaces: []string{namespace}, Controls: []v1alpha1.ControlName{v1alpha1.ControlNetwork},
		Reason: "until the old gateway is gone", ExpirationTime: expires,
	}
}

// TestExceptions_ReleaseControlUntilExpiration reads what an active exception does while
// its expiration is far, and then moves the expiration close.
func TestExceptions_ReleaseControlUntilExpiration(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	other := env.NewNamespace(t, "b", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, other.Name, baseline, v1alpha1.StateCompliant)

	expirationTime := metav1.NewTime(time.Now().Add(time.Hour).Truncate(time.Second))
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Exceptions = []v1alpha1.Exception{migrationException(namespace.Name, &expirationTime)}
	})
	waitForActiveException(t, baseline, namespace.Name, other.Name, expirationTime)

	expirationTime = metav1.NewTime(time.Now().Add(5 * time.Second).Truncate(time.Second))
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Exceptions[0].ExpirationTime = &expirationTime })
	created := env.WaitForPolicy(t, namespace.Name, "default-deny").CreationTimestamp
	if created.Time.Before(expirationTime.Time) {
		t.Errorf("the policy was created at %s, want not before the expiration at %s", created, expirationTime)
	}
	t.Logf("the policy was created %s after the expiration", created.Sub(expirationTime.Time))
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
	env.WaitForStatus(t, baseline, hasExceptions(0, 1))
	event := env.WaitForEvent(t, baseline.Name, "ExceptionExpired")
	testutil.Equal(t, "the event", event.Note, "exception migration expired at "+expirationTime.UTC().Format(time.RFC3339)+"; Network is enforced again in "+namespace.Name)
	events, err := env.EventsAbout(t.Context(), baseline.Name)
	testutil.Must(t, err)
	testutil.Equal(t, "events", len(events), 1) // none a day before the expiration, which was less than a day away
}

// waitForActiveException waits until the exception of a baseline has taken effect in a
// namespace, and requires that it has none in another.
func waitForActiveException(t *testing.T, baseline *v1alpha1.SecurityBaseline, namespace, other string, expirationTime metav1.Time) {
	t.Helper()
	current := env.WaitForReport(t, namespace, baseline, v1alpha1.StateExcepted)
	testutil.Equal(t, "controls", current.Summary.CompliantControls, "2/3")
	excepted := env.WaitForControl(t, namespace, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateExcepted))
	testutil.Equal(t, "the exception", excepted.Exception, &v1alpha1.ActiveException{Name: "migration", Reason: "until the old gateway is gone", ExpirationTime: &expirationTime})
	testutil.Equal(t, "the message", excepted.Message, "exception migration, until "+expirationTime.UTC().Format(time.RFC3339)+": until the old gateway is gone")
	testutil.WaitFor(t, func(ctx context.Context) error {
		var policies networkingv1.NetworkPolicyList
		if err := env.Admin.List(ctx, &policies, client.InNamespace(namespace)); err != nil {
			return err
		}
		return testutil.CheckEqual("NetworkPolicies", len(policies.Items), 0)
	})
	env.WaitForReport(t, other, baseline, v1alpha1.StateCompliant)
	env.WaitForPolicy(t, other, "default-deny")

	env.WaitForStatus(t, baseline, hasExceptions(1, 0), func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Compliant: 1, Excepted: 1}}
		if status.Namespaces != want || status.Exceptions.Unmatched != 0 || status.ViolationsTotal != 0 {
			return fmt.Errorf("status: got %+v with %+v, want %+v, no unmatched exception and no violation", status, status.Exceptions, want)
		}
		return nil
	}, testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonAllCompliant))
}

// hasExceptions checks how many exceptions of a baseline are active and expired.
func hasExceptions(active, expired int32) func(v1alpha1.SecurityBaselineStatus) error {
	return func(status v1alpha1.SecurityBaselineStatus) error {
		if got := status.Exceptions; got == nil || got.Active != active || got.Expired != expired {
			return fmt.Errorf("exceptions: got %+v, want %d active and %d expired", got, active, expired)
		}
		return nil
	}
}

// TestExceptions_ExpireWhenClockMovesForward moves the operator's clock by an hour. Nothing
// else has the operator evaluate the namespace within the next half hour.
func TestExceptions_ExpireWhenClockMovesForward(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	spec := defaultSpec()
	spec.Exceptions = []v1alpha1.Exception{migrationException(namespace.Name, new(metav1.NewTime(time.Now().Add(30*time.Minute))))}
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateExcepted)
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonAllCompliant))

	env.setClock(t, time.Hour)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForPolicy(t, namespace.Name, "default-deny")
	env.WaitForStatus(t, baseline, hasExceptions(0, 1))
}

func TestExceptionEvents_EmittedOneDayBeforeExpiration(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	expires := metav1.NewTime(time.Now().Add(24*time.Hour + 10*time.Second).Truncate(time.Second))
	spec := defaultSpec()
	spec.Exceptions = []v1alpha1.Exception{migrationException(namespace.Name, &expires)}
	baseline := env.NewBaseline(t, "all", spec)
	event := env.WaitForEvent(t, baseline.Name, "ExceptionExpiring")
	testutil.Equal(t, "the event", event.Note, "exception migration expires at "+expires.UTC().Format(time.RFC3339)+"; Network will be enforced again in "+namespace.Name)
	if earliest := expires.Add(-24 * time.Hour); event.EventTime.Time.Before(earliest) {
		t.Errorf("the time of the event: got %s, want not before %s", event.EventTime, earliest)
	}
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateExcepted))

	// The operator emits the event once, even if the baseline changes.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Priority = 1 })
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateExcepted))
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	testutil.Never(t, 2*time.Second, func(ctx context.Context) error {
		events, err := env.EventsAbout(ctx, baseline.Name)
		if err == nil && (len(events) != 1 || events[0].Series != nil) {
			return fmt.Errorf("events: got %+v, want one that is not a series", events)
		}
		return err
	})
}

func TestExceptions_ApplyOnlyToTheirBaseline(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	low := env.NewBaseline(t, "low", denyAllSpec())
	spec := defaultSpec()
	spec.Priority = 10
	high := env.NewBaseline(t, "high", spec)
	env.WaitForReport(t, namespace.Name, high, v1alpha1.StateCompliant)
	uid := env.WaitForPolicy(t, namespace.Name, "default-deny").UID

	update(t, high, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Exceptions = []v1alpha1.Exception{migrationException(namespace.Name, nil)}
	})
	excepted := env.WaitForControl(t, namespace.Name, high, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateExcepted))
	testutil.Equal(t, "the message", excepted.Message, "exception migration, without expiration: until the old gateway is gone")
	env.WaitForControl(t, namespace.Name, low, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateCompliant))
	deny := env.WaitForPolicy(t, namespace.Name, "default-deny")
	testutil.Equal(t, "who governs", deny.Labels[v1alpha1.BaselineLabel], low.Name)
	testutil.Equal(t, "the same policy", deny.UID, uid)
	env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
}

func TestExceptions_FindingWhenNothingMatches(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := denyAllSpec()
	typo := migrationException(namespace.Name, nil)
	typo.Name = "typo"
	typo.Namespaces = []string{namespace.Name, "no-such-namespace"}
	undeclared := migrationException(namespace.Name, nil)
	undeclared.Name = "undeclared"
	undeclared.Controls = []v1alpha1.ControlName{v1alpha1.ControlRBAC}
	spec.Exceptions = []v1alpha1.Exception{typo, undeclared}
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := []string{"exception typo: the baseline does not select no-such-namespace", "exception undeclared: the baseline does not declare RBAC"}
		if status.Exceptions == nil || status.Exceptions.Unmatched != 2 || !slices.Equal(status.Exceptions.Findings, want) {
			return fmt.Errorf("exceptions: got %+v, want 2 unmatched and the findings %q", status.Exceptions, want)
		}
		return nil
	})
}

// TestExceptions_FailedWhenReleaseIsDenied checks that a denied removal is reported rather
// than the exception.
func TestExceptions_FailedWhenReleaseIsDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	allow := denyOperatorWritesAndWait(t, namespace.Name, "DELETE", "rolebindings")
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Exceptions = []v1alpha1.Exception{migrationException(namespace.Name, nil)}
	})
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateFailed), hasMessage(denialMessage))
	allow()
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateExcepted))
}

// TestEvents_NoneWithoutDrift changes the baseline, which is no drift.
func TestEvents_NoneWithoutDrift(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Never(t, 3*time.Second, func(ctx context.Context) error {
		for _, about := range []string{namespace.Name, baseline.Name} {
			events, err := env.EventsAbout(ctx, about)
			if err != nil {
				return err
			}
			if len(events) > 0 {
				return fmt.Errorf("events about %s: got %+v, want none", about, events)
			}
		}
		return nil
	})
}
