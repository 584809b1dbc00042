package namespace

import (
	"context"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/internal/events"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/report"
)

// recordMetrics logs and counts each drift exactly once. Reverted drifts count even if the report
// could not be written. Other drifts count only when they are reported, because they are detected
// again until then.
func recordMetrics(ctx context.Context, evaluation Evaluation, isReported bool) {
	for i := range evaluation.Outcomes {
		for j := range evaluation.Outcomes[i].Drifts {
			drift := &evaluation.Outcomes[i].Drifts[j]
			if drift.Action == v1alpha1.DriftReported && !isReported {
				continue
			}
			log.FromContext(ctx).Info("Drift detected", "baseline", drift.Baseline, "control", drift.Control,
				"object", drift.Object, "fields", drift.Fields, "manager", drift.Manager, "operation", drift.Operation, "action", drift.Action)
			metrics.CountDrift(drift, drift.DetectionTime.Sub(evaluation.firstEventTime))
			metrics.CountManager(drift.Manager)
		}
	}
}

// RecordEvents records an event for each drift that is new in the next report, and for each control
// that is contested there but was not in the previous one.
func (r *Reconciler) RecordEvents(evaluation Evaluation, previous, next v1alpha1.BaselineReportData) {
	for i := range evaluation.Outcomes {
		for j := range evaluation.Outcomes[i].Drifts {
			drift := &evaluation.Outcomes[i].Drifts[j]
			if !report.IsNewDrift(next, drift) {
				continue
			}
			related := r.enforcer.Reference(evaluation.Namespace, drift.Object)
			// The recorder merges events with equal references. The version keeps apart drifts of
			// one object.
			related.ResourceVersion = evaluation.Outcomes[i].Versions[drift.Object]
			r.recordEvent(evaluation, drift.Baseline, related, events.ReasonDrift, string(drift.Action), events.DriftMessage(drift))
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
		object := enforcement.NamespaceID(evaluation.Namespace)
		if contested := report.ContestedBy(next.Drifts, control, r.clock.Now()); contested != nil {
			object = contested.Object
		}
		related := r.enforcer.Reference(evaluation.Namespace, object)
		r.recordEvent(evaluation, control.Baseline, related, events.ReasonContested, events.ActionNone, control.Message)
	}
}

// recordEvent records an event about the namespace, and the same about the baseline.
func (r *Reconciler) recordEvent(evaluation Evaluation, baseline string, related *corev1.ObjectReference, reason, action, message string) {
	namespace := r.enforcer.Reference(evaluation.Namespace, enforcement.NamespaceID(evaluation.Namespace))
	events.Warn(r.recorder, namespace, related, reason, action, message)
	for _, selecting := range evaluation.Governance.Selecting {
		if selecting.Name == baseline {
			events.Warn(r.recorder, events.Reference(selecting), related, reason, action, "namespace "+evaluation.Namespace.Name+": "+message)
		}
	}
}
