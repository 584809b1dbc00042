package openreports

import (
	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

const (
	// sourceName tells viewers which tool wrote a Report.
	sourceName = "securitybaseline"
	// categoryName groups the results in viewers.
	categoryName = "Namespace hardening"
)

// Results of openreports.io. A finding, and a violation of a baseline in Audit mode, is a warning.
const (
	resultPass  openreportsv1alpha1.Result = "pass"
	resultFail  openreportsv1alpha1.Result = "fail"
	resultWarn  openreportsv1alpha1.Result = "warn"
	resultError openreportsv1alpha1.Result = "error"
	resultSkip  openreportsv1alpha1.Result = "skip"
)

// Severities of openreports.io.
const (
	severityInfo   openreportsv1alpha1.ResultSeverity = "info"
	severityMedium openreportsv1alpha1.ResultSeverity = "medium"
	severityHigh   openreportsv1alpha1.ResultSeverity = "high"
)

// convert returns the Report of a BaselineReport, without metadata. It has a result for each
// control, whose policy is the baseline and whose rule is the control, and one for each finding.
// https://openreports.io
func convert(report *v1alpha1.BaselineReport) openreportsv1alpha1.Report {
	converted := openreportsv1alpha1.Report{
		Source: sourceName,
		Scope:  &corev1.ObjectReference{APIVersion: "v1", Kind: "Namespace", Name: report.Namespace},
	}
	for i := range report.Controls {
		control := &report.Controls[i]
		result := openreportsv1alpha1.ReportResult{
			Policy: control.Baseline, Rule: string(control.Name), Category: categoryName, Timestamp: lastDriftTime(report, control),
			Result: resultOf(control), Severity: severityOf(control.State), Scored: control.Mode != v1alpha1.ModeAudit,
			Description: control.Message,
		}
		if result.Description == "" {
			result.Description = string(control.State)
		}
		converted.Results = append(converted.Results, result)
		for _, finding := range control.Findings {
			result.Result = resultWarn
			result.Severity = severityInfo
			result.Scored = false
			result.Description = finding
			converted.Results = append(converted.Results, result)
		}
	}
	converted.Summary = summarize(converted.Results)
	return converted
}

func summarize(results []openreportsv1alpha1.ReportResult) openreportsv1alpha1.ReportSummary {
	var summary openreportsv1alpha1.ReportSummary
	for i := range results {
		switch results[i].Result {
		case resultPass:
			summary.Pass++
		case resultFail:
			summary.Fail++
		case resultWarn:
			summary.Warn++
		case resultError:
			summary.Error++
		case resultSkip:
			summary.Skip++
		}
	}
	return summary
}

func resultOf(control *v1alpha1.ControlReport) openreportsv1alpha1.Result {
	switch control.State {
	case v1alpha1.StateCompliant:
		return resultPass
	case v1alpha1.StateExcepted:
		return resultSkip
	case v1alpha1.StateFailed:
		return resultError
	}
	if control.Mode == v1alpha1.ModeAudit {
		return resultWarn
	}
	return resultFail
}

func severityOf(state v1alpha1.State) openreportsv1alpha1.ResultSeverity {
	switch state {
	case v1alpha1.StateCompliant, v1alpha1.StateExcepted:
		return severityInfo
	case v1alpha1.StateViolating:
		return severityMedium
	}
	return severityHigh
}

// lastDriftTime returns when a control last drifted or, if it has not, when the report was created.
// Viewers show a result without a time as one of 1970.
func lastDriftTime(report *v1alpha1.BaselineReport, control *v1alpha1.ControlReport) metav1.Timestamp {
	last := report.CreationTimestamp
	for i := range report.Drifts {
		if drift := &report.Drifts[i]; drift.Control == control.Name && drift.Baseline == control.Baseline {
			last = drift.DetectionTime
			break // the newest is first
		}
	}
	return metav1.Timestamp{Seconds: last.Unix()}
}
