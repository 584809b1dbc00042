package openreports

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func TestConvert_HasResultForEachControlAndFinding(t *testing.T) {
	created := metav1.Unix(1_000, 0)
	drifted := metav1.Unix(2_000, 0)
	baselineReport := &v1alpha1.BaselineReport{
		ObjectMeta: metav1.ObjectMeta{Namespace: "shop", CreationTimestamp: created},
		BaselineReportData: v1alpha1.BaselineReportData{
			Controls: []v1alpha1.ControlReport{
				{Name: v1alpha1.ControlNetwork, Baseline: "production", State: v1alpha1.StateCompliant, Findings: []string{"another policy opens everything"}},
				{Name: v1alpha1.ControlRBAC, Baseline: "production", State: v1alpha1.StateFailed, Message: "may not bind"},
				{Name: v1alpha1.ControlImages, Baseline: "production", State: v1alpha1.StateExcepted, Message: "vendor: until summer"},
				{Name: v1alpha1.ControlPodSecurity, Baseline: "production", State: v1alpha1.StateViolating, Message: "web: host network"},
				{Name: v1alpha1.ControlGuard, Baseline: "production", State: v1alpha1.StateContested, Message: "by helm"},
				{Name: v1alpha1.ControlNetwork, Baseline: "stricter", Mode: v1alpha1.ModeAudit, State: v1alpha1.StateDrifted, Message: "1 change"},
			},
			Drifts: []v1alpha1.Drift{
				{Control: v1alpha1.ControlNetwork, Baseline: "production", DetectionTime: drifted},
				{Control: v1alpha1.ControlNetwork, Baseline: "production", DetectionTime: metav1.Unix(1_500, 0)},
			},
		},
	}
	result := func(policy, rule string, at metav1.Time, result openreportsv1alpha1.Result, severity openreportsv1alpha1.ResultSeverity, scored bool, message string) openreportsv1alpha1.ReportResult {
		return openreportsv1alpha1.ReportResult{
			Policy: policy, Rule: rule, Category: "Namespace hardening", Timestamp: metav1.Timestamp{Seconds: at.Unix()},
			Result: result, Severity: severity, Scored: scored, Description: message,
		}
	}
	want := openreportsv1alpha1.Report{
		Source:  "securitybaseline",
		Scope:   &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: "shop"},
		Summary: openreportsv1alpha1.ReportSummary{Pass: 1, Fail: 2, Warn: 2, Error: 1, Skip: 1},
		Results: []openreportsv1alpha1.ReportResult{
			result("production", "Network", drifted, "pass", "info", true, "Compliant"),
			result("production", "Network", drifted, "warn", "info", false, "another policy opens everything"),
			result("production", "RBAC", created, "error", "high", true, "may not bind"),
			result("production", "Images", created, "skip", "info", true, "vendor: until summer"),
			result("production", "PodSecurity", created, "fail", "medium", true, "web: host network"),
			result("production", "Guard", created, "fail", "high", true, "by helm"),
			result("stricter", "Network", created, "warn", "high", false, "1 change"),
		},
	}
	if diff := cmp.Diff(want, convert(baselineReport)); diff != "" {
		t.Errorf("convert() (-want +got):\n%s", diff)
	}
}
