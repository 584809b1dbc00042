package namespace

import (
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
	"github.com/securitybaseline/operator/controllers/report"
)

const (
	// rejectedRetry is the shortest delay before a write that the API server rejected is retried.
	// The longest is twice that. Not every cause of a rejection is watched.
	rejectedRetry = 30 * time.Second
	// staleRetry is the delay before a namespace is evaluated again because the cache was stale.
	staleRetry = 100 * time.Millisecond
	// firstPodCheck and lastPodCheck bound the delay before the operator checks again which
	// running pods violate a level, if no watched change occurs. Jitter up to doubles it.
	firstPodCheck = 10 * time.Second
	lastPodCheck  = 5 * time.Minute
)

// nextRequeue returns the delay after which a namespace must be evaluated again without an event.
// It returns zero if that is not necessary.
func (r *Reconciler) nextRequeue(result Result, next v1alpha1.BaselineReportData, now time.Time) time.Duration {
	var soonest earliest
	if result.hasPendingRemovals {
		soonest.add(staleRetry)
	}
	hasUnsettledPods := false
	for i := range result.Outcomes {
		outcome := &result.Outcomes[i]
		hasUnsettledPods = hasUnsettledPods || outcome.HasUnsettledPods
		if outcome.PodSecurity != nil && outcome.PodSecurity.Provisional {
			soonest.add(firstPodCheck)
		}
		switch {
		case outcome.IsCacheStale:
			soonest.add(staleRetry)
		case outcome.RequeueAfter > 0:
			soonest.add(outcome.RequeueAfter)
		case outcome.State == v1alpha1.StateFailed:
			soonest.add(wait.Jitter(rejectedRetry, 1))
		}
	}
	if hasUnsettledPods {
		soonest.add(r.nextPodCheck(result.Namespace.Name, now))
	}
	soonest.add(reconcilers.DurationUntil(result.Governance.NextExpirationTime, now))
	for i := range next.Drifts {
		if end := report.ContestEndTime(&next.Drifts[i]); now.Before(end) {
			soonest.add(reconcilers.DurationUntil(end, now))
		}
	}
	return soonest.delay
}

// earliest is the shortest of the delays that were added. Zero delays do not count.
type earliest struct{ delay time.Duration }

func (e *earliest) add(delay time.Duration) {
	if delay > 0 && (e.delay == 0 || delay < e.delay) {
		e.delay = delay
	}
}

// nextPodCheck returns the delay before the running pods of a namespace are checked again: the time
// since its workloads last changed, because a rollout may take long, within the bounds.
func (r *Reconciler) nextPodCheck(namespace string, now time.Time) time.Duration {
	sinceChange, ok := r.state.workloadChanges.since(namespace, now)
	if !ok {
		return wait.Jitter(lastPodCheck, 1)
	}
	return wait.Jitter(min(max(sinceChange, firstPodCheck), lastPodCheck), 1)
}
