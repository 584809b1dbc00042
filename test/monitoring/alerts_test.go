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
)

// promtool runs it in a directory, and fails if it finds fault with something.
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
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func writeFile(t *testing.T, data []byte, path ...string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(path...), data, 0o600); err != nil {
		t.Fatal(err)
	}
}

// rule is an alert, as far as it is looked at here.
type alertRule struct {
	Alert, Expr string
	Annotations map[string]string
}

// alerts returns the groups of the PrometheusRule as Prometheus reads them, and the
// rules in them.
func readAlerts(t *testing.T) ([]byte, []alertRule) {
	t.Helper()
	var manifest struct {
		Spec map[string]any
	}
	if err := yaml.Unmarshal(readFile(t, cluster.Root(), "config", "prometheus", "prometheus_rule.yaml"), &manifest); err != nil {
		t.Fatal(err)
	}
	data, err := yaml.Marshal(manifest.Spec)
	if err != nil {
		t.Fatal(err)
	}
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
		t.Error("there are no alerts")
	}
	for _, rule := range rules {
		t.Run(rule.Alert, func(t *testing.T) {
			for _, what := range []string{`alertname: %s\n    exp_alerts:`, `alertname: %s\}`} {
				if !regexp.MustCompile(fmt.Sprintf(what, rule.Alert)).Match(tests) {
					t.Errorf("no test in which it %s", map[bool]string{true: "is silent", false: "fires"}[strings.HasSuffix(what, "}")])
				}
			}
			runbook := "docs/runbooks/" + rule.Alert + ".md"
			if !strings.HasSuffix(rule.Annotations["runbook_url"], "/"+runbook) {
				t.Errorf("runbook_url is %s", rule.Annotations["runbook_url"])
			}
			if text := string(readFile(t, cluster.Root(), runbook)); !strings.HasPrefix(text, "# "+rule.Alert+"\n") {
				t.Errorf("%s is not about it", runbook)
			}
		})
	}
}
