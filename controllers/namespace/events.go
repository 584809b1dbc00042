package namespace

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/events"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/report"
)

// recordMetrics logs and counts each drift exactly once. Reverted drifts count even if the report
// could not be written. Other drifts count only when they are reported, because they are detected
// again until then.
func recordMetrics(ctx context.Context, result Result, isReported bool) {
	for i := range result.Outcomes {
		for j := range result.Outcomes[i].Drifts {
			drift := &result.Outcomes[i].Drifts[j]
			if drift.Action == v1alpha1.DriftReported && !isReported {
				continue
			}
			log.FromContext(ctx).Info("Drift detected", "baseline", drift.Baseline, "control", drift.Control,
				"object", drift.Object, "fields", drift.Fields, "manager", drift.Manager, "operation", drift.Operation, "action", drift.Action)
			metrics.CountDrift(drift, drift.DetectionTime.Sub(result.firstEventTime))
			metrics.CountManager(drift.Manager)
		}
	}
}

// RecordEvents records an event for each drift that is new in the next report, and for each control
// that is contested there but was not in the previous one.
func (r *Reconciler) RecordEvents(result Result, previous, next v1alpha1.BaselineReportData) {
	for i := range result.Outcomes {
		for j := range result.Outcomes[i].Drifts {
			drift := &result.Outcomes[i].Drifts[j]
			if !report.IsNewDrift(next, drift) {
				continue
			}
			related := r.enforcer.Reference(result.Namespace, drift.Object)
			// The recorder merges events with equal references. The version keeps apart drifts of
			// one object.
			related.ResourceVersion = result.Outcomes[i].DriftVersions[drift.Object]
			r.recordEvent(result, drift.Baseline, related, events.ReasonDrift, string(drift.Action), events.DriftMessage(drift))
		}
	}
	for i := range next.Controls {
		control := &next.Controls[i]
		if control.State != v1alpha1.StateContested {
			continue
		}
		if before := report.FindControl(previous, control.Name, control.Baseline); before != nil && before.State == v1alpha1.StateContested {
			continue
		}
		object := evaluation.NamespaceID(result.Namespace)
		if contested := report.FindContestingDrift(next.Drifts, control, r.Clock.Now()); contested != nil {
			object = contested.Object
		}
		related := r.enforcer.Reference(result.Namespace, object)
		r.recordEvent(result, control.Baseline, related, events.ReasonContested, events.ActionNone, control.Message)
	}
}

// recordEvent records an event about the namespace, and the same about the baseline.
func (r *Reconciler) recordEvent(result Result, baseline string, related *corev1.ObjectReference, reason, action, message string) {
	namespace := r.enforcer.Reference(result.Namespace, evaluation.NamespaceID(result.Namespace))
	events.Warn(r.Recorder, namespace, related, reason, action, message)
	for _, selecting := range result.Governance.Selecting {
		if selecting.Name == baseline {
			events.Warn(r.Recorder, events.Reference(selecting), related, reason, action, "namespace "+result.Namespace.Name+": "+message)
		}
	}
}
