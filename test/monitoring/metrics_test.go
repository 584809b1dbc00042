// Package monitoring proves that the alerts and the dashboard say what they are to
// say, by promtool and by what the operator's executable exposes.
package monitoring

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// patience is how long a test waits for what must come.
const testutil.Timeout = 2 * time.Minute

func TestMain(m *testing.M) {
	cluster.Main()
	os.Exit(m.Run())
}

// what makes every metric be there: a baseline with all that is counted, and a
// policy that somebody opens.
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

// operators are two replicas of the executable, as their Deployment runs them.
type operators struct {
	local    *cluster.Cluster
	audit    *cluster.Audit
	managers []*cluster.Manager
}

// start starts them, and has them see a drift.
func startOperators(t *testing.T) *operators {
	t.Helper()
	audit, flags, err := cluster.NewAudit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	local, err := cluster.Start(t.Context(), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Stop() })
	if err := local.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	executable, err := cluster.BuildManager(t.Context(), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	replicas := &operators{local: local, audit: audit}
	for i := range 2 {
		manager, err := local.StartManager(t.Context(), executable, filepath.Join(t.TempDir(), fmt.Sprintf("%d.log", i)), "--leader-elect")
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = manager.Stop() })
		replicas.managers = append(replicas.managers, manager)
	}
	replicas.kubectl(t, manifests, "apply", "-f", "-")
	replicas.kubectl(t, "", "wait", "--for=condition=Ready", "securitybaseline/production", "--timeout=60s")
	replicas.kubectl(t, "", "wait", "--for=create", "networkpolicy/security-baseline-default-deny", "-n", "shop", "--timeout=60s")
	replicas.kubectl(t, "", "patch", "networkpolicy", "security-baseline-default-deny", "-n", "shop", "--type=merge", "-p", openPolicyPatch)
	return replicas
}

func (o *operators) kubectl(t *testing.T, input string, args ...string) string {
	t.Helper()
	command := o.local.Kubectl(t.Context(), args...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return strings.TrimSpace(string(out))
}

// series returns what both replicas expose, as Prometheus would label it. It waits
// until the leader has counted the drift.
func (o *operators) waitForSeries(t *testing.T, token string) []string {
	t.Helper()
	var series []string
	var last string
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, testutil.Timeout, true, func(ctx context.Context) (bool, error) {
		series = nil
		for i, manager := range o.managers {
			status, body, err := manager.Scrape(ctx, token)
			if err != nil || status != http.StatusOK {
				last = fmt.Sprint(status, err, body)
				return false, nil
			}
			series = append(series, addTargetLabels(body, i)...)
		}
		last = strings.Join(series, "\n")
		return strings.Contains(last, "securitybaseline_drift_healing_seconds_count") && strings.Contains(last, `condition="Ready"`) &&
			strings.Contains(last, "securitybaseline_drifts_by_manager_total"), nil
	})
	if err != nil {
		t.Fatalf("the replicas do not expose what they have seen: %s", last)
	}
	return series
}

// labelled adds the labels of a target to each sample.
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

// queries returns the expressions of the dashboard, with its variables as Grafana
// fills them in.
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
		t.Errorf("%d queries in %d panels", len(found), len(dashboard.Panels))
	}
	return found
}

func TestMetrics_ExposedByReplicas(t *testing.T) {
	t.Parallel()
	replicas := startOperators(t)
	replicas.kubectl(t, "", "create", "namespace", "monitoring")
	for _, account := range []string{"prometheus-k8s", "stranger"} {
		replicas.kubectl(t, "", "create", "serviceaccount", account, "-n", "monitoring")
	}
	replicas.kubectl(t, "", "apply", "-f", cluster.Root()+"/config/prometheus/metrics_reader_role_binding.yaml")
	series := replicas.waitForSeries(t, replicas.kubectl(t, "", "create", "token", "prometheus-k8s", "-n", "monitoring"))

	t.Run("is not for everybody", func(t *testing.T) {
		for token, want := range map[string]int{"": http.StatusUnauthorized, replicas.kubectl(t, "", "create", "token", "stranger", "-n", "monitoring"): http.StatusForbidden} {
			if status, body, err := replicas.managers[0].Scrape(t.Context(), token); status != want {
				t.Errorf("%d %s %v, not %d", status, body, err, want)
			}
		}
	})
	t.Run("is found by every query of the dashboard", func(t *testing.T) {
		expressions := dashboardQueries(t)
		for i := range expressions {
			// While all is well, this one finds nothing.
			expressions[i] = strings.Replace(expressions[i], `state!~"Compliant|Excepted|Overridden"`, `state=~"Compliant|Excepted"`, 1)
		}
		requireResults(t, series, expressions)
	})
	t.Run("is what the alerts ask for", func(t *testing.T) {
		_, rules := readAlerts(t)
		// What they compare to a threshold is there, whatever its value.
		threshold := regexp.MustCompile(`status!="True"|state="(Drifted|Contested)"`)
		var expressions []string
		for _, rule := range rules {
			for _, metric := range regexp.MustCompile(`[a-z_]+\{[^}]*\}|securitybaseline_\w+|controller_runtime_\w+\{[^}]*\}`).FindAllString(rule.Expr, -1) {
				expressions = append(expressions, threshold.ReplaceAllString(metric, `baseline="production"`))
			}
		}
		requireResults(t, series, expressions)
	})
	t.Run("has one leader", func(t *testing.T) {
		requireResults(t, series, []string{`sum(leader_election_master_status{name="leader.securitybaseline.io"}) == 1`})
	})
	t.Run("needs each permission that only an executable needs", func(t *testing.T) {
		permissions, err := cluster.Permissions("rbac/leader_election_role.yaml", "rbac/metrics_auth_role.yaml")
		if err != nil {
			t.Fatal(err)
		}
		unused, refused, err := replicas.audit.Compare(permissions)
		if err != nil || len(permissions) == 0 || len(unused) > 0 || len(refused) > 0 {
			t.Errorf("of %d permissions, %v are not needed; refused: %v (%v)", len(permissions), unused, refused, err)
		}
	})
	t.Run("and the log is JSON with stable keys", func(t *testing.T) { replicas.requireJSONLogs(t) })
}

// findsSomething has promtool evaluate the expressions over the series as they stood
// for a day.
func requireResults(t *testing.T, series, expressions []string) {
	t.Helper()
	type expectation struct {
		Expr       string           `json:"expr"`
		EvalTime   string           `json:"eval_time"`
		ExpSamples []map[string]any `json:"exp_samples"`
	}
	expectations := make([]expectation, 0, len(expressions))
	for _, expression := range expressions {
		expectations = append(expectations, expectation{"count(" + expression + ") > bool 0", "24h", []map[string]any{{"labels": "{}", "value": 1}}})
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

// logsAreJSON checks each line of what the replicas logged, and that the drift is
// among them.
func (o *operators) requireJSONLogs(t *testing.T) {
	t.Helper()
	drifts := 0
	for _, manager := range o.managers {
		for line := range strings.SplitSeq(strings.TrimSpace(string(readFile(t, manager.Log))), "\n") {
			var entry map[string]any
			if err := json.Unmarshal([]byte(line), &entry); err != nil {
				t.Errorf("%v: %s", err, line)
				continue
			}
			for _, key := range []string{"level", "ts", "msg"} {
				if entry[key] == nil {
					t.Errorf("no %s: %s", key, line)
				}
			}
			if _, err := time.Parse(time.RFC3339Nano, fmt.Sprint(entry["ts"])); err != nil {
				t.Error(err)
			}
			if entry["msg"] == "Drift" {
				drifts++
				for _, key := range []string{"baseline", "control", "object", "fields", "manager", "operation", "action", "namespace"} {
					if entry[key] == nil {
						t.Errorf("no %s: %s", key, line)
					}
				}
			}
		}
	}
	if drifts != 1 {
		t.Errorf("%d drifts are logged", drifts)
	}
}
