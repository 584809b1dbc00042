// Package events writes the Kubernetes events of the operator: what several controllers emit, and
// how. The event recorder of client-go does not shorten a note that the API server rejects as too
// long, and there is no upstream issue that asks for it.
package events

import (
	"fmt"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/tools/events"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// Recorder records events.
type Recorder = events.EventRecorder

// Reasons of the operator's events.
const (
	// ReasonDrift: a managed object or an owned field was changed. The action is what the operator
	// did about it.
	ReasonDrift = "Drift"
	// ReasonContested: another client repeatedly changes a control back.
	ReasonContested = "Contested"
	// ReasonExceptionExpiring: an exception expires within a day.
	ReasonExceptionExpiring = "ExceptionExpiring"
	// ReasonExceptionExpired: an exception has expired.
	ReasonExceptionExpired = "ExceptionExpired"
)

// ActionNone is the action of an event after which the operator did nothing.
const ActionNone = "None"

// maxMessageBytes is how long the API server lets the note of an event be.
// https://kubernetes.io/docs/reference/kubernetes-api/cluster-resources/event-v1/
const maxMessageBytes = 1024

// Warn records a warning about an object. related may be nil.
func Warn(recorder Recorder, regarding, related runtime.Object, reason, action, message string) {
	recorder.Eventf(regarding, related, corev1.EventTypeWarning, reason, action, "%s", evaluation.Truncate(message, maxMessageBytes))
}

// Reference returns a reference to a baseline, for its events.
func Reference(baseline *v1alpha1.SecurityBaseline) *corev1.ObjectReference {
	return &corev1.ObjectReference{
		APIVersion: v1alpha1.GroupVersion.String(), Kind: "SecurityBaseline", Name: baseline.Name, UID: baseline.UID,
	}
}

// DriftMessage describes a drift: what changed, who changed it, what the operator did about it, and
// each field that differed.
func DriftMessage(drift *v1alpha1.Drift) string {
	message := ChangeMessage(drift)
	if len(drift.Fields) == 0 {
		return message
	}
	fields := make([]string, 0, len(drift.Fields))
	for _, field := range drift.Fields {
		fields = append(fields, fmt.Sprintf("%s: %s instead of %s", field.Path, valueOrNothing(field.Actual), valueOrNothing(field.Expected)))
	}
	return fmt.Sprintf("%s. Fields: %s", message, strings.Join(fields, "; "))
}

// ChangeMessage describes a drift without its fields.
func ChangeMessage(drift *v1alpha1.Drift) string {
	author := "an unknown author" // Kubernetes did not record it
	if drift.Manager != "" {
		author = fmt.Sprintf("%q (%s)", drift.Manager, drift.Operation)
	}
	if drift.ChangeTime != nil {
		author += " at " + drift.ChangeTime.UTC().Format(time.RFC3339)
	}
	change := "changed"
	if len(drift.Fields) == 0 {
		change = "deleted"
	}
	return fmt.Sprintf("%s was %s by %s; %s", drift.Object, change, author, map[v1alpha1.DriftAction]string{
		v1alpha1.DriftCreated:    "recreated",
		v1alpha1.DriftConfigured: "reverted",
		v1alpha1.DriftReplaced:   "replaced",
		v1alpha1.DriftReported:   "not reverted: the baseline is in Audit mode",
	}[drift.Action])
}

func valueOrNothing(value string) string {
	if value == "" {
		return "nothing"
	}
	return value
}
