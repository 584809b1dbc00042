package namespace

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/precedence"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// Pods are checked every ten minutes at the latest, spread out, and soon after workloads changed.
func TestNextPodCheck_SoonAfterWorkloadChanges(t *testing.T) {
	reconciler := &Reconciler{}
	changes := &reconciler.state.workloadChanges
	expect := func(condition string, least, most time.Duration, at time.Time) {
		t.Helper()
		different := map[time.Duration]bool{}
		for range 100 {
			got := reconciler.nextPodCheck("a", at)
			different[got] = true
			if got < least || got > most {
				t.Fatalf("%s: nextPodCheck() = %s, want %s to %s", condition, got, least, most)
			}
		}
		if len(different) < 50 {
			t.Errorf("%s: got %d different delays, want at least 50: %v", condition, len(different), different)
		}
	}
	expect("without a change", 5*time.Minute, 10*time.Minute, now)
	changes.mark("a", now)
	expect("just after a change", 10*time.Second, 20*time.Second, now)
	expect("a minute after a change", time.Minute, 2*time.Minute, now.Add(time.Minute))
	expect("an hour after a change", 5*time.Minute, 10*time.Minute, now.Add(time.Hour))
	if len(changes.times) > 0 {
		t.Errorf("an hour after a change: remembered %v, want none", changes.times)
	}
	// A namespace that is gone is never checked again.
	changes.mark("gone", now.Add(time.Hour))
	changes.mark("b", now.Add(2*time.Hour))
	if len(changes.times) != 1 {
		t.Errorf("after changes in another namespace: remembered %v, want one", changes.times)
	}
}

func TestNextRequeue(t *testing.T) {
	contested := v1alpha1.Drift{DetectionTime: metav1.NewTime(now), Action: v1alpha1.DriftConfigured, PreviousDetectionTimes: []metav1.Time{
		metav1.NewTime(now.Add(-time.Minute)), metav1.NewTime(now.Add(-2 * time.Minute)),
	}}
	for _, test := range []struct {
		name        string
		outcomes    []evaluation.Outcome
		expiration  time.Time
		drifts      []v1alpha1.Drift
		least, most time.Duration
	}{
		{name: "all compliant", outcomes: []evaluation.Outcome{{State: "Compliant"}}},
		{name: "stale cache", outcomes: []evaluation.Outcome{{State: "Failed"}, {IsCacheStale: true}}, least: staleRetry, most: staleRetry},
		{name: "rate-limited write", outcomes: []evaluation.Outcome{{RequeueAfter: 700 * time.Millisecond}}, least: 700 * time.Millisecond, most: 700 * time.Millisecond},
		{name: "rejected write", outcomes: []evaluation.Outcome{{State: "Failed"}}, least: 30 * time.Second, most: time.Minute},
		{name: "exception that expires", expiration: now.Add(time.Hour), least: time.Hour, most: time.Hour},
		{name: "exception that has just expired", expiration: now.Add(-time.Second), least: time.Millisecond, most: time.Millisecond},
		{name: "contest that ends", drifts: []v1alpha1.Drift{contested}, least: 5 * time.Minute, most: 5 * time.Minute},
		{
			name:     "the earliest of several",
			outcomes: []evaluation.Outcome{{State: "Failed"}}, expiration: now.Add(time.Hour), drifts: []v1alpha1.Drift{contested},
			least: 30 * time.Second, most: time.Minute,
		},
		{name: "pods that prevent a level", outcomes: []evaluation.Outcome{{HasUnsettledPods: true}}, least: 5 * time.Minute, most: 10 * time.Minute},
		{
			name:     "pods that may have been created unseen",
			outcomes: []evaluation.Outcome{{HasUnsettledPods: true, PodSecurity: &v1alpha1.PodSecurityReport{Provisional: true}}}, least: firstPodCheck, most: firstPodCheck,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			reconciler := &Reconciler{}
			result := Result{
				Namespace: &metav1.PartialObjectMetadata{}, Outcomes: test.outcomes, Governance: precedence.Governance{NextExpirationTime: test.expiration},
			}
			got := reconciler.nextRequeue(result, v1alpha1.BaselineReportData{Drifts: test.drifts}, now)
			if got < test.least || got > test.most {
				t.Errorf("nextRequeue() = %s, want %s to %s", got, test.least, test.most)
			}
		})
	}
}
