package e2e

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"
	networkingv1 "k8s.io/api/networking/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// scrapeMetrics returns the operator's metrics as Prometheus reads them.
func scrapeMetrics(ctx context.Context) (map[string]*dto.MetricFamily, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+env.metricsAddress+"/metrics", nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	parser := expfmt.NewTextParser(model.UTF8Validation)
	return parser.TextToMetricFamilies(response.Body)
}

// findMetric returns the metric of a family that has these labels and no others.
func findMetric(families map[string]*dto.MetricFamily, family string, labels map[string]string) *dto.Metric {
	for _, metric := range families[family].GetMetric() {
		matches := len(metric.Label) == len(labels)
		for _, label := range metric.Label {
			matches = matches && labels[label.GetName()] == label.GetValue()
		}
		if matches {
			return metric
		}
	}
	return nil
}

func TestMetrics_DescribeBaseline(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	excepted := env.NewNamespace(t, "b", nil)
	spec := defaultSpec()
	spec.Exceptions = []v1alpha1.Exception{migrationException(excepted.Name, nil)}
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, excepted.Name, baseline, v1alpha1.StateExcepted)
	// A counter must exist before the first increment: else Prometheus does not see it.
	testutil.WaitFor(t, func(ctx context.Context) error {
		families, err := scrapeMetrics(ctx)
		if findMetric(families, "securitybaseline_drifts_total", map[string]string{"baseline": baseline.Name, "control": "Network"}) == nil {
			return errors.Join(err, errors.New("metrics: got no counter securitybaseline_drifts_total, want one"))
		}
		return nil
	})
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	})

	name := baseline.Name
	network := string(v1alpha1.ControlNetwork)
	testutil.WaitFor(t, func(ctx context.Context) error {
		families, err := scrapeMetrics(ctx)
		if err != nil {
			return err
		}
		for _, gauge := range []struct {
			family string
			labels map[string]string
			want   float64
		}{
			{"securitybaseline_namespaces", map[string]string{"baseline": name, "state": "Compliant"}, 1},
			{"securitybaseline_namespaces", map[string]string{"baseline": name, "state": "Excepted"}, 1},
			{"securitybaseline_namespaces", map[string]string{"baseline": name, "state": "Failed"}, 0},
			{"securitybaseline_controls", map[string]string{"baseline": name, "control": network, "state": "Excepted"}, 1},
			{"securitybaseline_controls", map[string]string{"baseline": name, "control": "RBAC", "state": "Compliant"}, 2},
			{"securitybaseline_exceptions", map[string]string{"baseline": name, "state": "active"}, 1},
			{"securitybaseline_exceptions", map[string]string{"baseline": name, "state": "expired"}, 0},
			{"securitybaseline_violations", map[string]string{"baseline": name}, 0},
			{"securitybaseline_violating_pods", map[string]string{"baseline": name}, 0},
		} {
			if metric := findMetric(families, gauge.family, gauge.labels); metric == nil || metric.GetGauge().GetValue() != gauge.want {
				return fmt.Errorf("%s%v: got %v, want %v", gauge.family, gauge.labels, metric, gauge.want)
			}
		}
		for _, counter := range []string{"securitybaseline_drifts_total", "securitybaseline_drifts_reverted_total"} {
			if metric := findMetric(families, counter, map[string]string{"baseline": name, "control": network}); metric.GetCounter().GetValue() != 1 {
				return fmt.Errorf("%s: got %v, want 1", counter, metric)
			}
		}
		revertSeconds := findMetric(families, "securitybaseline_drift_revert_seconds", map[string]string{"baseline": name, "control": network}).GetHistogram()
		if revertSeconds.GetSampleCount() != 1 || revertSeconds.GetSampleSum() <= 0 || revertSeconds.GetSampleSum() > testutil.Timeout.Seconds() {
			return fmt.Errorf("the histogram: got %v, want one sample of at most %s", revertSeconds, testutil.Timeout)
		}
		last := findMetric(families, "securitybaseline_last_full_evaluation_timestamp_seconds", map[string]string{"baseline": name}).GetGauge().GetValue()
		if last < float64(baseline.CreationTimestamp.Unix()) {
			return fmt.Errorf("the last full evaluation: got %v, want not before %d", last, baseline.CreationTimestamp.Unix())
		}
		return nil
	})

	// No metric has a label for namespaces.
	families, err := scrapeMetrics(t.Context())
	testutil.Must(t, err)
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			for _, label := range metric.Label {
				if label.GetValue() == namespace.Name {
					t.Errorf("labels of %s: got %s=%s, want no namespace", family.GetName(), label.GetName(), label.GetValue())
				}
			}
		}
	}

	// After the deletion of the baseline no metric has its name.
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	testutil.WaitFor(t, func(ctx context.Context) error {
		families, err := scrapeMetrics(ctx)
		if err != nil {
			return err
		}
		for _, family := range families {
			for _, metric := range family.GetMetric() {
				for _, label := range metric.Label {
					if label.GetName() == "baseline" && label.GetValue() == name {
						return fmt.Errorf("labels of %s: got baseline=%s, want none", family.GetName(), name)
					}
				}
			}
		}
		return nil
	})
}
