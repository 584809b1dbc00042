package metrics

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
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
	// maxManagers is how many field managers drifts are counted by: their names are
	// up to whoever changes something.
	maxManagers = 50
	// otherManagers stands for those beyond.
	otherManagers = "(others)"
	// unknownManager stands for those that Kubernetes does not record.
	unknownManager = "(unknown)"
)

var (
	driftsSeen = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "securitybaseline_drifts_total",
		Help: "Drifts from a baseline that this operator has seen.",
	}, []string{baselineLabel, controlLabel})

	driftsHealed = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "securitybaseline_drifts_healed_total",
		Help: "Drifts from a baseline that this operator has put right.",
	}, []string{baselineLabel, controlLabel})

	driftsByManager = prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "securitybaseline_drifts_by_manager_total",
		Help: "Drifts that this operator has seen, by the field manager that made them.",
	}, []string{managerLabel})

	healingSeconds = prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name: "securitybaseline_drift_healing_seconds",
		Help: "Seconds from the event by which this operator noticed a drift until it was put right.",
		// From what an idle cluster takes to a minute of refusals.
		Buckets: []float64{.005, .01, .02, .05, .1, .2, .5, 1, 2, 5, 10, 30, 60, 300},
	}, []string{baselineLabel, controlLabel})

	lastEvaluation = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "securitybaseline_last_full_evaluation_timestamp_seconds",
		Help: "When this operator last found every namespace that a baseline selects evaluated at its generation, in Unix time.",
	}, []string{baselineLabel})
)

func init() {
	metrics.Registry.MustRegister(driftsSeen, driftsHealed, driftsByManager, healingSeconds, lastEvaluation)
}

// CountDrift counts a drift that was put right that long after it was noticed.
func CountDrift(drift *v1alpha1.Drift, after time.Duration) {
	labels := prometheus.Labels{baselineLabel: drift.Baseline, controlLabel: string(drift.Control)}
	driftsSeen.With(labels).Inc()
	if drift.Action != v1alpha1.DriftReported {
		driftsHealed.With(labels).Inc()
		healingSeconds.With(labels).Observe(after.Seconds())
	}
}

// MarkEvaluated notes when a baseline was found evaluated everywhere. What is counted
// for its controls is there from then on, at zero: of a counter that first appears at
// one, Prometheus sees no increase.
func MarkEvaluated(baseline string, controls []v1alpha1.ControlCounts, now time.Time) {
	lastEvaluation.WithLabelValues(baseline).Set(float64(now.Unix()))
	for i := range controls {
		labels := prometheus.Labels{baselineLabel: baseline, controlLabel: string(controls[i].Name)}
		driftsSeen.With(labels)
		driftsHealed.With(labels)
		healingSeconds.With(labels)
	}
}

// managers are the field managers that drifts are counted by.
var managers = bounded{max: maxManagers, names: sets.New[string]()}

// CountManager counts a drift for whoever made it, however many baselines it
// concerns.
func CountManager(manager string) {
	driftsByManager.WithLabelValues(managers.admit(cmp.Or(manager, unknownManager))).Inc()
}

// bounded is a set of at most max names, the first that came.
type bounded struct {
	max   int
	mutex sync.Mutex
	names sets.Set[string]
}

// admit returns the name, or otherManagers if there are too many before it.
func (b *bounded) admit(name string) string {
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

// ForgetBaseline drops what is counted for a baseline that is gone.
func ForgetBaseline(name string) {
	labels := prometheus.Labels{baselineLabel: name}
	driftsSeen.DeletePartialMatch(labels)
	driftsHealed.DeletePartialMatch(labels)
	healingSeconds.DeletePartialMatch(labels)
	lastEvaluation.DeletePartialMatch(labels)
}

var (
	infoDesc = prometheus.NewDesc("securitybaseline_info",
		"1 for every baseline, with its mode.", []string{baselineLabel, "mode"}, nil)
	conditionDesc = prometheus.NewDesc("securitybaseline_condition",
		"1 for each condition of a baseline, with its status: True, False or Unknown.", []string{baselineLabel, "condition", "status"}, nil)
	expiryDesc = prometheus.NewDesc("securitybaseline_exception_expiry_timestamp_seconds",
		"When an exception of a baseline expires, or expired, in Unix time.", []string{baselineLabel, "exception"}, nil)
	namespacesDesc = prometheus.NewDesc("securitybaseline_namespaces",
		"Namespaces that a baseline selects, by the state of the worst of its controls there.", []string{baselineLabel, stateLabel}, nil)
	controlsDesc = prometheus.NewDesc("securitybaseline_controls",
		"Namespaces that a baseline selects, by the state of one control there.", []string{baselineLabel, controlLabel, stateLabel}, nil)
	exceptionsDesc = prometheus.NewDesc("securitybaseline_exceptions",
		"Exceptions of a baseline: active, expired, or unmatched, which are active and name what they cannot be about.", []string{baselineLabel, stateLabel}, nil)
	violationsDesc = prometheus.NewDesc("securitybaseline_violations",
		"What is not compliant with a baseline: controls in namespaces, and what is found in the cluster as a whole.", []string{baselineLabel}, nil)
	clusterAdminDesc = prometheus.NewDesc("securitybaseline_cluster_admin_bindings",
		"Bindings in the whole cluster that grant everything to somebody whom rbac.clusterAdmin does not allow to hold it.", []string{baselineLabel}, nil)
	violatingPodsDesc = prometheus.NewDesc("securitybaseline_violating_pods",
		"Running pods that the wanted pod-security level rejects, as far as the API server names them.", []string{baselineLabel}, nil)
)

// collectTimeout is how long a scrape waits for the cache.
const collectTimeout = time.Second

// StatusCollector exposes the status of every SecurityBaseline, as the cache has
// it when it is scraped. So a baseline that is gone leaves nothing behind, and
// every replica says the same.
type StatusCollector struct{ Cache client.Reader }

// Describe implements prometheus.Collector.
func (c StatusCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- infoDesc
	descs <- conditionDesc
	descs <- expiryDesc
	descs <- namespacesDesc
	descs <- controlsDesc
	descs <- exceptionsDesc
	descs <- violationsDesc
	descs <- clusterAdminDesc
	descs <- violatingPodsDesc
}

// Collect implements prometheus.Collector.
func (c StatusCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	var baselines v1alpha1.SecurityBaselineList
	if err := c.Cache.List(ctx, &baselines, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache is not filled yet; the other metrics are worth having
	}
	for i := range baselines.Items {
		CollectStatus(&baselines.Items[i], func(desc *prometheus.Desc, value int64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), append([]string{baselines.Items[i].Name}, labels...)...)
		})
	}
}

// CollectStatus sets the gauges of a baseline, whose first label is its name.
func CollectStatus(baseline *v1alpha1.SecurityBaseline, gauge func(desc *prometheus.Desc, value int64, labels ...string)) {
	mode := v1alpha1.ModeEnforce
	if baseline.Spec.IsAudit() {
		mode = v1alpha1.ModeAudit
	}
	gauge(infoDesc, 1, string(mode))
	for i := range baseline.Spec.Exceptions {
		if exception := &baseline.Spec.Exceptions[i]; exception.ExpirationTime != nil {
			gauge(expiryDesc, exception.ExpirationTime.Unix(), exception.Name)
		}
	}
	status := &baseline.Status
	for i := range status.Conditions {
		gauge(conditionDesc, 1, status.Conditions[i].Type, string(status.Conditions[i].Status))
	}
	for state, count := range byState(&status.Namespaces.StateCounts) {
		gauge(namespacesDesc, int64(count), state)
	}
	for i := range status.Controls {
		for state, count := range byState(&status.Controls[i].StateCounts) {
			gauge(controlsDesc, int64(count), string(status.Controls[i].Name), state)
		}
	}
	gauge(violationsDesc, int64(status.ViolationsTotal))
	if admin := status.ClusterAdmin; admin != nil {
		gauge(clusterAdminDesc, int64(admin.ViolatingBindingsTotal))
	}
	gauge(violatingPodsDesc, int64(status.ViolatingPodsTotal))
	if exceptions := status.Exceptions; exceptions != nil {
		gauge(exceptionsDesc, int64(exceptions.Active), "active")
		gauge(exceptionsDesc, int64(exceptions.Expired), "expired")
		gauge(exceptionsDesc, int64(exceptions.Unmatched), "unmatched")
	}
}

func byState(counts *v1alpha1.StateCounts) map[string]int32 {
	return map[string]int32{
		string(v1alpha1.StateCompliant): counts.Compliant,
		string(v1alpha1.StateExcepted):  counts.Excepted,
		string(v1alpha1.StateViolating): counts.Violating,
		string(v1alpha1.StateDrifted):   counts.Drifted,
		string(v1alpha1.StateContested): counts.Contested,
		string(v1alpha1.StateConflict):  counts.Conflict,
		string(v1alpha1.StateFailed):    counts.Failed,
		"Pending":                       counts.Pending,
		"Overridden":                    counts.Overridden,
	}
}
