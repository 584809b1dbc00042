package controllers

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/precedence"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

func TestNoticed(t *testing.T) {
	var n noticed
	if at := n.take("a", now); !at.Equal(now) {
		t.Errorf("with no event it was noticed at %s", at)
	}
	n.mark("a", now)
	n.mark("a", now.Add(time.Second))
	if at := n.take("a", now.Add(time.Minute)); !at.Equal(now) {
		t.Errorf("the first event came at %s", at)
	}
	// What is not dealt with counts from when it was noticed, whatever came since.
	n.mark("a", now.Add(2*time.Second))
	n.mark("a", now)
	if at := n.take("a", now.Add(time.Minute)); !at.Equal(now) {
		t.Errorf("it was noticed at %s", at)
	}
	n.mark("a", now)
	n.forget("a")
	if len(n.times) > 0 {
		t.Errorf("remembered: %v", n.times)
	}
}

// At least every ten minutes, spread out, and soon after workloads changed.
func TestPodsAreLookedAtAgain(t *testing.T) {
	var w workloads
	within := func(what string, least, most time.Duration, at time.Time) {
		t.Helper()
		spread := map[time.Duration]bool{}
		for range 100 {
			after := w.lookAgain("a", at)
			spread[after] = true
			if after < least || after > most {
				t.Fatalf("%s it is in %s", what, after)
			}
		}
		if len(spread) < 50 {
			t.Errorf("%s it is not spread out: %v", what, spread)
		}
	}
	within("without a change", 5*time.Minute, 10*time.Minute, now)
	w.mark("a", now)
	within("just after a change", 10*time.Second, 20*time.Second, now)
	within("a minute after a change", time.Minute, 2*time.Minute, now.Add(time.Minute))
	within("an hour after a change", 5*time.Minute, 10*time.Minute, now.Add(time.Hour))
	if len(w.times) > 0 {
		t.Errorf("remembered: %v", w.times)
	}
	// Nobody may ask about a namespace that is gone.
	w.mark("gone", now.Add(time.Hour))
	w.mark("b", now.Add(2*time.Hour))
	if len(w.times) != 1 {
		t.Errorf("remembered: %v", w.times)
	}
}

func TestLookAgain(t *testing.T) {
	contested := v1alpha1.Drift{DetectionTime: metav1.NewTime(now), Action: v1alpha1.DriftConfigured, PreviousDetectionTimes: []metav1.Time{
		metav1.NewTime(now.Add(-time.Minute)), metav1.NewTime(now.Add(-2 * time.Minute)),
	}}
	for _, test := range []struct {
		name        string
		outcomes    []evaluation.Outcome
		until       time.Time
		drifts      []v1alpha1.Drift
		least, most time.Duration
	}{
		{name: "never, where nothing is left to do", outcomes: []evaluation.Outcome{{State: "Compliant"}}},
		{name: "at once, where the cache was behind", outcomes: []evaluation.Outcome{{State: "Failed"}, {IsCacheStale: true}}, least: retryStale, most: retryStale},
		{name: "when a write was spaced out", outcomes: []evaluation.Outcome{{RequeueAfter: 700 * time.Millisecond}}, least: 700 * time.Millisecond, most: 700 * time.Millisecond},
		{name: "in 30 to 60 seconds, where something was refused", outcomes: []evaluation.Outcome{{State: "Failed"}}, least: 30 * time.Second, most: time.Minute},
		{name: "when an exception expires", until: now.Add(time.Hour), least: time.Hour, most: time.Hour},
		{name: "at once, where it has expired meanwhile", until: now.Add(-time.Second), least: time.Millisecond, most: time.Millisecond},
		{name: "when a contest ends", drifts: []v1alpha1.Drift{contested}, least: 5 * time.Minute, most: 5 * time.Minute},
		{name: "at the first of these", outcomes: []evaluation.Outcome{{State: "Failed"}}, until: now.Add(time.Hour), drifts: []v1alpha1.Drift{contested}, least: 30 * time.Second, most: time.Minute},
		{name: "where pods stand in the way", outcomes: []evaluation.Outcome{{HasUnsettledPods: true}}, least: 5 * time.Minute, most: 10 * time.Minute},
		{
			name:     "soon, where pods may have come in unseen",
			outcomes: []evaluation.Outcome{{HasUnsettledPods: true, PodSecurity: &v1alpha1.PodSecurityReport{Provisional: true}}}, least: firstLook, most: firstLook,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			r := &namespaceReconciler{workloads: &workloads{}}
			done := evaluationResult{namespace: &metav1.PartialObjectMetadata{}, outcomes: test.outcomes, governance: precedence.Governance{NextExpirationTime: test.until}}
			after := r.lookAgain(done, v1alpha1.BaselineReportData{Drifts: test.drifts}, now)
			if after < test.least || after > test.most {
				t.Errorf("in %s", after)
			}
		})
	}
}

func TestDriftNote(t *testing.T) {
	at := metav1.NewTime(now)
	for _, test := range []struct {
		drift v1alpha1.Drift
		want  string
	}{
		{
			v1alpha1.Drift{Object: "NetworkPolicy/a", Operation: "Delete", Action: v1alpha1.DriftCreated},
			"NetworkPolicy/a was deleted by somebody, whom Kubernetes does not record; it was made again",
		},
		{
			v1alpha1.Drift{Object: "NetworkPolicy/a", Manager: "kubectl-edit", Operation: "Update", ChangeTime: &at, Action: v1alpha1.DriftReported,
				Fields: []v1alpha1.FieldDifference{{Path: "spec.ingress", Actual: "[{}]"}, {Path: "spec.egress", Expected: "[{}]"}}},
			`NetworkPolicy/a was changed by "kubectl-edit" (Update) at 2026-01-01T00:00:00Z; nothing was done, for the baseline is in Audit mode. ` +
				"It had spec.ingress: [{}] instead of nothing; spec.egress: nothing instead of [{}]",
		},
	} {
		if note := driftNote(&test.drift); note != test.want {
			t.Errorf("want %q\ngot  %q", test.want, note)
		}
	}
}

// enqueued holds what is to be looked at later.
type enqueued struct {
	queue
	after map[string]time.Duration
}

func (e enqueued) AddAfter(request reconcile.Request, after time.Duration) {
	e.after[request.Name] = after
}

func TestWhatFailedIsTriedAgainWhenPermissionsChange(t *testing.T) {
	r := &namespaceReconciler{failing: &failing{}}
	for _, namespace := range []string{"a", "b", "c"} {
		r.failing.mark(namespace, time.Unix(0, 0))
	}
	r.failing.forget("b")
	handler := r.maySucceed()
	for change, do := range map[string]func(queue){
		"made":    func(q queue) { handler.Create(t.Context(), event.CreateEvent{}, q) },
		"changed": func(q queue) { handler.Update(t.Context(), event.UpdateEvent{}, q) },
		"gone":    func(q queue) { handler.Delete(t.Context(), event.DeleteEvent{}, q) },
	} {
		q := enqueued{after: map[string]time.Duration{}}
		do(q)
		if diff := cmp.Diff(map[string]time.Duration{"a": heeded, "c": heeded}, q.after); diff != "" {
			t.Errorf("a ClusterRole is %s (-want +got):\n%s", change, diff)
		}
	}
}

// reportless is a cache without reports.
type reportless struct{ client.Client }

func (reportless) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("baselinereports").GroupResource(), v1alpha1.ReportName)
}

// An evaluation that asked before the pods went, and writes its report after, must be
// followed by another one soon.
func TestPodsThatGoWhileThereIsNoReportAreRemembered(t *testing.T) {
	r := &namespaceReconciler{client: reportless{}, workloads: &workloads{}, now: func() time.Time { return now }}
	q := enqueued{after: map[string]time.Duration{}}
	r.podsMayHaveChanged().Update(t.Context(), event.UpdateEvent{ObjectNew: &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n"}}}, q)
	if len(q.after) > 0 {
		t.Errorf("a namespace that is not governed is looked at: %v", q.after)
	}
	done := evaluationResult{namespace: &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n"}}, outcomes: []evaluation.Outcome{{HasUnsettledPods: true}}}
	if after := r.lookAgain(done, v1alpha1.BaselineReportData{}, now); after < firstLook || after > 2*firstLook {
		t.Errorf("it is looked at again in %s", after)
	}
}
