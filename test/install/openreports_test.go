package install

import (
	"encoding/json"
	"slices"
	"strings"
	"testing"

	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

const openReport = "reports.openreports.io/security-baseline"

// Each BaselineReport is an openreports.io Report too, where that is asked for and
// permitted.
func TestOpenReports_FollowBaselineReports(t *testing.T) {
	audit, flags, err := cluster.NewAudit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	local := startClusterWithCRDs(t, flags...)
	testutil.Kubectl(t, local, string(buildKustomization(t, []string{"default"}, []string{"openreports"})), "apply", "--server-side", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	stop, err := local.StartOperator(t.Context(), cluster.OperatorOptions{OpenReports: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() {
		if err := stop(); err != nil {
			t.Error(err)
		}
	}()
	theirs := `
apiVersion: openreports.io/v1alpha1
kind: Report
metadata: {name: security-baseline, namespace: default}
source: another
`
	testutil.Kubectl(t, local, theirs, "create", "-f", "-")
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline/everything", "--timeout=60s")

	says := func(t *testing.T, holds func(openreportsv1alpha1.Report) bool) {
		t.Helper()
		var out string
		if !testutil.Holds(t, func() bool {
			var report openreportsv1alpha1.Report
			var err error
			if out, err = testutil.TryKubectl(t, local, "", "get", openReport, "-n", "guarded", "-o", "json"); err != nil {
				return false
			}
			return json.Unmarshal([]byte(out), &report) == nil && holds(report)
		}) {
			t.Errorf("it says %s", out)
		}
	}
	t.Run("says the same as the BaselineReport", func(t *testing.T) {
		says(t, func(report openreportsv1alpha1.Report) bool {
			return report.Summary == openreportsv1alpha1.ReportSummary{Pass: 8} && len(report.Results) == 8 &&
				report.Results[0].Policy == "everything" && report.Scope.Name == "guarded" && report.Results[0].Timestamp.Seconds > 0
		})
	})
	t.Run("and what changes in it", func(t *testing.T) {
		testutil.Kubectl(t, local, "", "patch", "securitybaseline", "everything", "--type=json",
			"-p", `[{"op":"add","path":"/spec/exceptions","value":[{"name":"vendor","namespaces":["guarded"],"controls":["Images"],"reason":"they bring their own images"}]}]`)
		says(t, func(report openreportsv1alpha1.Report) bool {
			return report.Summary == openreportsv1alpha1.ReportSummary{Pass: 7, Skip: 1}
		})
	})
	t.Run("is written again where somebody deletes or changes it", func(t *testing.T) {
		testutil.Kubectl(t, local, "", "delete", openReport, "-n", "guarded")
		testutil.Kubectl(t, local, "", "wait", "--for=create", openReport, "-n", "guarded", "--timeout=60s")
		testutil.Kubectl(t, local, "", "patch", openReport, "-n", "guarded", "--type=merge", "-p", `{"summary":{"fail":9}}`)
		says(t, func(report openreportsv1alpha1.Report) bool { return report.Summary.Fail == 0 })
	})
	t.Run("leaves alone what another tool wrote", func(t *testing.T) {
		if source := testutil.Kubectl(t, local, "", "get", openReport, "-n", "default", "-o", "jsonpath={.source}{.results}"); source != "another" {
			t.Errorf("it is %s", source)
		}
	})
	t.Run("and goes with the BaselineReport", func(t *testing.T) {
		deleteWithManagedObjects(t, local, "everything")
		testutil.Kubectl(t, local, "", "wait", "--for=delete", openReport, "-n", "guarded", "--timeout=60s")
	})
	t.Run("for which it needs each of its permissions", func(t *testing.T) {
		permissions, err := cluster.Permissions("openreports/role.yaml")
		if err != nil {
			t.Fatal(err)
		}
		permissions = slices.DeleteFunc(permissions, func(permission cluster.Permission) bool { return permission.Verb == "list" })
		unused, refused, err := audit.Compare(permissions)
		if err != nil || len(permissions) == 0 || len(unused) > 0 || len(refused) > 0 {
			t.Errorf("of %d permissions, %v are not needed; refused: %v (%v)", len(permissions), unused, refused, err)
		}
	})
}

// Without the CRD the operator ends at once with a sentence.
func TestOpenReports_RequireCRD(t *testing.T) {
	local := testutil.InstallCluster(t)
	_, err := local.StartOperator(t.Context(), cluster.OperatorOptions{OpenReports: true})
	if want := "--openreports needs the CustomResourceDefinition reports.openreports.io in version v1alpha1: install it or leave the flag out"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("%v, not %s", err, want)
	}
}
