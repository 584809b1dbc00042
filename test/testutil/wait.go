package testutil

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/report"
)

// The operator writes the namespace's labels and objects first, then the report, then
// the baseline's status, then events and metrics. A test that asserts one of them must
// wait for that one: the wait for an earlier one does not suffice. So each function
// here takes checks of the object that it waits for.

// WaitForObject waits until an object exists and passes the checks.
func WaitForObject[T client.Object](t *testing.T, env *Env, namespace, name string, object T, checks ...func(T) error) T {
	t.Helper()
	WaitFor(t, func(ctx context.Context) error {
		if err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object); err != nil {
			return err
		}
		return all(object, checks)
	})
	return object
}

func all[T any](object T, checks []func(T) error) error {
	for _, check := range checks {
		if err := check(object); err != nil {
			return err
		}
	}
	return nil
}

// WaitForPolicy waits for a NetworkPolicy of the operator; name has no prefix.
func (e *Env) WaitForPolicy(t *testing.T, namespace, name string, checks ...func(*networkingv1.NetworkPolicy) error) *networkingv1.NetworkPolicy {
	t.Helper()
	return WaitForObject(t, e, namespace, v1alpha1.ObjectNamePrefix+name, &networkingv1.NetworkPolicy{}, checks...)
}

// GovernedBy checks which baseline an object's label names.
func GovernedBy[T client.Object](baseline string) func(T) error {
	return func(object T) error {
		if got := object.GetLabels()[v1alpha1.BaselineLabel]; got != baseline {
			return fmt.Errorf("%s: got baseline %q, want %q", object.GetName(), got, baseline)
		}
		return nil
	}
}

// WaitForNotFound waits until an object does not exist.
func (e *Env) WaitForNotFound(t *testing.T, namespace, name string, object client.Object) {
	t.Helper()
	WaitFor(t, func(ctx context.Context) error {
		if err := CheckNotFound(e.Admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)); err != nil {
			return fmt.Errorf("%T %s/%s: %w", object, namespace, name, err)
		}
		return nil
	})
}

// WaitForLabels waits until a namespace has the labels; a label with an empty
// value must be missing.
func (e *Env) WaitForLabels(t *testing.T, namespace string, want map[string]string) *corev1.Namespace {
	t.Helper()
	return WaitForObject(t, e, "", namespace, &corev1.Namespace{}, func(current *corev1.Namespace) error {
		for key, value := range want {
			if got := current.Labels[key]; got != value {
				return fmt.Errorf("label %s of namespace %s: got %q, want %q", key, namespace, got, value)
			}
		}
		return nil
	})
}

// WaitForServiceAccount waits until a namespace has its ServiceAccount default,
// without which no pod can be created.
func (e *Env) WaitForServiceAccount(t *testing.T, namespace string) {
	t.Helper()
	WaitForObject(t, e, namespace, "default", &corev1.ServiceAccount{})
}

// WaitForReport waits until the report of a namespace observes the baseline at its
// current generation, has the state and passes the checks.
func (e *Env) WaitForReport(
	t *testing.T, namespace string, baseline *v1alpha1.SecurityBaseline, state v1alpha1.State, checks ...func(*v1alpha1.BaselineReport) error,
) *v1alpha1.BaselineReport {
	t.Helper()
	var current *v1alpha1.BaselineReport
	WaitFor(t, func(ctx context.Context) error {
		var err error
		if current, err = e.currentReport(ctx, namespace, baseline); err != nil {
			return err
		}
		if current.State != state {
			return fmt.Errorf("the report's state: got %s, want %s: %+v", current.State, state, current.BaselineReportData)
		}
		return all(current, checks)
	})
	return current
}

// currentReport returns the report of a namespace, and an error unless it observes
// the baseline at its current generation.
func (e *Env) currentReport(ctx context.Context, namespace string, baseline *v1alpha1.SecurityBaseline) (*v1alpha1.BaselineReport, error) {
	if err := e.Admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil {
		return nil, err
	}
	current := &v1alpha1.BaselineReport{}
	if err := e.Admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.ReportName}, current); err != nil {
		return nil, err
	}
	want := v1alpha1.ObservedBaseline{Name: baseline.Name, Generation: baseline.Generation}
	if !slices.Contains(current.ObservedBaselines, want) {
		return nil, fmt.Errorf("the report's observed baselines: got %v, want %v among them", current.ObservedBaselines, want)
	}
	return current, nil
}

// HasDrifts checks how many drifts a report counts in total.
func HasDrifts(want int64) func(*v1alpha1.BaselineReport) error {
	return func(current *v1alpha1.BaselineReport) error {
		if got := current.Summary.DriftsTotal; got != want {
			return fmt.Errorf("drifts: got %d, want %d: %+v", got, want, current.Drifts)
		}
		return nil
	}
}

// StateOf returns the state of a control in a report; empty if no baseline governs it.
func StateOf(current *v1alpha1.BaselineReport, control v1alpha1.ControlName) v1alpha1.State {
	if found := report.FindGoverning(current.BaselineReportData, control); found != nil {
		return found.State
	}
	return ""
}

// WaitForControl waits until the report of a namespace, at the baseline's current
// generation, has an entry of the baseline's control that passes the checks.
func (e *Env) WaitForControl(
	t *testing.T, namespace string, baseline *v1alpha1.SecurityBaseline, control v1alpha1.ControlName, checks ...func(*v1alpha1.ControlReport) error,
) *v1alpha1.ControlReport {
	t.Helper()
	var found *v1alpha1.ControlReport
	WaitFor(t, func(ctx context.Context) error {
		current, err := e.currentReport(ctx, namespace, baseline)
		if err != nil {
			return err
		}
		if found = report.FindControl(current.BaselineReportData, control, baseline.Name); found == nil {
			return fmt.Errorf("no control %s of baseline %s in %+v", control, baseline.Name, current.Controls)
		}
		if err := all(found, checks); err != nil {
			return fmt.Errorf("%w: %+v", err, found)
		}
		return nil
	})
	return found
}

// InState checks the state of a control.
func InState(want v1alpha1.State) func(*v1alpha1.ControlReport) error {
	return func(control *v1alpha1.ControlReport) error {
		if control.State != want {
			return fmt.Errorf("state of %s: got %s, want %s", control.Name, control.State, want)
		}
		return nil
	}
}

// WaitForStatus waits until a baseline's status is about its current generation and
// passes the checks.
func (e *Env) WaitForStatus(t *testing.T, baseline *v1alpha1.SecurityBaseline, checks ...func(v1alpha1.SecurityBaselineStatus) error) {
	t.Helper()
	WaitFor(t, func(ctx context.Context) error {
		if err := e.Admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil {
			return err
		}
		if got, want := baseline.Status.ObservedGeneration, baseline.Generation; got != want {
			return fmt.Errorf("the status's observedGeneration: got %d, want %d", got, want)
		}
		return all(baseline.Status, checks)
	})
}

// WaitForReady waits until a baseline is ready.
func (e *Env) WaitForReady(t *testing.T, baseline *v1alpha1.SecurityBaseline) {
	t.Helper()
	e.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		if !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("condition Ready: got %+v, want True", status.Conditions)
		}
		return nil
	})
}

// HasCondition checks the status and the reason of a condition.
func HasCondition(conditionType string, want metav1.ConditionStatus, reason string) func(v1alpha1.SecurityBaselineStatus) error {
	return func(status v1alpha1.SecurityBaselineStatus) error {
		condition := meta.FindStatusCondition(status.Conditions, conditionType)
		if condition == nil || condition.Status != want || condition.Reason != reason {
			return fmt.Errorf("condition %s: got %+v, want %s (%s)", conditionType, status.Conditions, want, reason)
		}
		return nil
	}
}

// EventsAbout returns the operator's events about a cluster-scoped object. They are
// in the namespace default.
func (e *Env) EventsAbout(ctx context.Context, name string) ([]eventsv1.Event, error) {
	var list eventsv1.EventList
	if err := e.Admin.List(ctx, &list, client.InNamespace(metav1.NamespaceDefault)); err != nil {
		return nil, err
	}
	return slices.DeleteFunc(list.Items, func(event eventsv1.Event) bool {
		return event.ReportingController != v1alpha1.FieldManager || event.Regarding.Name != name
	}), nil
}

// WaitForEvent waits for an event about a cluster-scoped object that has the reason
// and for which matches, if there are any, return true.
func (e *Env) WaitForEvent(t *testing.T, about, reason string, matches ...func(eventsv1.Event) bool) eventsv1.Event {
	t.Helper()
	var found eventsv1.Event
	WaitFor(t, func(ctx context.Context) error {
		events, err := e.EventsAbout(ctx, about)
		i := slices.IndexFunc(events, func(event eventsv1.Event) bool {
			return event.Reason == reason && !slices.ContainsFunc(matches, func(match func(eventsv1.Event) bool) bool { return !match(event) })
		})
		if i < 0 {
			return errors.Join(err, fmt.Errorf("no such event %s about %s among %v", reason, about, events))
		}
		found = events[i]
		return nil
	})
	return found
}
