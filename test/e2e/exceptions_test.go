package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
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

func TestExceptions_ReleaseControlUntilExpiration(t *testing.T) {
	t.Parallel()
	namespace, other := env.NewNamespace(t, "a", nil), env.NewNamespace(t, "b", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, other.Name, baseline, v1alpha1.StateCompliant)

	expires := metav1.NewTime(time.Now().Add(15 * time.Second).Truncate(time.Second))
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Exceptions = []v1alpha1.Exception{migrationException(namespace.Name, &expires)}
	})
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateExcepted)
	excepted := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateExcepted))
	testutil.Equal(t, "the exception", &v1alpha1.ActiveException{Name: "migration", Reason: "until the old gateway is gone", ExpirationTime: &expires}, excepted.Exception)
	testutil.Equal(t, "the message", "exception migration, until "+expires.UTC().Format(time.RFC3339)+": until the old gateway is gone", excepted.Message)
	testutil.Equal(t, "controls", "2/3", current.Summary.Controls)
	testutil.WaitFor(t, func(ctx context.Context) error {
		var policies networkingv1.NetworkPolicyList
		testutil.Must(t, env.Admin.List(ctx, &policies, client.InNamespace(namespace.Name)))
		if left := len(policies.Items); left != 0 {
			return fmt.Errorf("%d policies are left", left)
		}
		return nil
	})
	env.WaitForReport(t, other.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForPolicy(t, other.Name, "default-deny")

	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Compliant: 1, Excepted: 1}}
		if status.Namespaces != want || status.Exceptions == nil || status.Exceptions.Active != 1 || status.Exceptions.Unmatched != 0 || status.ViolationsTotal != 0 {
			return fmt.Errorf("%+v, %+v", status, status.Exceptions)
		}
		return nil
	})
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonAllCompliant))

	// At its expiry, to the second, and with nobody touching anything.
	created := env.WaitForPolicy(t, namespace.Name, "default-deny").CreationTimestamp
	if late := created.Sub(expires.Time); late < 0 || late > time.Second {
		t.Errorf("the policy came back %s after the expiry", late)
	}
	current = env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "drifts", int64(0), current.Summary.DriftsTotal)
	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		if status.Exceptions == nil || status.Exceptions.Active != 0 || status.Exceptions.Expired != 1 {
			return fmt.Errorf("%+v", status.Exceptions)
		}
		return nil
	})
	event := env.WaitForEvent(t, baseline.Name, "ExceptionExpired")
	testutil.Equal(t, "the event", "exception migration has expired: from "+expires.UTC().Format(time.RFC3339)+" on Network is in force again in "+namespace.Name, event.Note)
	events, err := env.EventsAbout(t.Context(), baseline.Name)
	testutil.Must(t, err)
	testutil.Equal(t, "events", 1, len(events)) // none a day before what was less than a day away
}

// It changes the operator's clock, so it runs alone. Nothing happens to the namespace, and
// what waits for the expiry waits for half an hour.
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
	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		if status.Exceptions == nil || status.Exceptions.Expired != 1 {
			return fmt.Errorf("%+v", status.Exceptions)
		}
		return nil
	})
}

func TestExceptionEvents_EmittedOneDayBeforeExpiration(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	expires := metav1.NewTime(time.Now().Add(24*time.Hour + 5*time.Second).Truncate(time.Second))
	spec := defaultSpec()
	spec.Exceptions = []v1alpha1.Exception{migrationException(namespace.Name, &expires)}
	baseline := env.NewBaseline(t, "all", spec)
	event := env.WaitForEvent(t, baseline.Name, "ExceptionExpiring")
	testutil.Equal(t, "the event", "exception migration expires: from "+expires.UTC().Format(time.RFC3339)+" on Network is in force again in "+namespace.Name, event.Note)
	if early := expires.Add(-24 * time.Hour).Sub(event.EventTime.Time); early > 0 {
		t.Errorf("%s too early", early)
	}
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateExcepted))

	// It is announced once, whatever else happens to the baseline.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Priority = 1 })
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateExcepted))
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	events, err := env.EventsAbout(t.Context(), baseline.Name)
	testutil.Must(t, err)
	if len(events) != 1 || events[0].Series != nil {
		t.Errorf("%+v", events)
	}
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
	testutil.Equal(t, "the message", "exception migration, for good: until the old gateway is gone", excepted.Message)
	env.WaitForControl(t, namespace.Name, low, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateCompliant))
	deny := env.WaitForPolicy(t, namespace.Name, "default-deny")
	testutil.Equal(t, "who governs", low.Name, deny.Labels[v1alpha1.BaselineLabel])
	testutil.Equal(t, "the same policy", uid, deny.UID)
	env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
}

func TestExceptions_FindingWhenNothingMatches(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := denyAllSpec()
	typo := migrationException(namespace.Name, nil)
	typo.Name, typo.Namespaces = "typo", []string{namespace.Name, "no-such-namespace"}
	undeclared := migrationException(namespace.Name, nil)
	undeclared.Name, undeclared.Controls = "undeclared", []v1alpha1.ControlName{v1alpha1.ControlRBAC}
	spec.Exceptions = []v1alpha1.Exception{typo, undeclared}
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := []string{"exception typo: the baseline does not select no-such-namespace", "exception undeclared: it does not declare RBAC"}
		if status.Exceptions == nil || status.Exceptions.Unmatched != 2 || !slices.Equal(status.Exceptions.Findings, want) {
			return fmt.Errorf("%+v", status.Exceptions)
		}
		return nil
	})
}

// What an exception should release and cannot is worse than the exception.
func TestExceptions_FailedWhenReleaseIsDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	lift := denyOperatorWrites(t, namespace.Name, "DELETE")
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Exceptions = []v1alpha1.Exception{migrationException(namespace.Name, nil)}
	})
	failed := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateFailed))
	if !strings.Contains(failed.Message, "refused by another policy") {
		t.Error(failed.Message)
	}
	lift()
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateExcepted))
}

// A healthy cluster emits no events.
func TestEvents_NoneWithoutDrift(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	// An event is emitted within moments of what it tells.
	err := wait.PollUntilContextTimeout(t.Context(), testutil.PollInterval, 3*time.Second, true, func(ctx context.Context) (bool, error) {
		about, err := env.EventsAbout(ctx, namespace.Name)
		if err != nil {
			return false, err
		}
		also, err := env.EventsAbout(ctx, baseline.Name)
		return len(about)+len(also) > 0, err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("something was said (%v)", err)
	}
}
