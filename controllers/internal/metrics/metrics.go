// Package metrics defines the operator's own metrics. Controllers call its functions to count
// what a reconcile did. The gauges of a baseline's status come from the cache at each scrape. The
// metrics of controller-runtime know nothing of baselines, so no upstream issue would end this
// package.
package metrics

import (
	"cmp"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

const (
	baselineLabel = "baseline"
	controlLabel  = "control"
	stateLabel    = "state"
	managerLabel  = "manager"
)

const (
	// maxManagers is how many field managers the metric by manager distinguishes. Every client
	// chooses its own name, so the number must be bounded.
	maxManagers = 50
	// otherManagers is the label value of all further field managers.
	otherManagers = "(others)"
	// unknownManager is the label value of drifts whose author is unknown.
	unknownManager = "(unknown)"
)

var (
	driftsDetected = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "securitybaseline_drifts_total",
		Help: "Drifts from a baseline that this operator has detected.",
	}, []string{baselineLabel, controlLabel})

	driftsReverted = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "securitybaseline_drifts_reverted_total",
		Help: "Drifts from a baseline that this operator has reverted.",
	}, []string{baselineLabel, controlLabel})

	driftsByManager = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "securitybaseline_drifts_by_manager_total",
		Help: "Drifts that this operator has detected, by the field manager that made the change.",
	}, []string{managerLabel})

	revertSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "securitybaseline_drift_revert_seconds",
		Help: "Seconds from the event of a drift until this operator has reverted it.",
		// From an idle cluster to minutes of rejected writes.
		Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300},
	}, []string{baselineLabel, controlLabel})

	lastEvaluation = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "securitybaseline_last_full_evaluation_timestamp_seconds",
		Help: "When this operator last found that all namespaces that a baseline selects were evaluated at its generation, in Unix time.",
	}, []string{baselineLabel})
)

func init() {
	metrics.Registry.MustRegister(driftsDetected, driftsReverted, driftsByManager, revertSeconds, lastEvaluation)
}

// CountDrift counts a drift. duration is the time from its event until it was reverted; it is not
// used for a drift that is only reported.
func CountDrift(drift *v1alpha1.Drift, duration time.Duration) {
	labels := prometheus.Labels{baselineLabel: drift.Baseline, controlLabel: string(drift.Control)}
	driftsDetected.With(labels).Inc()
	if drift.Action != v1alpha1.DriftReported {
		driftsReverted.With(labels).Inc()
		revertSeconds.With(labels).Observe(duration.Seconds())
	}
}

// MarkEvaluated records when all namespaces of a baseline were found evaluated. It also creates the
// counters of the baseline's controls at zero, because Prometheus sees no increase in a counter
// that first appears at one.
func MarkEvaluated(baseline string, controls []v1alpha1.ControlCounts, now time.Time) {
	lastEvaluation.WithLabelValues(baseline).Set(float64(now.Unix()))
	for i := range controls {
		labels := prometheus.Labels{baselineLabel: baseline, controlLabel: string(controls[i].Name)}
		driftsDetected.With(labels)
		driftsReverted.With(labels)
		revertSeconds.With(labels)
	}
}

// managers are the field managers that the metric by manager distinguishes.
var managers = boundedSet{max: maxManagers, names: sets.New[string]()}

// CountManager counts a drift for the field manager that made the change: once, however many
// baselines it affects. An empty manager is unknown.
func CountManager(manager string) {
	driftsByManager.WithLabelValues(managers.admit(cmp.Or(manager, unknownManager))).Inc()
}

// boundedSet is the set of the first names, at most max.
type boundedSet struct {
	max   int
	mutex sync.Mutex
	names sets.Set[string]
}

// admit returns the name, or otherManagers if the set is full and does not have the name.
func (b *boundedSet) admit(name string) string {
	b.mutex.Lock()
	defer b.mutex.Unlock()
	if !b.names.Has(name) {
		if b.names.Len() >= b.max {
			return otherManagers
		}
		b.names.Insert(name)
	}
	return name
}

// ForgetBaseline drops the counters of a baseline that was deleted.
func ForgetBaseline(name string) {
	labels := prometheus.Labels{baselineLabel: name}
	driftsDetected.DeletePartialMatch(labels)
	driftsReverted.DeletePartialMatch(labels)
	revertSeconds.DeletePartialMatch(labels)
	lastEvaluation.DeletePartialMatch(labels)
}
