package baseline

import (
	"fmt"
	"strings"
	"time"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/events"
	"github.com/securitybaseline/operator/controllers/report"
)

// recordExpiryEvents records an event for each exception that has expired or expires soon.
func (r *Reconciler) recordExpiryEvents(baseline *v1alpha1.SecurityBaseline, due []report.Deadline) {
	for _, deadline := range due {
		reason := events.ReasonExceptionExpiring
		if deadline.IsExpiration {
			reason = events.ReasonExceptionExpired
		}
		events.Warn(r.Recorder, events.Reference(baseline), nil, reason, events.ActionNone, expiryMessage(deadline.Exception, deadline.IsExpiration))
	}
}

// expiryMessage describes the expiration of an exception and its effect.
func expiryMessage(exception *v1alpha1.Exception, hasExpired bool) string {
	names := make([]string, 0, len(exception.Controls))
	for _, control := range exception.Controls {
		names = append(names, string(control))
	}
	expiration := exception.ExpirationTime.UTC().Format(time.RFC3339)
	controls := strings.Join(names, ", ")
	namespaces := strings.Join(exception.Namespaces, ", ")
	if !hasExpired {
		return fmt.Sprintf("exception %s expires at %s; %s will be enforced again in %s", exception.Name, expiration, controls, namespaces)
	}
	verb := "are"
	if len(names) == 1 {
		verb = "is"
	}
	return fmt.Sprintf("exception %s expired at %s; %s %s enforced again in %s", exception.Name, expiration, controls, verb, namespaces)
}
