package namespace

import (
	"maps"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/firstevent"
)

// state is all that the controller of namespaces keeps in memory only. Each field says what is lost
// when the operator ends.
type state struct {
	// firstEvents are the times of the first events that are not handled yet, by namespace.
	// Lost: the metric of how long a drift existed counts from the restart.
	firstEvents firstevent.Times
	// failed are the namespaces whose last evaluation failed or has not ended.
	// Lost: nothing, since every namespace is evaluated after a restart.
	failed failedNamespaces
	// workloadChanges are the times at which the workloads of a namespace last changed.
	// Lost: pods that prevent a level may be checked again only after up to 10 minutes.
	workloadChanges workloadChanges
	// pendingDrifts are reverted drifts whose report could not be written.
	// Lost: these drifts appear in the log and the metrics, but in no report and no event.
	pendingDrifts pendingDrifts
	// isReportCRDMissing is set while the CRD of reports is missing or being deleted. The reports
	// that the cache still has are no inventory then.
	// Lost: nothing, since the next write of a report sets it again.
	isReportCRDMissing atomic.Bool
	// enforcement is what enforcement remembers. The fields of enforcement.State say what is lost.
	enforcement enforcement.State
}

// forget forgets a namespace that is gone or being deleted.
func (s *state) forget(namespace string) {
	s.firstEvents.Forget(namespace)
	s.failed.remove(namespace)
	s.workloadChanges.forget(namespace)
	s.pendingDrifts.forget(namespace)
}

// failedNamespaces is a set of namespaces. The zero value is ready to use.
type failedNamespaces struct {
	mutex sync.Mutex
	names sets.Set[string]
}

func (f *failedNamespaces) insert(namespace string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.names == nil {
		f.names = sets.New[string]()
	}
	f.names.Insert(namespace)
}

func (f *failedNamespaces) remove(namespace string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.names.Delete(namespace)
}

func (f *failedNamespaces) list() []string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return f.names.UnsortedList()
}

// workloadChanges holds when the workloads of each namespace last changed, for changes in the last
// lastPodCheck. The zero value is ready to use.
type workloadChanges struct {
	mutex       sync.Mutex
	times       map[string]time.Time
	cleanupTime time.Time
}

// mark records a change.
func (w *workloadChanges) mark(namespace string, at time.Time) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.times == nil {
		w.times = map[string]time.Time{}
	}
	w.times[namespace] = at
	if at.Sub(w.cleanupTime) > lastPodCheck {
		maps.DeleteFunc(w.times, func(_ string, changed time.Time) bool { return at.Sub(changed) > lastPodCheck })
		w.cleanupTime = at
	}
}

// since returns how long ago the workloads of a namespace changed, and whether a change is known.
// It forgets a change that is older than lastPodCheck.
func (w *workloadChanges) since(namespace string, now time.Time) (time.Duration, bool) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	changed, ok := w.times[namespace]
	if !ok {
		return 0, false
	}
	since := now.Sub(changed)
	if since > lastPodCheck {
		delete(w.times, namespace)
	}
	return since, true
}

func (w *workloadChanges) forget(namespace string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	delete(w.times, namespace)
}

// maxPendingDrifts is how many drifts are kept for a control of a namespace.
const maxPendingDrifts = 20

// pendingDrifts holds, by namespace, the outcomes whose drifts were reverted while the report could
// not be written. The next report includes them. The zero value is ready to use.
type pendingDrifts struct {
	mutex   sync.Mutex
	entries map[string]pendingEntry
}

// pendingEntry holds the outcomes of the namespace with that UID. Another namespace of the same
// name must not get them.
type pendingEntry struct {
	namespaceUID types.UID
	outcomes     []evaluation.Outcome
}

// keep keeps the reverted drifts of outcomes. Other drifts are detected again.
func (p *pendingDrifts) keep(namespace client.Object, outcomes []evaluation.Outcome) {
	var kept []evaluation.Outcome
	for _, outcome := range outcomes {
		reverted := slices.DeleteFunc(slices.Clone(outcome.Drifts), func(drift v1alpha1.Drift) bool {
			return drift.Action == v1alpha1.DriftReported
		})
		if len(reverted) > 0 {
			kept = append(kept, evaluation.Outcome{
				Control: outcome.Control, Baseline: outcome.Baseline, Drifts: reverted[max(0, len(reverted)-maxPendingDrifts):], HasOnlyDrifts: true,
			})
		}
	}
	if len(kept) == 0 {
		return
	}
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.entries == nil {
		p.entries = map[string]pendingEntry{}
	}
	p.entries[namespace.GetName()] = pendingEntry{namespaceUID: namespace.GetUID(), outcomes: kept}
}

// take returns and forgets what is kept for a namespace.
func (p *pendingDrifts) take(namespace client.Object) []evaluation.Outcome {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	entry := p.entries[namespace.GetName()]
	delete(p.entries, namespace.GetName())
	if entry.namespaceUID != namespace.GetUID() {
		return nil
	}
	return entry.outcomes
}

func (p *pendingDrifts) forget(namespace string) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	delete(p.entries, namespace)
}

// mergeOutcomes returns the outcomes with the pending drifts before their own. The pending drifts
// of a baseline that no longer governs the control stay separate outcomes.
func mergeOutcomes(pending, outcomes []evaluation.Outcome) []evaluation.Outcome {
	merged := slices.Clone(outcomes)
	for _, earlier := range pending {
		i := slices.IndexFunc(merged, func(outcome evaluation.Outcome) bool {
			return outcome.Control == earlier.Control && outcome.Baseline == earlier.Baseline
		})
		if i < 0 {
			merged = append(merged, earlier)
			continue
		}
		merged[i].Drifts = slices.Concat(earlier.Drifts, merged[i].Drifts)
	}
	return merged
}
