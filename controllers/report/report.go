// Package report computes what the operator reports: the BaselineReport of each
// namespace and the status of each SecurityBaseline. It is pure: it uses no client.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/precedence"
)

const (
	// maxDrifts limits the drifts in a report.
	maxDrifts = 20
	// maxChanges limits the changes in a report for a control in Audit mode.
	maxChanges = 50
	// maxMessage limits the message of a control, in bytes.
	maxMessage = 2048
)

// severity orders the states from the best to the worst.
var severity = []v1alpha1.State{
	v1alpha1.StateCompliant, v1alpha1.StateExcepted, v1alpha1.StateViolating, v1alpha1.StateDrifted, v1alpha1.StateContested,
	v1alpha1.StateConflict, v1alpha1.StateFailed,
}

// worse returns the worse of two states. The empty state is better than all others.
func worse(a, b v1alpha1.State) v1alpha1.State {
	return slices.MaxFunc([]v1alpha1.State{a, b}, func(a, b v1alpha1.State) int {
		return cmp.Compare(slices.Index(severity, a), slices.Index(severity, b))
	})
}

// Next returns the report of a namespace after an evaluation with these outcomes.
// prior is the report before it.
func Next(prior v1alpha1.BaselineReportData, governance precedence.Governance, outcomes []evaluation.Outcome, now time.Time) v1alpha1.BaselineReportData {
	next := v1alpha1.BaselineReportData{Drifts: prior.Drifts, Summary: v1alpha1.ReportSummary{DriftsTotal: prior.Summary.DriftsTotal}}
	next.ObservedBaselines = ObservedBaselines(governance)
	for i := range outcomes {
		next.Summary.DriftsTotal += int64(len(outcomes[i].Drifts))
		for _, drift := range outcomes[i].Drifts {
			next.Drifts = addDrift(next.Drifts, drift)
		}
	}
	for _, control := range controls.All {
		for i := range outcomes {
			if outcomes[i].Control == control.Name && !outcomes[i].HasOnlyDrifts {
				next.Controls = append(next.Controls, controlReport(prior, &outcomes[i], next.Drifts, now))
			}
		}
		for _, exception := range governance.ActiveExceptions[control.Name] {
			// An outcome means that removing managed objects failed, which is worse.
			if FindControl(next, control.Name, exception.Baseline.Name) == nil {
				next.Controls = append(next.Controls, exceptedReport(prior, control.Name, exception))
			}
		}
	}
	summarize(&next)
	return next
}

// ObservedBaselines returns the baselines that select a namespace, sorted by name.
func ObservedBaselines(governance precedence.Governance) []v1alpha1.ObservedBaseline {
	observed := make([]v1alpha1.ObservedBaseline, 0, len(governance.Selecting))
	for _, baseline := range governance.Selecting {
		observed = append(observed, v1alpha1.ObservedBaseline{Name: baseline.Name, Generation: baseline.Generation})
	}
	slices.SortFunc(observed, func(a, b v1alpha1.ObservedBaseline) int { return cmp.Compare(a.Name, b.Name) })
	return observed
}

// BelongsToFormerNamespace reports whether a report was written for a deleted
// namespace of the same name. A slow evaluation can write its report into the new
// namespace.
func BelongsToFormerNamespace(report v1alpha1.BaselineReportData, namespace *metav1.PartialObjectMetadata) bool {
	return findEntry(report, func(control *v1alpha1.ControlReport) bool {
		return slices.ContainsFunc(control.Inventory, func(entry v1alpha1.InventoryEntry) bool {
			return entry.Object == evaluation.NamespaceID(namespace) && entry.UID != namespace.UID
		})
	}) != nil
}

// controlReport returns the entry of a control. drifts are all drifts of the new report.
func controlReport(prior v1alpha1.BaselineReportData, outcome *evaluation.Outcome, drifts []v1alpha1.Drift, now time.Time) v1alpha1.ControlReport {
	control := v1alpha1.ControlReport{
		Name: outcome.Control, Baseline: outcome.Baseline, Mode: outcome.Mode,
		State: outcome.State, Message: outcome.Message, Findings: truncateFindings(outcome.Findings),
		Changes: outcome.Changes[:min(len(outcome.Changes), maxChanges)], ChangesTotal: int32(len(outcome.Changes)),
		PodSecurity: outcome.PodSecurity, Inventory: outcome.Inventory, DriftsTotal: int64(len(outcome.Drifts)),
	}
	if previous := FindControl(prior, outcome.Control, outcome.Baseline); previous != nil {
		control.DriftsTotal += previous.DriftsTotal
	}
	contesting := FindContestingDrift(drifts, &control, now)
	switch {
	case contesting != nil && control.IsGoverning() && worse(control.State, v1alpha1.StateContested) == v1alpha1.StateContested:
		control.State = v1alpha1.StateContested
		control.Message = contestMessage(contesting)
	case contesting == nil && control.State == v1alpha1.StateContested:
		// The contest ended, but this evaluation only carries the prior state over.
		control.State = v1alpha1.StateDrifted
		control.Message = "the operator is reverting the drift"
	}
	control.Message = evaluation.Truncate(control.Message, maxMessage)
	return control
}

// exceptedReport returns the entry of a control with an active exception.
func exceptedReport(prior v1alpha1.BaselineReportData, control v1alpha1.ControlName, exception precedence.Exception) v1alpha1.ControlReport {
	expiration := "without expiration"
	if exception.ExpirationTime != nil {
		expiration = "until " + exception.ExpirationTime.UTC().Format(time.RFC3339)
	}
	var driftsTotal int64
	if previous := FindControl(prior, control, exception.Baseline.Name); previous != nil {
		driftsTotal = previous.DriftsTotal
	}
	return v1alpha1.ControlReport{
		Name: control, Baseline: exception.Baseline.Name, Mode: exception.Baseline.Spec.Mode, State: v1alpha1.StateExcepted,
		DriftsTotal: driftsTotal,
		Message:     evaluation.Truncate(fmt.Sprintf("exception %s, %s: %s", exception.Name, expiration, exception.Reason), maxMessage),
		Exception:   &v1alpha1.ActiveException{Name: exception.Name, Reason: exception.Reason, ExpirationTime: exception.ExpirationTime},
	}
}

// summarize sets the state and the summary of a report from its controls. Controls in
// Audit mode count only if no control is enforced.
func summarize(report *v1alpha1.BaselineReportData) {
	var baselines []string
	enforced := slices.ContainsFunc(report.Controls, func(control v1alpha1.ControlReport) bool { return control.Mode != v1alpha1.ModeAudit })
	var compliant, total int
	for _, control := range report.Controls {
		baselines = append(baselines, control.Baseline)
		if enforced && control.Mode == v1alpha1.ModeAudit {
			continue
		}
		report.State = worse(report.State, control.State)
		total++
		if control.State == v1alpha1.StateCompliant {
			compliant++
		}
	}
	slices.Sort(baselines)
	report.Summary.Baselines = strings.Join(slices.Compact(baselines), ",")
	report.Summary.CompliantControls = fmt.Sprintf("%d/%d", compliant, total)
	if len(report.Drifts) > 0 {
		report.Summary.LastDriftTime = &report.Drifts[0].DetectionTime
	}
}

// HasUnsettledPods reports whether the running pods of a namespace violate a Pod
// Security level, or can still do so because the level is not enforced yet.
func HasUnsettledPods(report v1alpha1.BaselineReportData) bool {
	return findEntry(report, func(control *v1alpha1.ControlReport) bool {
		pods := control.PodSecurity
		return pods != nil && (control.Mode == v1alpha1.ModeAudit || len(pods.Violations) > 0 || pods.Incomplete != "" || pods.Enforced != pods.Level)
	}) != nil
}

// truncateFindings limits the number and the length of findings.
func truncateFindings(findings []string) []string {
	truncated := make([]string, 0, min(len(findings), maxFindings))
	for _, finding := range findings[:min(len(findings), maxFindings)] {
		truncated = append(truncated, evaluation.Truncate(finding, maxViolationMessage))
	}
	return truncated
}

// FindGoverning returns the entry of a control from its governing baseline, or from a
// former one whose managed objects could not be removed. It returns nil if there is
// none.
func FindGoverning(report v1alpha1.BaselineReportData, name v1alpha1.ControlName) *v1alpha1.ControlReport {
	return findEntry(report, func(control *v1alpha1.ControlReport) bool { return control.Name == name && control.IsGoverning() })
}

// FindControl returns the entry of a control of a baseline, or nil.
func FindControl(report v1alpha1.BaselineReportData, name v1alpha1.ControlName, baseline string) *v1alpha1.ControlReport {
	return findEntry(report, func(control *v1alpha1.ControlReport) bool {
		return control.Name == name && control.Baseline == baseline
	})
}

// findEntry returns the first entry that matches, or nil.
func findEntry(report v1alpha1.BaselineReportData, matches func(*v1alpha1.ControlReport) bool) *v1alpha1.ControlReport {
	for i := range report.Controls {
		if matches(&report.Controls[i]) {
			return &report.Controls[i]
		}
	}
	return nil
}
