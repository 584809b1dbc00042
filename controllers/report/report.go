// Package report writes down what was found: in each namespace's BaselineReport,
// and summed up in each SecurityBaseline's status. It is pure.
package report

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforce"
	"github.com/securitybaseline/operator/controllers/resolve"
)

const (
	// maxDrifts is how many drifts a report lists.
	maxDrifts = 20
	// maxMessage is how long a control's message may be, in bytes.
	maxMessage = 2048
)

// severity orders the states from the best to the worst.
var severity = []v1alpha1.State{
	v1alpha1.StateCompliant, v1alpha1.StateDrifted, v1alpha1.StateConflict, v1alpha1.StateFailed,
}

// worst returns the worse of two states; the empty state is the best.
func worst(a, b v1alpha1.State) v1alpha1.State {
	return slices.MaxFunc([]v1alpha1.State{a, b}, func(a, b v1alpha1.State) int {
		return cmp.Compare(slices.Index(severity, a), slices.Index(severity, b))
	})
}

// Next returns what a namespace's report says after an evaluation. outcomes are
// what came of it, prior what the report said.
func Next(prior v1alpha1.BaselineReportData, governance resolve.Governance, outcomes []enforce.Outcome) v1alpha1.BaselineReportData {
	next := v1alpha1.BaselineReportData{Drifts: prior.Drifts, Summary: v1alpha1.ReportSummary{Drifts: prior.Summary.Drifts}}
	for _, baseline := range governance.Selecting {
		next.Observed = append(next.Observed, v1alpha1.ObservedBaseline{Name: baseline.Name, Generation: baseline.Generation})
	}
	slices.SortFunc(next.Observed, func(a, b v1alpha1.ObservedBaseline) int { return cmp.Compare(a.Name, b.Name) })

	for i := range outcomes {
		next.Controls = append(next.Controls, controlReport(prior, &outcomes[i]))
		next.Summary.Drifts += int64(len(outcomes[i].Drifts))
		next.Drifts = append(slices.Clone(outcomes[i].Drifts), next.Drifts...)
	}
	slices.SortStableFunc(next.Drifts, func(a, b v1alpha1.Drift) int { return b.Time.Compare(a.Time.Time) })
	next.Drifts = next.Drifts[:min(len(next.Drifts), maxDrifts)]
	summarise(&next)
	return next
}

func controlReport(prior v1alpha1.BaselineReportData, outcome *enforce.Outcome) v1alpha1.ControlReport {
	control := v1alpha1.ControlReport{
		Name: outcome.Control, Baseline: outcome.Baseline, State: outcome.State, Message: Truncate(outcome.Message, maxMessage),
		Findings: outcome.Findings, Placed: outcome.Placed, Drifts: int64(len(outcome.Drifts)),
	}
	if before := ControlIn(prior, outcome.Control); before != nil && before.Baseline == outcome.Baseline {
		control.Drifts += before.Drifts
	}
	return control
}

func summarise(report *v1alpha1.BaselineReportData) {
	baselines := make([]string, 0, len(report.Controls))
	compliant := 0
	for _, control := range report.Controls {
		report.State = worst(report.State, control.State)
		baselines = append(baselines, control.Baseline)
		if control.State == v1alpha1.StateCompliant {
			compliant++
		}
	}
	slices.Sort(baselines)
	report.Summary.Baselines = strings.Join(slices.Compact(baselines), ",")
	report.Summary.Controls = fmt.Sprintf("%d/%d", compliant, len(report.Controls))
	if len(report.Drifts) > 0 {
		report.Summary.LastDrift = &report.Drifts[0].Time
	}
}

// ControlIn returns what a report says of a control, or nil.
func ControlIn(report v1alpha1.BaselineReportData, name v1alpha1.ControlName) *v1alpha1.ControlReport {
	for i := range report.Controls {
		if report.Controls[i].Name == name {
			return &report.Controls[i]
		}
	}
	return nil
}

// Truncate shortens a message to at most so many bytes, and shows that it did.
func Truncate(message string, bytes int) string {
	const ellipsis = "..."
	if len(message) <= bytes {
		return message
	}
	return strings.ToValidUTF8(message[:bytes-len(ellipsis)], "") + ellipsis
}
