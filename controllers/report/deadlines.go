package report

import (
	"slices"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Deadline is when people are to be told of an exception.
type Deadline struct {
	Exception *v1alpha1.Exception

	// Expired says that the exception expires then; else it does a day later.
	Expired bool

	at metav1.Time
}

// deadlines returns those of all exceptions of a baseline, in order.
func deadlines(baseline *v1alpha1.SecurityBaseline) []Deadline {
	var all []Deadline
	for i := range baseline.Spec.Exceptions {
		exception := &baseline.Spec.Exceptions[i]
		if exception.ExpirationTime != nil {
			all = append(all,
				Deadline{exception, false, metav1.NewTime(exception.ExpirationTime.Add(-expiryNotice))},
				Deadline{exception, true, *exception.ExpirationTime})
		}
	}
	slices.SortStableFunc(all, func(a, b Deadline) int { return a.at.Compare(b.at.Time) })
	return all
}

// Due returns what is due now and was not announced before, as its status says.
// What was due before the baseline was made never is.
func DueDeadlines(baseline *v1alpha1.SecurityBaseline, now time.Time) []Deadline {
	announced := baseline.CreationTimestamp
	if status := baseline.Status.Exceptions; status != nil && status.LastAnnouncedTime != nil {
		announced = *status.LastAnnouncedTime
	}
	return slices.DeleteFunc(deadlines(baseline), func(deadline Deadline) bool {
		return !announced.Before(&deadline.at) || now.Before(deadline.at.Time)
	})
}

// NextDeadline returns when the next announcement is due; zero if none is.
func NextDeadline(baseline *v1alpha1.SecurityBaseline, now time.Time) time.Time {
	for _, deadline := range deadlines(baseline) {
		if now.Before(deadline.at.Time) {
			return deadline.at.Time
		}
	}
	return time.Time{}
}
