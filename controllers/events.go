package controllers

import (
	"context"
	"fmt"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/policies"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/report"
)

// Reasons of the operator's events.
const (
	// eventDrift: somebody changed what a baseline gave. The action is what the
	// operator did about it.
	eventDrift = "Drift"
	// eventContested: somebody keeps changing it back.
	eventContested = "Contested"
	// eventExceptionExpiring: an exception expires in a day.
	eventExceptionExpiring = "ExceptionExpiring"
	// eventExceptionExpired: an exception has expired.
	eventExceptionExpired = "ExceptionExpired"
)

// actionNone is the action of an event after which nothing was done.
const actionNone = "None"

// maxNote is how long an event's note may be, in bytes.
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
const maxNote = 1024

// count logs and counts the drifts of an evaluation, once each: those that were put
// right whether or not they could be recorded, the others, which are found again
// until they are, if they were.
func (r *namespaceReconciler) count(ctx context.Context, done evaluation, recorded bool) {
	for i := range done.outcomes {
		for j := range done.outcomes[i].Drifts {
			drift := &done.outcomes[i].Drifts[j]
			if drift.Action == v1alpha1.DriftReported && !recorded {
				continue
			}
			log.FromContext(ctx).Info("Drift", "baseline", drift.Baseline, "control", drift.Control,
				"object", drift.Object, "fields", drift.Fields, "manager", drift.Manager, "operation", drift.Operation, "action", drift.Action)
			metrics.CountDrift(drift, drift.DetectionTime.Sub(done.noticed))
			metrics.CountManager(drift.Manager)
		}
	}
}

// tell emits an event for each drift that was recorded and did not come before,
// and for each control that is contested now and was not before.
func (r *namespaceReconciler) tell(done evaluation, before, after v1alpha1.BaselineReportData) {
	for i := range done.outcomes {
		for j := range done.outcomes[i].Drifts {
			drift := &done.outcomes[i].Drifts[j]
			if report.IsNewDrift(after, drift) {
				related := r.enforcer.Reference(done.namespace, drift.Object)
				// The recorder takes events with the same references for the same.
				related.ResourceVersion = done.outcomes[i].Versions[drift.Object]
				r.emit(done, drift.Baseline, related, eventDrift, string(drift.Action), driftNote(drift))
			}
		}
	}
	for i := range after.Controls {
		control := &after.Controls[i]
		if control.State != v1alpha1.StateContested {
			continue
		}
		if was := report.FindControl(before, control.Name, control.Baseline); was != nil && was.State == v1alpha1.StateContested {
			continue
		}
		related := r.enforcer.Reference(done.namespace, enforcement.NamespaceID(done.namespace))
		if fight := report.ContestedBy(after.Drifts, control, r.now()); fight != nil {
			related = r.enforcer.Reference(done.namespace, fight.Object)
		}
		r.emit(done, control.Baseline, related, eventContested, actionNone, control.Message)
	}
}

// emit emits an event about the namespace, and the same about the baseline.
func (r *namespaceReconciler) emit(done evaluation, baseline string, related *corev1.ObjectReference, reason, action, note string) {
	namespace := r.enforcer.Reference(done.namespace, enforcement.NamespaceID(done.namespace))
	r.events.Eventf(namespace, related, corev1.EventTypeWarning, reason, action, "%s", enforcement.Truncate(note, maxNote))
	for _, selecting := range done.governance.Selecting {
		if selecting.Name == baseline {
			note = enforcement.Truncate("namespace "+done.namespace.Name+": "+note, maxNote)
			r.events.Eventf(reference(selecting), related, corev1.EventTypeWarning, reason, action, "%s", note)
		}
	}
}

func reference(baseline *v1alpha1.SecurityBaseline) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "SecurityBaseline", Name: baseline.Name, UID: baseline.UID,
	}
}

// driftNote says what happened, by whose hand, and what was done about it.
func driftNote(drift *v1alpha1.Drift) string {
	note := changeNote(drift)
	if len(drift.Fields) == 0 {
		return note
	}
	fields := make([]string, 0, len(drift.Fields))
	for _, field := range drift.Fields {
		fields = append(fields, fmt.Sprintf("%s: %s instead of %s", field.Path, orNothing(field.Actual), orNothing(field.Expected)))
	}
	return fmt.Sprintf("%s. It had %s", note, strings.Join(fields, "; "))
}

// changeNote says the same without the fields.
func changeNote(drift *v1alpha1.Drift) string {
	by := "somebody, whom Kubernetes does not record"
	if drift.Manager != "" {
		by = fmt.Sprintf("%q (%s)", drift.Manager, drift.Operation)
	}
	if drift.ChangeTime != nil {
		by += " at " + drift.ChangeTime.UTC().Format(time.RFC3339)
	}
	was := "changed"
	if len(drift.Fields) == 0 {
		was = "deleted"
	}
	return fmt.Sprintf("%s was %s by %s; %s", drift.Object, was, by, map[v1alpha1.DriftAction]string{
		v1alpha1.DriftCreated:    "it was made again",
		v1alpha1.DriftConfigured: "it was put right",
		v1alpha1.DriftReplaced:   "it was replaced",
		v1alpha1.DriftReported:   "nothing was done, for the baseline is in Audit mode",
	}[drift.Action])
}

func orNothing(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}

// tell logs and counts that an admission policy or binding drifted and was put
// right that long after it was noticed, and emits an event about it, and one about
// each baseline that needs it.
func (r *admissionReconciler) tell(ctx context.Context, object policies.Needed, drift *v1alpha1.Drift, after time.Duration) {
	log.FromContext(ctx).Info("Drift", "object", drift.Object, "manager", drift.Manager, "operation", drift.Operation, "action", drift.Action)
	kind, name, _ := strings.Cut(drift.Object, "/")
	itself := &corev1.ObjectReference{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: kind, Name: name}
	metrics.CountManager(drift.Manager)
	note := enforcement.Truncate(changeNote(drift), maxNote)
	r.events.Eventf(itself, nil, corev1.EventTypeWarning, eventDrift, string(drift.Action), "%s", note)
	for _, use := range object.Uses {
		drift.Baseline, drift.Control = use.Baseline.Name, use.Control
		metrics.CountDrift(drift, after)
		r.events.Eventf(reference(use.Baseline), itself, corev1.EventTypeWarning, eventDrift, string(drift.Action), "%s", note)
	}
}

// announce emits an event for each exception that expires or soon will.
func (r *baselineReconciler) announce(baseline *v1alpha1.SecurityBaseline, due []report.Deadline) {
	for _, deadline := range due {
		reason, what := eventExceptionExpiring, "expires"
		if deadline.Expired {
			reason, what = eventExceptionExpired, "has expired"
		}
		exception := deadline.Exception
		note := fmt.Sprintf("exception %s %s: from %s on %s in force again in %s", exception.Name, what,
			exception.ExpirationTime.UTC().Format(time.RFC3339), controlList(exception.Controls), strings.Join(exception.Namespaces, ", "))
		r.events.Eventf(reference(baseline), nil, corev1.EventTypeWarning, reason, actionNone, "%s", enforcement.Truncate(note, maxNote))
	}
}

func controlList(controls []v1alpha1.ControlName) string {
	if len(controls) == 1 {
		return string(controls[0]) + " is"
	}
	names := make([]string, 0, len(controls))
	for _, control := range controls {
		names = append(names, string(control))
	}
	return strings.Join(names, ", ") + " are"
}
