package admissionpolicy

import (
	"context"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/events"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/policies"
)

// recordDrift logs and counts the drift of a policy or binding, and records an event about the
// object and one about each baseline that needs it. duration is the time from the drift's event
// until it was reverted.
func (r *Reconciler) recordDrift(ctx context.Context, needed policies.Needed, drift *v1alpha1.Drift, duration time.Duration) {
	log.FromContext(ctx).Info("Drift detected", "object", drift.Object, "manager", drift.Manager, "operation", drift.Operation, "action", drift.Action)
	kind, name, _ := strings.Cut(drift.Object, "/")
	object := &corev1.ObjectReference{APIVersion: admissionregistrationv1.SchemeGroupVersion.String(), Kind: kind, Name: name}
	metrics.CountManager(drift.Manager)
	message := events.ChangeMessage(drift)
	events.Warn(r.Recorder, object, nil, events.ReasonDrift, string(drift.Action), message)
	for _, use := range needed.Uses {
		drift.Baseline = use.Baseline.Name
		drift.Control = use.Control
		metrics.CountDrift(drift, duration)
		events.Warn(r.Recorder, events.Reference(use.Baseline), object, events.ReasonDrift, string(drift.Action), message)
	}
}
