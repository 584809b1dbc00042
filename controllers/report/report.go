// Package report writes down what was found: in each namespace's BaselineReport,
// and summed up in each SecurityBaseline's status. It is pure.
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
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/precedence"
)

const (
	// maxDrifts is how many drifts a report lists.
	maxDrifts = 20
	// maxChanges is how many changes it lists for a control in Audit mode.
	maxChanges = 50
	// maxMessage is how long a control's message may be, in bytes.
	maxMessage = 2048
)

// severity orders the states from the best to the worst.
var severity = []v1alpha1.State{
	v1alpha1.StateCompliant, v1alpha1.StateExcepted, v1alpha1.StateViolating, v1alpha1.StateDrifted, v1alpha1.StateContested,
	v1alpha1.StateConflict, v1alpha1.StateFailed,
}

// worst returns the worse of two states; the empty state is the best.
func worst(a, b v1alpha1.State) v1alpha1.State {
	return slices.MaxFunc([]v1alpha1.State{a, b}, func(a, b v1alpha1.State) int {
		return cmp.Compare(slices.Index(severity, a), slices.Index(severity, b))
	})
}

// Next returns what a namespace's report says after an evaluation. outcomes are
// what came of it, prior what the report said.
func Next(prior v1alpha1.BaselineReportData, governance precedence.Governance, outcomes []enforcement.Outcome, now time.Time) v1alpha1.BaselineReportData {
	next := v1alpha1.BaselineReportData{Drifts: prior.Drifts, Summary: v1alpha1.ReportSummary{DriftsTotal: prior.Summary.DriftsTotal}}
	next.ObservedBaselines = ObservedBaselines(governance)
	for i := range outcomes {
		next.Summary.DriftsTotal += int64(len(outcomes[i].Drifts))
		for _, drift := range outcomes[i].Drifts {
			next.Drifts = record(next.Drifts, drift)
		}
	}
	for _, control := range controls.All {
		for i := range outcomes {
			if outcomes[i].Control == control.Name && !outcomes[i].Earlier {
				next.Controls = append(next.Controls, controlReport(prior, &outcomes[i], next.Drifts, now))
			}
		}
		for _, exception := range governance.ActiveExceptions[control.Name] {
			// What could not be removed from where the exception took it is worse.
			if FindControl(next, control.Name, exception.Baseline.Name) == nil {
				next.Controls = append(next.Controls, excepted(prior, control.Name, exception))
			}
		}
	}
	summarise(&next)
	return next
}

// Observed returns the baselines that select a namespace, as its report lists them.
func ObservedBaselines(governance precedence.Governance) []v1alpha1.ObservedBaseline {
	observed := make([]v1alpha1.ObservedBaseline, 0, len(governance.Selecting))
	for _, baseline := range governance.Selecting {
		observed = append(observed, v1alpha1.ObservedBaseline{Name: baseline.Name, Generation: baseline.Generation})
	}
	slices.SortFunc(observed, func(a, b v1alpha1.ObservedBaseline) int { return cmp.Compare(a.Name, b.Name) })
	return observed
}

// OfAnother says whether a report is about a former namespace of the same name: an
// evaluation that took long may write it into the next one.
func BelongsToFormerNamespace(report v1alpha1.BaselineReportData, namespace *metav1.PartialObjectMetadata) bool {
	return find(report, func(control *v1alpha1.ControlReport) bool {
		return slices.ContainsFunc(control.Inventory, func(placed v1alpha1.InventoryEntry) bool {
			return placed.Object == enforcement.NamespaceID(namespace) && placed.UID != namespace.UID
		})
	}) != nil
}

// Fresh returns the outcomes without the drifts that the report records already.
// Where nothing is put right, an evaluation that sees an old report, in which the
// object is still in place, finds them once more.
func DropReported(prior v1alpha1.BaselineReportData, outcomes []enforcement.Outcome) []enforcement.Outcome {
	fresh := slices.Clone(outcomes)
	for i := range fresh {
		before := FindControl(prior, fresh[i].Control, fresh[i].Baseline)
		fresh[i].Drifts = slices.DeleteFunc(slices.Clone(fresh[i].Drifts), func(drift v1alpha1.Drift) bool {
			return drift.Action == v1alpha1.DriftReported && (before == nil || !slices.ContainsFunc(before.Inventory, func(placed v1alpha1.InventoryEntry) bool {
				return placed.Object == drift.Object
			}))
		})
	}
	return fresh
}

// Unrecorded returns the outcomes without the drifts that the report records already:
// the answer to the write that recorded them was lost. No object is put right twice in
// a second.
func DropRecorded(prior v1alpha1.BaselineReportData, held []enforcement.Outcome) []enforcement.Outcome {
	unrecorded := slices.Clone(held)
	for i := range unrecorded {
		unrecorded[i].Drifts = slices.DeleteFunc(slices.Clone(unrecorded[i].Drifts), func(drift v1alpha1.Drift) bool {
			return slices.ContainsFunc(prior.Drifts, func(recorded v1alpha1.Drift) bool {
				times := append([]metav1.Time{recorded.DetectionTime}, recorded.PreviousDetectionTimes...)
				return sameDrift(&recorded, &drift) && slices.ContainsFunc(times, func(t metav1.Time) bool { return t.Unix() == drift.DetectionTime.Unix() })
			})
		})
	}
	return unrecorded
}

func controlReport(prior v1alpha1.BaselineReportData, outcome *enforcement.Outcome, drifts []v1alpha1.Drift, now time.Time) v1alpha1.ControlReport {
	control := v1alpha1.ControlReport{
		Name: outcome.Control, Baseline: outcome.Baseline, Mode: outcome.Mode,
		State: outcome.State, Message: outcome.Message, Findings: bounded(outcome.Findings),
		Changes: outcome.Changes[:min(len(outcome.Changes), maxChanges)], ChangesTotal: int32(len(outcome.Changes)),
		PodSecurity: outcome.PodSecurity, Inventory: outcome.Placed, DriftsTotal: int64(len(outcome.Drifts)),
	}
	if before := FindControl(prior, outcome.Control, outcome.Baseline); before != nil {
		control.DriftsTotal += before.DriftsTotal
	}
	fight := FindContestingDrift(drifts, &control, now)
	switch {
	case fight != nil && control.IsGoverning() && worst(control.State, v1alpha1.StateContested) == v1alpha1.StateContested:
		control.State, control.Message = v1alpha1.StateContested, contestMessage(fight)
	case fight == nil && control.State == v1alpha1.StateContested:
		// The state of a while ago, kept for want of news.
		control.State, control.Message = v1alpha1.StateDrifted, "is being put right"
	}
	control.Message = enforcement.Truncate(control.Message, maxMessage)
	return control
}

func excepted(prior v1alpha1.BaselineReportData, control v1alpha1.ControlName, exception precedence.Exception) v1alpha1.ControlReport {
	until := "for good"
	if exception.ExpirationTime != nil {
		until = "until " + exception.ExpirationTime.UTC().Format(time.RFC3339)
	}
	var drifts int64
	if before := FindControl(prior, control, exception.Baseline.Name); before != nil {
		drifts = before.DriftsTotal
	}
	return v1alpha1.ControlReport{
		DriftsTotal: drifts,
		Name:   control, Baseline: exception.Baseline.Name, Mode: exception.Baseline.Spec.Mode, State: v1alpha1.StateExcepted,
		Message:   enforcement.Truncate(fmt.Sprintf("exception %s, %s: %s", exception.Name, until, exception.Reason), maxMessage),
		Exception: &v1alpha1.ActiveException{Name: exception.Name, Reason: exception.Reason, ExpirationTime: exception.ExpirationTime},
	}
}

// summarise sums up what is enforced here or, where nothing is, what is audited.
func summarise(report *v1alpha1.BaselineReportData) {
	var baselines []string
	enforced := slices.ContainsFunc(report.Controls, func(control v1alpha1.ControlReport) bool { return control.Mode != v1alpha1.ModeAudit })
	compliant, total := 0, 0
	for _, control := range report.Controls {
		baselines = append(baselines, control.Baseline)
		if enforced && control.Mode == v1alpha1.ModeAudit {
			continue
		}
		report.State = worst(report.State, control.State)
		total++
		if control.State == v1alpha1.StateCompliant {
			compliant++
		}
	}
	slices.Sort(baselines)
	report.Summary.Baselines = strings.Join(slices.Compact(baselines), ",")
	report.Summary.Controls = fmt.Sprintf("%d/%d", compliant, total)
	if len(report.Drifts) > 0 {
		report.Summary.LastDriftTime = &report.Drifts[0].DetectionTime
	}
}

// Unsettled says whether running pods stand in the way of a pod-security level
// in a namespace, or may come to.
func HasUnsettledPods(report v1alpha1.BaselineReportData) bool {
	return find(report, func(control *v1alpha1.ControlReport) bool {
		pods := control.PodSecurity
		return pods != nil && (control.Mode == v1alpha1.ModeAudit || len(pods.Violations) > 0 || pods.Incomplete != "" || pods.Enforced != pods.Level)
	}) != nil
}

// bounded returns findings as many and as long as a status's.
func bounded(findings []string) []string {
	bounded := make([]string, 0, min(len(findings), maxFindings))
	for _, finding := range findings[:min(len(findings), maxFindings)] {
		bounded = append(bounded, enforcement.Truncate(finding, maxViolationMessage))
	}
	return bounded
}

// GoverningIn returns what a report says of a control that a baseline governs,
// or could not be cleared of, or nil.
func FindGoverning(report v1alpha1.BaselineReportData, name v1alpha1.ControlName) *v1alpha1.ControlReport {
	return find(report, func(control *v1alpha1.ControlReport) bool { return control.Name == name && control.IsGoverning() })
}

// EntryIn returns what a report says of a control of a baseline, or nil.
func FindControl(report v1alpha1.BaselineReportData, name v1alpha1.ControlName, baseline string) *v1alpha1.ControlReport {
	return find(report, func(control *v1alpha1.ControlReport) bool {
		return control.Name == name && control.Baseline == baseline
	})
}

func find(report v1alpha1.BaselineReportData, is func(*v1alpha1.ControlReport) bool) *v1alpha1.ControlReport {
	for i := range report.Controls {
		if is(&report.Controls[i]) {
			return &report.Controls[i]
		}
	}
	return nil
}
