package controllers

import (
	"context"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

const (
	baselineLabel = "baseline"
	controlLabel  = "control"
	stateLabel    = "state"
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
	metrics.Registry.MustRegister(driftsSeen, driftsHealed, healingSeconds, lastEvaluation)
}

// countDrift counts a drift that was put right that long after it was noticed.
func countDrift(drift *v1alpha1.Drift, after time.Duration) {
	labels := prometheus.Labels{baselineLabel: drift.Baseline, controlLabel: string(drift.Control)}
	driftsSeen.With(labels).Inc()
	if drift.Action != v1alpha1.DriftReported {
		driftsHealed.With(labels).Inc()
		healingSeconds.With(labels).Observe(after.Seconds())
	}
}

// forgetBaseline drops what is counted for a baseline that is gone.
func forgetBaseline(name string) {
	labels := prometheus.Labels{baselineLabel: name}
	driftsSeen.DeletePartialMatch(labels)
	driftsHealed.DeletePartialMatch(labels)
	healingSeconds.DeletePartialMatch(labels)
	lastEvaluation.DeletePartialMatch(labels)
}

var (
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

// statusCollector exposes the status of every SecurityBaseline, as the cache has
// it when it is scraped. So a baseline that is gone leaves nothing behind, and
// every replica says the same.
type statusCollector struct{ cache client.Reader }

// Describe implements prometheus.Collector.
func (c statusCollector) Describe(descs chan<- *prometheus.Desc) {
	descs <- namespacesDesc
	descs <- controlsDesc
	descs <- exceptionsDesc
	descs <- violationsDesc
	descs <- clusterAdminDesc
	descs <- violatingPodsDesc
}

// Collect implements prometheus.Collector.
func (c statusCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	var baselines v1alpha1.SecurityBaselineList
	if err := c.cache.List(ctx, &baselines, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache is not filled yet; the other metrics are worth having
	}
	gauge := func(desc *prometheus.Desc, value int32, labels ...string) {
		out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), labels...)
	}
	for i := range baselines.Items {
		name, status := baselines.Items[i].Name, &baselines.Items[i].Status
		for state, count := range byState(&status.Namespaces.StateCounts) {
			gauge(namespacesDesc, count, name, state)
		}
		for j := range status.Controls {
			for state, count := range byState(&status.Controls[j].StateCounts) {
				gauge(controlsDesc, count, name, string(status.Controls[j].Name), state)
			}
		}
		gauge(violationsDesc, status.ViolationsTotal, name)
		if admin := status.ClusterAdmin; admin != nil {
			gauge(clusterAdminDesc, admin.Bindings, name)
		}
		gauge(violatingPodsDesc, status.ViolatingPods, name)
		if exceptions := status.Exceptions; exceptions != nil {
			gauge(exceptionsDesc, exceptions.Active, name, "active")
			gauge(exceptionsDesc, exceptions.Expired, name, "expired")
			gauge(exceptionsDesc, exceptions.Unmatched, name, "unmatched")
		}
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
