package report

import (
	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

const (
	// openReportSource tells viewers which tool a Report is from.
	openReportSource = "securitybaseline"
	// openReportCategory groups the results in viewers.
	openReportCategory = "Namespace hardening"
	// resultWarn is the result of what is worth knowing, and of what a baseline in
	// Audit mode finds.
	resultWarn openreportsv1alpha1.Result = "warn"
)

// OpenReport returns what an openreports.io Report says of a report: a result for
// each control, whose policy is the baseline and whose rule is the control, and one
// for each finding. https://openreports.io
func OpenReport(source *v1alpha1.BaselineReport) openreportsv1alpha1.Report {
	report := openreportsv1alpha1.Report{
		Source: openReportSource,
		Scope:  &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: source.Namespace},
	}
	for i := range source.Controls {
		control := &source.Controls[i]
		result := openreportsv1alpha1.ReportResult{
			Policy: control.Baseline, Rule: string(control.Name), Category: openReportCategory, Timestamp: since(source, control),
			Result: openResult(control), Severity: openSeverity(control.State), Scored: control.Mode != v1alpha1.ModeAudit,
			Description: control.Message,
		}
		if result.Description == "" {
			result.Description = string(control.State)
		}
		report.Results = append(report.Results, result)
		for _, finding := range control.Findings {
			result.Result, result.Severity, result.Scored, result.Description = resultWarn, "info", false, finding
			report.Results = append(report.Results, result)
		}
	}
	for i := range report.Results {
		switch summary := &report.Summary; report.Results[i].Result {
		case "pass":
			summary.Pass++
		case "fail":
			summary.Fail++
		case resultWarn:
			summary.Warn++
		case "error":
			summary.Error++
		case "skip":
			summary.Skip++
		}
	}
	return report
}

// openResult is the outcome of a control.
func openResult(control *v1alpha1.ControlReport) openreportsv1alpha1.Result {
	switch control.State {
	case v1alpha1.StateCompliant:
		return "pass"
	case v1alpha1.StateExcepted:
		return "skip"
	case v1alpha1.StateFailed:
		return "error"
	}
	if control.Mode == v1alpha1.ModeAudit {
		return resultWarn
	}
	return "fail"
}

func openSeverity(state v1alpha1.State) openreportsv1alpha1.ResultSeverity {
	switch state {
	case v1alpha1.StateCompliant, v1alpha1.StateExcepted:
		return "info"
	case v1alpha1.StateViolating:
		return "medium"
	}
	return "high"
}

// since is when a control last drifted or, if it has not, when the report was made:
// a result without a time is shown as of 1970.
func since(source *v1alpha1.BaselineReport, control *v1alpha1.ControlReport) metav1.Timestamp {
	at := source.CreationTimestamp
	for i := range source.Drifts {
		if drift := &source.Drifts[i]; drift.Control == control.Name && drift.Baseline == control.Baseline {
			at = drift.DetectionTime
			break // the newest is first
		}
	}
	return metav1.Timestamp{Seconds: at.Unix()}
}
