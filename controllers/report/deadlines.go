package report

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Deadline is a time at which the operator announces the expiration of an exception:
// expiryNotice before it, and at the expiration itself.
type Deadline struct {
	Exception *v1alpha1.Exception

	// IsExpiration is true for the expiration itself and false for the notice before it.
	IsExpiration bool

	at metav1.Time
}

// deadlines returns the deadlines of all exceptions of a baseline, the earliest first.
func deadlines(baseline *v1alpha1.SecurityBaseline) []Deadline {
	var all []Deadline
	for i := range baseline.Spec.Exceptions {
		exception := &baseline.Spec.Exceptions[i]
		if exception.ExpirationTime != nil {
			all = append(all,
				Deadline{Exception: exception, IsExpiration: false, at: metav1.NewTime(exception.ExpirationTime.Add(-expiryNotice))},
				Deadline{Exception: exception, IsExpiration: true, at: *exception.ExpirationTime})
		}
	}
	slices.SortStableFunc(all, func(a, b Deadline) int { return a.at.Compare(b.at.Time) })
	return all
}

// DueDeadlines returns the deadlines that have passed and, according to the status of
// the baseline, are not announced yet. It leaves out deadlines from before the creation
// of the baseline.
func DueDeadlines(baseline *v1alpha1.SecurityBaseline, now time.Time) []Deadline {
	lastAnnounced := baseline.CreationTimestamp
	if status := baseline.Status.Exceptions; status != nil && status.LastAnnouncedTime != nil {
		lastAnnounced = *status.LastAnnouncedTime
	}
	return slices.DeleteFunc(deadlines(baseline), func(deadline Deadline) bool {
		return !lastAnnounced.Before(&deadline.at) || now.Before(deadline.at.Time)
	})
}

// NextDeadline returns the time of the next deadline, or zero if there is none.
func NextDeadline(baseline *v1alpha1.SecurityBaseline, now time.Time) time.Time {
	for _, deadline := range deadlines(baseline) {
		if now.Before(deadline.at.Time) {
			return deadline.at.Time
		}
	}
	return time.Time{}
}
