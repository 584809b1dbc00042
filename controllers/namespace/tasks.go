package namespace

import (
	"slices"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/precedence"
	"github.com/securitybaseline/operator/controllers/report"
)

// newTasks returns the tasks for a namespace: for each control one for the governing baseline, or for
// none, followed by one for each baseline in Audit mode.
func newTasks(governance precedence.Governance, prior *v1alpha1.BaselineReport) []evaluation.Task {
	haveBaselinesChanged := !slices.Equal(prior.ObservedBaselines, report.ObservedBaselines(governance))
	tasks := make([]evaluation.Task, 0, len(controls.All))
	for _, control := range controls.All {
		governing := governance.Governing[control.Name]
		entry := report.FindGoverning(prior.BaselineReportData, control.Name)
		if entry == nil && governing != nil {
			// The baseline may have been in Audit mode before.
			entry = report.FindControl(prior.BaselineReportData, control.Name, governing.Name)
		}
		tasks = append(tasks, evaluation.Task{
			Control: control, Baseline: governing, Previous: entry, HaveBaselinesChanged: haveBaselinesChanged, Overridden: governance.Overridden[control.Name],
		})
		tasks = append(tasks, auditTasks(control, governance, prior, haveBaselinesChanged)...)
	}
	return tasks
}

// auditTasks returns a task for each baseline in Audit mode that declares a control.
func auditTasks(control controls.Control, governance precedence.Governance, prior *v1alpha1.BaselineReport, haveBaselinesChanged bool) []evaluation.Task {
	governing := governance.Governing[control.Name]
	baselines := governance.Auditing[control.Name]
	tasks := make([]evaluation.Task, 0, len(baselines))
	for i, auditing := range baselines {
		var higherAudit *v1alpha1.SecurityBaseline
		if i > 0 {
			higherAudit = baselines[0]
		}
		tasks = append(tasks, evaluation.Task{
			Control: control, Baseline: auditing, Governing: governing, HigherAudit: higherAudit,
			IsOutranked:          governing != nil && precedence.HasPrecedence(governing, auditing),
			Previous:             report.FindControl(prior.BaselineReportData, control.Name, auditing.Name),
			IsPreviousCurrent:    slices.Contains(prior.ObservedBaselines, v1alpha1.ObservedBaseline{Name: auditing.Name, Generation: auditing.Generation}),
			HaveBaselinesChanged: haveBaselinesChanged,
		})
	}
	return tasks
}

// shouldPrune reports whether the objects that the named baseline manages must be removed once no
// baseline governs their control. They are removed if the baseline no longer asks for them, or if
// it is being deleted with deletionPolicy Remove. They are retained if the baseline is gone, if it
// is in Audit mode, and while its selector is invalid.
func (r *Reconciler) shouldPrune(baselines []v1alpha1.SecurityBaseline, name string) bool {
	for i := range baselines {
		baseline := &baselines[i]
		if baseline.Name != name {
			continue
		}
		if !baseline.DeletionTimestamp.IsZero() {
			return baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove
		}
		_, err := precedence.NamespaceMatcher(baseline, r.Protected)
		return err == nil && !baseline.Spec.IsAudit()
	}
	return false
}
