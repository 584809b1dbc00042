package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func migration(namespace string, expires *metav1.Time) v1alpha1.Exception {
	return v1alpha1.Exception{
		Name: "migration", Namespaces: []string{namespace}, Controls: []v1alpha1.ControlName{v1alpha1.ControlNetwork},
		Reason: "until the old gateway is gone", ExpirationTime: expires,
	}
}

// eventsAbout returns the operator's events about a cluster-scoped object. They
// are in the namespace default.
func eventsAbout(ctx context.Context, name string) ([]eventsv1.Event, error) {
	var list eventsv1.EventList
	if err := admin.List(ctx, &list, client.InNamespace(metav1.NamespaceDefault)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(event eventsv1.Event) bool {
		return event.ReportingController != v1alpha1.FieldManager || event.Regarding.Name != name
	}), nil
}

// emitted waits for an event of the reason about an object.
func emitted(t *testing.T, about, reason string) eventsv1.Event {
	t.Helper()
	var found eventsv1.Event
	eventually(t, func(ctx context.Context) error {
		events, err := eventsAbout(ctx, about)
		for _, event := range events {
			if event.Reason == reason {
				found = event
				return err
			}
		}
		return errors.Join(err, fmt.Errorf("no event %s about %s in %v", reason, about, events))
	})
	return found
}

func TestAnExceptionTakesAControlOutUntilItExpires(t *testing.T) {
	t.Parallel()
	namespace, other := newNamespace(t, "a", nil), newNamespace(t, "b", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	evaluated(t, other.Name, baseline, v1alpha1.StateCompliant)

	expires := metav1.NewTime(time.Now().Add(15 * time.Second).Truncate(time.Second))
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Exceptions = []v1alpha1.Exception{migration(namespace.Name, &expires)}
	})
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateExcepted)
	excepted := entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateExcepted))
	equal(t, "the exception", &v1alpha1.ActiveException{Name: "migration", Reason: "until the old gateway is gone", ExpirationTime: &expires}, excepted.Exception)
	equal(t, "the message", "exception migration, until "+expires.UTC().Format(time.RFC3339)+": until the old gateway is gone", excepted.Message)
	equal(t, "controls", "2/3", current.Summary.Controls)
	eventually(t, func(ctx context.Context) error {
		var policies networkingv1.NetworkPolicyList
		must(t, admin.List(ctx, &policies, client.InNamespace(namespace.Name)))
		if left := len(policies.Items); left != 0 {
			return fmt.Errorf("%d policies are left", left)
		}
		return nil
	})
	evaluated(t, other.Name, baseline, v1alpha1.StateCompliant)
	policy(t, other.Name, "default-deny")

	ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Compliant: 1, Excepted: 1}}
		if status.Namespaces != want || status.Exceptions == nil || status.Exceptions.Active != 1 || status.Exceptions.Unmatched != 0 || status.ViolationsTotal != 0 {
			return fmt.Errorf("%+v, %+v", status, status.Exceptions)
		}
		return nil
	})
	ready(t, baseline, hasCondition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonAllCompliant))

	// At its expiry, to the second, and with nobody touching anything.
	created := policy(t, namespace.Name, "default-deny").CreationTimestamp
	if late := created.Sub(expires.Time); late < 0 || late > time.Second {
		t.Errorf("the policy came back %s after the expiry", late)
	}
	current = evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "drifts", int64(0), current.Summary.DriftsTotal)
	ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		if status.Exceptions == nil || status.Exceptions.Active != 0 || status.Exceptions.Expired != 1 {
			return fmt.Errorf("%+v", status.Exceptions)
		}
		return nil
	})
	event := emitted(t, baseline.Name, "ExceptionExpired")
	equal(t, "the event", "exception migration has expired: from "+expires.UTC().Format(time.RFC3339)+" on Network is in force again in "+namespace.Name, event.Note)
	events, err := eventsAbout(t.Context(), baseline.Name)
	must(t, err)
	equal(t, "events", 1, len(events)) // none a day before what was less than a day away
}

// It changes the operator's clock, so it runs alone. Nothing happens to the namespace, and
// what waits for the expiry waits for half an hour.
func TestAnExceptionExpiresWhenTheClockIsSetForward(t *testing.T) {
	namespace := newNamespace(t, "a", nil)
	spec := everything()
	spec.Exceptions = []v1alpha1.Exception{migration(namespace.Name, new(metav1.NewTime(time.Now().Add(30*time.Minute))))}
	baseline := newBaseline(t, "all", spec)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateExcepted)
	ready(t, baseline, hasCondition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonAllCompliant))

	ahead.Store(int64(time.Hour))
	t.Cleanup(func() { ahead.Store(0) })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	policy(t, namespace.Name, "default-deny")
	ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		if status.Exceptions == nil || status.Exceptions.Expired != 1 {
			return fmt.Errorf("%+v", status.Exceptions)
		}
		return nil
	})
}

func TestAnExceptionIsAnnouncedADayBeforeItExpires(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	expires := metav1.NewTime(time.Now().Add(24*time.Hour + 5*time.Second).Truncate(time.Second))
	spec := everything()
	spec.Exceptions = []v1alpha1.Exception{migration(namespace.Name, &expires)}
	baseline := newBaseline(t, "all", spec)
	event := emitted(t, baseline.Name, "ExceptionExpiring")
	equal(t, "the event", "exception migration expires: from "+expires.UTC().Format(time.RFC3339)+" on Network is in force again in "+namespace.Name, event.Note)
	if early := expires.Add(-24 * time.Hour).Sub(event.EventTime.Time); early > 0 {
		t.Errorf("%s too early", early)
	}
	entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateExcepted))

	// It is announced once, whatever else happens to the baseline.
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Priority = 1 })
	entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateExcepted))
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	events, err := eventsAbout(t.Context(), baseline.Name)
	must(t, err)
	if len(events) != 1 || events[0].Series != nil {
		t.Errorf("%+v", events)
	}
}

func TestAnExceptionFromOneBaselineIsNotOneFromAnother(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	low := newBaseline(t, "low", denyAll())
	spec := everything()
	spec.Priority = 10
	high := newBaseline(t, "high", spec)
	evaluated(t, namespace.Name, high, v1alpha1.StateCompliant)
	uid := policy(t, namespace.Name, "default-deny").UID

	change(t, high, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Exceptions = []v1alpha1.Exception{migration(namespace.Name, nil)}
	})
	excepted := entry(t, namespace.Name, high, v1alpha1.ControlNetwork, inState(v1alpha1.StateExcepted))
	equal(t, "the message", "exception migration, for good: until the old gateway is gone", excepted.Message)
	entry(t, namespace.Name, low, v1alpha1.ControlNetwork, inState(v1alpha1.StateCompliant))
	deny := policy(t, namespace.Name, "default-deny")
	equal(t, "who governs", low.Name, deny.Labels[v1alpha1.BaselineLabel])
	equal(t, "the same policy", uid, deny.UID)
	absent(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
}

func TestAnExceptionThatMatchesNothingIsReported(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	spec := denyAll()
	typo := migration(namespace.Name, nil)
	typo.Name, typo.Namespaces = "typo", []string{namespace.Name, "no-such-namespace"}
	undeclared := migration(namespace.Name, nil)
	undeclared.Name, undeclared.Controls = "undeclared", []v1alpha1.ControlName{v1alpha1.ControlRBAC}
	spec.Exceptions = []v1alpha1.Exception{typo, undeclared}
	baseline := newBaseline(t, "all", spec)
	ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := []string{"exception typo: the baseline does not select no-such-namespace", "exception undeclared: it does not declare RBAC"}
		if status.Exceptions == nil || status.Exceptions.Unmatched != 2 || !slices.Equal(status.Exceptions.Findings, want) {
			return fmt.Errorf("%+v", status.Exceptions)
		}
		return nil
	})
}

// What an exception should release and cannot is worse than the exception.
func TestAnExceptionWhoseReleaseIsRefusedIsFailed(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	lift := refuse(t, namespace.Name, "DELETE")
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Exceptions = []v1alpha1.Exception{migration(namespace.Name, nil)}
	})
	failed := entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateFailed))
	if !strings.Contains(failed.Message, "refused by another policy") {
		t.Error(failed.Message)
	}
	lift()
	entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateExcepted))
}

// A healthy cluster emits no events.
func TestNothingIsSaidWhereNothingHappens(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	// An event is emitted within moments of what it tells.
	err := wait.PollUntilContextTimeout(t.Context(), glance, 3*time.Second, true, func(ctx context.Context) (bool, error) {
		about, err := eventsAbout(ctx, namespace.Name)
		if err != nil {
			return false, err
		}
		also, err := eventsAbout(ctx, baseline.Name)
		return len(about)+len(also) > 0, err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("something was said (%v)", err)
	}
}
