package report

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// newException returns an exception that expires after the given duration from now.
func newException(name string, in time.Duration) v1alpha1.Exception {
	return v1alpha1.Exception{
		Name: name, Namespaces: []string{"n"}, Controls: []v1alpha1.ControlName{"Network"}, Reason: "a good reason",
		ExpirationTime: new(metav1.NewTime(now.Add(in))),
	}
}

func TestDueDeadlines_AnnouncedOnce(t *testing.T) {
	const day = 24 * time.Hour
	at := func(in time.Duration) *metav1.Time { return new(metav1.NewTime(now.Add(in))) }
	for _, test := range []struct {
		name       string
		created    time.Duration
		announced  *metav1.Time
		exceptions []v1alpha1.Exception
		due        []string
		next       time.Duration // zero: never
	}{
		{"no expiration", -day, nil, []v1alpha1.Exception{{Name: "x"}}, nil, 0},
		{"expiration far away", -day, nil, []v1alpha1.Exception{newException("x", 3*day)}, nil, 2 * day},
		{"one day before the expiration", -3 * day, nil, []v1alpha1.Exception{newException("x", day)}, []string{"x expires"}, day},
		{"at the expiration", -3 * day, at(-day), []v1alpha1.Exception{newException("x", 0)}, []string{"x expired"}, 0},
		{"already announced", -3 * day, at(0), []v1alpha1.Exception{newException("x", day)}, nil, day},
		{"both deadlines passed while the operator was down", -3 * day, nil, []v1alpha1.Exception{newException("x", -time.Hour)}, []string{"x expires", "x expired"}, 0},
		{"deadline before the creation of the baseline", -time.Hour, nil, []v1alpha1.Exception{newException("x", time.Hour), newException("y", -day)}, nil, time.Hour},
		{"several exceptions, sorted by deadline", -3 * day, at(-time.Hour), []v1alpha1.Exception{newException("x", day), newException("y", -2*time.Hour), newException("z", -time.Minute)},
			[]string{"z expired", "x expires"}, day},
	} {
		t.Run(test.name, func(t *testing.T) {
			baseline := newBaseline()
			baseline.CreationTimestamp = *at(test.created)
			baseline.Spec.Exceptions = test.exceptions
			baseline.Status.Exceptions = &v1alpha1.ExceptionStatus{LastAnnouncedTime: test.announced}
			var due []string //nolint:prealloc // the expected value is nil
			for _, deadline := range DueDeadlines(baseline, now) {
				due = append(due, deadline.Exception.Name+map[bool]string{true: " expired", false: " expires"}[deadline.IsExpiration])
			}
			if diff := cmp.Diff(test.due, due); diff != "" {
				t.Errorf("due deadlines differ (-want +got):\n%s", diff)
			}
			next := NextDeadline(baseline, now)
			if test.next == 0 != next.IsZero() || test.next != 0 && next.Sub(now) != test.next {
				t.Errorf("next deadline: got %s, want %s after now (0s: none)", next, test.next)
			}
			// With the new status, all due deadlines are announced.
			baseline.Status = Summarize(baseline, nil, nil, ClusterFindings{}, now)
			if got := DueDeadlines(baseline, now); len(got) > 0 {
				t.Errorf("due deadlines after the announcement: got %v, want none", got)
			}
		})
	}
}

func TestSummarize_ExceptionStatus(t *testing.T) {
	baseline := newBaseline()
	undeclaredControl := newException("undeclared", time.Hour)
	undeclaredControl.Controls = []v1alpha1.ControlName{"RBAC", "Network"}
	unselectedNamespace := newException("typo", time.Hour)
	unselectedNamespace.Namespaces = []string{"n", "m", "o"}
	baseline.Spec.Exceptions = []v1alpha1.Exception{newException("fine", time.Hour), newException("over", 0), undeclaredControl, unselectedNamespace}
	got := Summarize(baseline, []string{"n"}, nil, ClusterFindings{}, now).Exceptions
	want := &v1alpha1.ExceptionStatus{
		Active: 3, Expired: 1, Unmatched: 2,
		Findings: []string{"exception undeclared: the baseline does not declare RBAC", "exception typo: the baseline does not select m, o"},
	}
	got.LastAnnouncedTime = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("exception status differs (-want +got):\n%s", diff)
	}
	baseline.Spec.Exceptions = nil
	if status := Summarize(baseline, []string{"n"}, nil, ClusterFindings{}, now); status.Exceptions != nil {
		t.Errorf("status without exceptions: got %+v, want nil", status.Exceptions)
	}
}

func TestCountViolatingPods_NamedAndOthers(t *testing.T) {
	report := &v1alpha1.PodSecurityReport{Violations: []v1alpha1.PodViolation{{Pods: "a"}, {Pods: "b (and 1 other pod)"}, {Pods: "c (and 41 other pods)"}}}
	if got := countViolatingPods(report); got != 45 {
		t.Errorf("got %d, want 45", got)
	}
	if got := countViolatingPods(nil); got != 0 {
		t.Errorf("without a report: got %d, want 0", got)
	}
}

// manyExceptions returns as many and as long exceptions as the API allows.
func manyExceptions() []v1alpha1.Exception {
	exceptions := make([]v1alpha1.Exception, 0, 100)
	for i := range cap(exceptions) {
		exception := newException(fmt.Sprintf("exception-with-a-rather-long-name-%03d", i), time.Hour)
		exception.Namespaces = nil
		for j := range 64 {
			exception.Namespaces = append(exception.Namespaces, fmt.Sprintf("no-such-namespace-with-a-rather-long-name-%03d-%02d", i, j))
		}
		exceptions = append(exceptions, exception)
	}
	return exceptions
}
