package metrics

import (
	"context"
	"fmt"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

var (
	infoDesc = prometheus.NewDesc("securitybaseline_info",
		"1 for every baseline, with its mode.", []string{baselineLabel, "mode"}, nil)
	conditionDesc = prometheus.NewDesc("securitybaseline_condition",
		"1 for each condition of a baseline, with its status: True, False or Unknown.", []string{baselineLabel, "condition", "status"}, nil)
	expiryDesc = prometheus.NewDesc("securitybaseline_exception_expiry_timestamp_seconds",
		"When an exception of a baseline expires or has expired, in Unix time.", []string{baselineLabel, "exception"}, nil)
	namespacesDesc = prometheus.NewDesc("securitybaseline_namespaces",
		"Namespaces that a baseline selects, by the worst state of its controls there.", []string{baselineLabel, stateLabel}, nil)
	controlsDesc = prometheus.NewDesc("securitybaseline_controls",
		"Namespaces that a baseline selects, by the state of one control there.", []string{baselineLabel, controlLabel, stateLabel}, nil)
	exceptionsDesc = prometheus.NewDesc("securitybaseline_exceptions",
		"Exceptions of a baseline: active, expired, or unmatched. Unmatched ones are active but name a namespace or control that the baseline does not cover.",
		[]string{baselineLabel, stateLabel}, nil)
	violationsDesc = prometheus.NewDesc("securitybaseline_violations",
		"Violations of a baseline: controls in namespaces, and violations in the cluster as a whole.", []string{baselineLabel}, nil)
	clusterAdminDesc = prometheus.NewDesc("securitybaseline_cluster_admin_bindings",
		"Bindings in the cluster that grant all permissions to a subject that rbac.clusterAdmin does not allow.", []string{baselineLabel}, nil)
	violatingPodsDesc = prometheus.NewDesc("securitybaseline_violating_pods",
		"Running pods that violate the desired pod-security level, as counted by the API server.", []string{baselineLabel}, nil)
)

// collectTimeout is how long a scrape waits for the cache to answer.
const collectTimeout = time.Second

// statusCollector exposes the status of every SecurityBaseline in the cache. It reads the cache at
// each scrape, so a deleted baseline leaves no metrics behind, and all replicas expose the same
// values.
type statusCollector struct{ cache client.Reader }

// RegisterStatusCollector exposes the status of every SecurityBaseline that the reader returns. It
// replaces a collector that was registered before, because tests run several operators one after
// the other in one process.
func RegisterStatusCollector(cache client.Reader) error {
	collector := statusCollector{cache: cache}
	metrics.Registry.Unregister(collector)
	if err := metrics.Registry.Register(collector); err != nil {
		return fmt.Errorf("registering the metrics of statuses: %w", err)
	}
	return nil
}

// Describe implements prometheus.Collector.
func (c statusCollector) Describe(descs chan<- *prometheus.Desc) {
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
func (c statusCollector) Collect(out chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), collectTimeout)
	defer cancel()
	var baselines v1alpha1.SecurityBaselineList
	if err := c.cache.List(ctx, &baselines, client.UnsafeDisableDeepCopy); err != nil {
		return // the cache is not synced yet; do not fail the scrape of the other metrics
	}
	for i := range baselines.Items {
		CollectStatus(&baselines.Items[i], func(desc *prometheus.Desc, value int64, labels ...string) {
			out <- prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, float64(value), append([]string{baselines.Items[i].Name}, labels...)...)
		})
	}
}

// CollectStatus calls gauge for each metric of a baseline. labels are the values of all labels but
// the first, which is the name of the baseline.
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
