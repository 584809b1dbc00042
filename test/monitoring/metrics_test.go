// Package monitoring tests the alerts and the dashboard, with promtool and with the
// metrics that the operator's executable exposes.
package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

func TestMain(m *testing.M) {
	cluster.Main()
	os.Exit(m.Run())
}

// manifests and openPolicyPatch make the operator expose every metric: a baseline with
// everything that is counted, and a change of a policy.
const (
	manifests = `
apiVersion: v1
kind: Namespace
metadata: {name: shop}
---
apiVersion: securitybaseline.io/v1alpha1
kind: SecurityBaseline
metadata: {name: production}
spec:
  namespaceSelector: {}
  network: {defaultDeny: [Ingress]}
  podSecurity: {enforce: baseline}
  rbac: {clusterAdmin: {allowedSubjects: []}}
  exceptions:
  - {name: vendor, namespaces: [default], controls: [Network], reason: their charts move here in spring, expirationTime: "2099-01-01T00:00:00Z"}
`
	openPolicyPatch = `{"spec":{"ingress":[{}]}}`
)

// operators are two replicas of the executable, as its Deployment runs them.
type operators struct {
	local    *cluster.Cluster
	audit    *cluster.Audit
	managers []*cluster.Manager
}

// startOperators starts two replicas on a control plane, and changes a policy.
func startOperators(t *testing.T) *operators {
	t.Helper()
	audit, flags, err := cluster.NewAudit(t.TempDir())
	testutil.Must(t, err)
	local := testutil.InstallCluster(t, flags...)
	executable, err := cluster.BuildManager(t.Context(), t.TempDir())
	testutil.Must(t, err)
	replicas := &operators{local: local, audit: audit}
	for i := range 2 {
		manager, err := local.StartManager(t.Context(), executable, filepath.Join(t.TempDir(), fmt.Sprintf("%d.log", i)), "--leader-elect")
		testutil.Must(t, err)
		t.Cleanup(func() { _ = manager.Stop() })
		replicas.managers = append(replicas.managers, manager)
	}
	testutil.Kubectl(t, local, manifests, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline/production", testutil.TimeoutFlag)
	testutil.Kubectl(t, local, "", "wait", "--for=create", "networkpolicy/security-baseline-default-deny", "-n", "shop", testutil.TimeoutFlag)
	testutil.Kubectl(t, local, "", "patch", "networkpolicy", "security-baseline-default-deny", "-n", "shop", "--type=merge", "-p", openPolicyPatch)
	return replicas
}

// waitForSeries waits until the leader has counted the drift and returns the samples that
// both replicas expose, with the labels that Prometheus adds.
func (o *operators) waitForSeries(t *testing.T, token string) []string {
	t.Helper()
	var series []string
	testutil.WaitFor(t, func(ctx context.Context) error {
		series = nil
		for i, manager := range o.managers {
			status, body, err := manager.Scrape(ctx, token)
			if err != nil || status != http.StatusOK {
				return fmt.Errorf("replica %d: got status %d (%w), want %d: %s", i, status, err, http.StatusOK, body)
			}
			series = append(series, addTargetLabels(body, i)...)
		}
		exposed := strings.Join(series, "\n")
		for _, want := range []string{"securitybaseline_drift_revert_seconds_count", `condition="Ready"`, "securitybaseline_drifts_by_manager_total"} {
			if !strings.Contains(exposed, want) {
				return fmt.Errorf("samples: got %s, want %s among them", exposed, want)
			}
		}
		return nil
	})
	return series
}

// addTargetLabels returns the samples of a response with the labels of their target.
func addTargetLabels(body string, replica int) []string {
	target := fmt.Sprintf(`job="securitybaseline-metrics",namespace=%q,service="securitybaseline-metrics",endpoint="https",pod="manager-%d",instance="10.0.0.%d:8443"`,
		cluster.OperatorNamespace, replica, replica)
	var series []string
	for line := range strings.SplitSeq(body, "\n") {
		name, value, found := cutLast(line, " ")
		if !found || strings.HasPrefix(line, "#") || strings.Contains(value, "N") || strings.Contains(value, "Inf") {
			continue
		}
		if bare, labels, found := strings.Cut(name, "{"); found {
			name = bare + "{" + target + "," + labels
		} else {
			name += "{" + target + "}"
		}
		series = append(series, name+" "+value)
	}
	return series
}

func cutLast(s, separator string) (before, after string, found bool) {
	if i := strings.LastIndex(s, separator); i >= 0 {
		return s[:i], s[i+1:], true
	}
	return s, "", false
}

// dashboardQueries returns the expressions of the dashboard, with values of its variables.
func dashboardQueries(t *testing.T) []string {
	t.Helper()
	var dashboard struct {
		Panels []struct {
			Title   string
			Targets []struct{ Expr string }
		}
	}
	if err := json.Unmarshal(readFile(t, cluster.Root(), "config", "grafana", "securitybaseline.json"), &dashboard); err != nil {
		t.Fatal(err)
	}
	var found []string
	for _, panel := range dashboard.Panels {
		for _, target := range panel.Targets {
			found = append(found, strings.NewReplacer("$baseline", ".*", "$__rate_interval", "5m", "$__range", "24h").Replace(target.Expr))
		}
	}
	if len(found) < len(dashboard.Panels) {
		t.Errorf("queries: got %d, want at least one for each of %d panels", len(found), len(dashboard.Panels))
	}
	return found
}

func TestMetrics_ExposedByReplicas(t *testing.T) {
	t.Parallel()
	replicas := startOperators(t)
	testutil.Kubectl(t, replicas.local, "", "create", "namespace", "monitoring")
	for _, account := range []string{"prometheus-k8s", "stranger"} {
		testutil.Kubectl(t, replicas.local, "", "create", "serviceaccount", account, "-n", "monitoring")
	}
	testutil.Kubectl(t, replicas.local, "", "apply", "-f", cluster.Root()+"/config/prometheus/metrics_reader_role_binding.yaml")
	series := replicas.waitForSeries(t, testutil.Kubectl(t, replicas.local, "", "create", "token", "prometheus-k8s", "-n", "monitoring"))

	t.Run("only permitted users read metrics", func(t *testing.T) {
		for token, want := range map[string]int{"": http.StatusUnauthorized, testutil.Kubectl(t, replicas.local, "", "create", "token", "stranger", "-n", "monitoring"): http.StatusForbidden} {
			if status, body, err := replicas.managers[0].Scrape(t.Context(), token); status != want {
				t.Errorf("status: got %d (%v), want %d: %s", status, err, want, body)
			}
		}
	})
	t.Run("every query of the dashboard has a result", func(t *testing.T) {
		expressions := dashboardQueries(t)
		for i := range expressions {
			// This one has no result while every control is compliant.
			expressions[i] = strings.Replace(expressions[i], `state!~"Compliant|Excepted|Overridden"`, `state=~"Compliant|Excepted"`, 1)
		}
		requireResults(t, series, expressions)
	})
	t.Run("every metric of the alerts has a sample", func(t *testing.T) {
		_, rules := readAlerts(t)
		// Metrics that an alert compares to a threshold must exist, with any value.
		threshold := regexp.MustCompile(`status!="True"|state="(Drifted|Contested)"`)
		var expressions []string
		for _, rule := range rules {
			for _, metric := range regexp.MustCompile(`[a-z_]+\{[^}]*\}|securitybaseline_\w+|controller_runtime_\w+\{[^}]*\}`).FindAllString(rule.Expr, -1) {
				expressions = append(expressions, threshold.ReplaceAllString(metric, `baseline="production"`))
			}
		}
		requireResults(t, series, expressions)
	})
	t.Run("one replica is the leader", func(t *testing.T) {
		requireResults(t, series, []string{`sum(leader_election_master_status{name="leader.securitybaseline.io"}) == 1`})
	})
	t.Run("each permission of the executable is used", func(t *testing.T) {
		permissions, err := cluster.Permissions("rbac/leader_election_role.yaml", "rbac/metrics_auth_role.yaml")
		if err != nil {
			t.Fatal(err)
		}
		unused, refused, err := replicas.audit.Compare(permissions)
		if err != nil || len(permissions) == 0 || len(unused) > 0 || len(refused) > 0 {
			t.Errorf("%d permissions: got unused %v and denied %v, want none (%v)", len(permissions), unused, refused, err)
		}
	})
	t.Run("the log is JSON with stable keys", func(t *testing.T) { replicas.waitForJSONLogs(t) })
}

// requireResults has promtool evaluate the expressions after the samples have been the
// same for a day. Each expression must have a result.
func requireResults(t *testing.T, series, expressions []string) {
	t.Helper()
	type expectation struct {
		Expr       string           `json:"expr"`
		EvalTime   string           `json:"eval_time"`
		ExpSamples []map[string]any `json:"exp_samples"`
	}
	expectations := make([]expectation, 0, len(expressions))
	for _, expression := range expressions {
		expectations = append(expectations, expectation{
			Expr: "count(" + expression + ") > bool 0", EvalTime: "24h", ExpSamples: []map[string]any{{"labels": "{}", "value": 1}},
		})
	}
	input := make([]map[string]string, 0, len(series))
	for _, sample := range series {
		name, value, _ := cutLast(sample, " ")
		input = append(input, map[string]string{"series": name, "values": value + "x1440"})
	}
	data, err := yaml.Marshal(map[string]any{
		"rule_files": []string{}, "evaluation_interval": "1m",
		"tests": []map[string]any{{"interval": "1m", "input_series": input, "promql_expr_test": expectations}},
	})
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	writeFile(t, data, dir, "queries_test.yaml")
	promtool(t, dir, "test", "rules", "queries_test.yaml")
}

// waitForJSONLogs checks each line of the logs of the replicas, and waits for that of
// the drift.
func (o *operators) waitForJSONLogs(t *testing.T) {
	t.Helper()
	var lines []string
	testutil.WaitFor(t, func(context.Context) error {
		var logs strings.Builder
		for _, manager := range o.managers {
			logs.Write(readFile(t, manager.LogFile))
		}
		lines = strings.Split(strings.TrimSpace(logs.String()), "\n")
		if !slices.ContainsFunc(lines, func(line string) bool { return strings.Contains(line, `"msg":"Drift detected"`) }) {
			return fmt.Errorf("logged drifts: got none in %d lines, want one", len(lines))
		}
		return nil
	})
	drifts := 0
	for _, line := range lines {
		var entry map[string]any
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Errorf("log line: got %s, want JSON: %v", line, err)
			continue
		}
		keys := []string{"level", "ts", "msg"}
		if entry["msg"] == "Drift detected" {
			drifts++
			keys = append(keys, "baseline", "control", "object", "fields", "manager", "operation", "action", "namespace")
		}
		for _, key := range keys {
			if entry[key] == nil {
				t.Errorf("log line: got no key %s, want one: %s", key, line)
			}
		}
		if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(entry["ts"])); err != nil {
			t.Error(err)
		}
	}
	if drifts != 1 {
		t.Errorf("logged drifts: got %d, want 1", drifts)
	}
}
