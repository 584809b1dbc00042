package install

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

const openReport = "reports.openreports.io/security-baseline"

// TestOpenReports_FollowBaselineReports runs the operator with --openreports, and with
// the permissions that this needs.
func TestOpenReports_FollowBaselineReports(t *testing.T) {
	audit, flags, err := cluster.NewAudit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	local := startClusterWithCRDs(t, flags...)
	testutil.Kubectl(t, local, string(buildKustomization(t, []string{"default"}, []string{"openreports"})), "apply", "--server-side", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", testutil.TimeoutFlag)
	defer testutil.StartOperator(t, local, cluster.OperatorOptions{OpenReports: true})()
	foreign := `
apiVersion: openreports.io/v1alpha1
kind: Report
metadata: {name: security-baseline, namespace: default}
source: another
`
	testutil.Kubectl(t, local, foreign, "create", "-f", "-")
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline/everything", testutil.TimeoutFlag)

	waitForReport := func(t *testing.T, check func(openreportsv1alpha1.Report) error) {
		t.Helper()
		testutil.WaitFor(t, func(ctx context.Context) error {
			out, err := testutil.TryKubectl(ctx, local, "", "get", openReport, "-n", "guarded", "-o", "json")
			if err != nil {
				return fmt.Errorf("%w: %s", err, out)
			}
			var report openreportsv1alpha1.Report
			if err := json.Unmarshal([]byte(out), &report); err != nil {
				return err
			}
			return check(report)
		})
	}
	hasSummary := func(want openreportsv1alpha1.ReportSummary) func(openreportsv1alpha1.Report) error {
		return func(report openreportsv1alpha1.Report) error {
			return testutil.CheckEqual("the summary", report.Summary, want)
		}
	}
	t.Run("it has the results of the BaselineReport", func(t *testing.T) {
		waitForReport(t, func(report openreportsv1alpha1.Report) error {
			if len(report.Results) != 8 || report.Results[0].Policy != "everything" || report.Scope.Name != "guarded" || report.Results[0].Timestamp.Seconds <= 0 {
				return fmt.Errorf("report: got %+v, want 8 results of the policy everything with a time, and the scope guarded", report)
			}
			return hasSummary(openreportsv1alpha1.ReportSummary{Pass: 8})(report)
		})
	})
	t.Run("it follows a change", func(t *testing.T) {
		testutil.Kubectl(t, local, "", "patch", "securitybaseline", "everything", "--type=json",
			"-p", `[{"op":"add","path":"/spec/exceptions","value":[{"name":"vendor","namespaces":["guarded"],"controls":["Images"],"reason":"they bring their own images"}]}]`)
		waitForReport(t, hasSummary(openreportsv1alpha1.ReportSummary{Pass: 7, Skip: 1}))
	})
	t.Run("it is written again after a deletion or a change", func(t *testing.T) {
		testutil.Kubectl(t, local, "", "delete", openReport, "-n", "guarded")
		testutil.Kubectl(t, local, "", "wait", "--for=create", openReport, "-n", "guarded", testutil.TimeoutFlag)
		testutil.Kubectl(t, local, "", "patch", openReport, "-n", "guarded", "--type=merge", "-p", `{"summary":{"fail":9}}`)
		waitForReport(t, hasSummary(openreportsv1alpha1.ReportSummary{Pass: 7, Skip: 1}))
	})
	t.Run("a report of another tool is left alone", func(t *testing.T) {
		if source := testutil.Kubectl(t, local, "", "get", openReport, "-n", "default", "-o", "jsonpath={.source}{.results}"); source != "another" {
			t.Errorf("source and results: got %s, want another", source)
		}
	})
	t.Run("it is removed with the BaselineReport", func(t *testing.T) {
		deleteWithManagedObjects(t, local, "everything")
		testutil.Kubectl(t, local, "", "wait", "--for=delete", openReport, "-n", "guarded", testutil.TimeoutFlag)
	})
	t.Run("each permission is used", func(t *testing.T) {
		permissions, err := cluster.Permissions("openreports/role.yaml")
		if err != nil {
			t.Fatal(err)
		}
		permissions = slices.DeleteFunc(permissions, func(permission cluster.Permission) bool { return permission.Verb == "list" })
		unused, refused, err := audit.Compare(permissions)
		if err != nil || len(permissions) == 0 || len(unused) > 0 || len(refused) > 0 {
			t.Errorf("%d permissions: got unused %v and denied %v, want none (%v)", len(permissions), unused, refused, err)
		}
	})
}

// TestOpenReports_RequireCRD starts the operator with --openreports where the CRD is
// missing: it must not start.
func TestOpenReports_RequireCRD(t *testing.T) {
	local := testutil.InstallCluster(t)
	_, err := local.StartOperator(t.Context(), cluster.OperatorOptions{OpenReports: true})
	if want := "--openreports needs the CustomResourceDefinition reports.openreports.io in version v1alpha1: install it or leave the flag out"; err == nil || !strings.Contains(err.Error(), want) {
		t.Errorf("starting the operator: got %v, want %s", err, want)
	}
}
