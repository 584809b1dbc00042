package monitoring

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// promtool runs promtool in a directory, and fails the test if the command fails.
func promtool(t *testing.T, dir string, args ...string) {
	t.Helper()
	command := cluster.Tool(t.Context(), "promtool", args...)
	command.Dir = dir
	if out, err := command.CombinedOutput(); err != nil {
		t.Errorf("promtool %v: %v\n%s", args, err, out)
	}
}

func readFile(t *testing.T, path ...string) []byte {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(path...))
	testutil.Must(t, err)
	return data
}

func writeFile(t *testing.T, data []byte, path ...string) {
	t.Helper()
	testutil.Must(t, os.WriteFile(filepath.Join(path...), data, 0o600))
}

// alertRule is the part of an alert that the tests read.
type alertRule struct {
	Alert, Expr string
	Annotations map[string]string
}

// readAlerts returns the groups of the PrometheusRule in the format of Prometheus, and
// their rules.
func readAlerts(t *testing.T) ([]byte, []alertRule) {
	t.Helper()
	var manifest struct {
		Spec map[string]any
	}
	if err := yaml.Unmarshal(readFile(t, cluster.Root(), "config", "prometheus", "prometheus_rule.yaml"), &manifest); err != nil {
		t.Fatal(err)
	}
	data, err := yaml.Marshal(manifest.Spec)
	testutil.Must(t, err)
	var spec struct{ Groups []struct{ Rules []alertRule } }
	if err := yaml.Unmarshal(data, &spec); err != nil {
		t.Fatal(err)
	}
	var rules []alertRule
	for _, group := range spec.Groups {
		rules = append(rules, group.Rules...)
	}
	return data, rules
}

func TestAlerts_TestedAndDocumented(t *testing.T) {
	t.Parallel()
	dir := t.TempDir()
	data, rules := readAlerts(t)
	writeFile(t, data, dir, "alerts.yaml")
	tests := readFile(t, "testdata", "alerts_test.yaml")
	writeFile(t, tests, dir, "alerts_test.yaml")
	promtool(t, dir, "check", "rules", "--lint=all", "--lint-fatal", "alerts.yaml")
	promtool(t, dir, "test", "rules", "alerts_test.yaml")

	if len(rules) == 0 {
		t.Error("alerts: got none, want some")
	}
	for _, rule := range rules {
		t.Run(rule.Alert, func(t *testing.T) {
			for test, pattern := range map[string]string{"in which it is silent": `alertname: %s\}`, "in which it fires": `alertname: %s\n    exp_alerts:`} {
				if !regexp.MustCompile(fmt.Sprintf(pattern, rule.Alert)).Match(tests) {
					t.Errorf("tests of the alert: got none %s, want one", test)
				}
			}
			runbook := "docs/runbooks/" + rule.Alert + ".md"
			if !strings.HasSuffix(rule.Annotations["runbook_url"], "/"+runbook) {
				t.Errorf("runbook_url: got %s, want one that ends in %s", rule.Annotations["runbook_url"], runbook)
			}
			if text := string(readFile(t, cluster.Root(), runbook)); !strings.HasPrefix(text, "# "+rule.Alert+"\n") {
				t.Errorf("title of %s: got another, want %s", runbook, rule.Alert)
			}
		})
	}
}
