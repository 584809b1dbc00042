package report

import (
	"fmt"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// expiring makes an exception that expires so long from now.
func expiring(name string, in time.Duration) v1alpha1.Exception {
	return v1alpha1.Exception{
		Name: name, Namespaces: []string{"n"}, Controls: []v1alpha1.ControlName{"Network"}, Reason: "a good reason",
		ExpirationTime: new(metav1.NewTime(now.Add(in))),
	}
}

func TestDue(t *testing.T) {
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
		{"nothing without an expiry", -day, nil, []v1alpha1.Exception{{Name: "x"}}, nil, 0},
		{"what is far away is not due", -day, nil, []v1alpha1.Exception{expiring("x", 3*day)}, nil, 2 * day},
		{"a day before", -3 * day, nil, []v1alpha1.Exception{expiring("x", day)}, []string{"x expires"}, day},
		{"and at the expiry", -3 * day, at(-day), []v1alpha1.Exception{expiring("x", 0)}, []string{"x expired"}, 0},
		{"each once", -3 * day, at(0), []v1alpha1.Exception{expiring("x", day)}, nil, day},
		{"both, in order, if the operator was away", -3 * day, nil, []v1alpha1.Exception{expiring("x", -time.Hour)}, []string{"x expires", "x expired"}, 0},
		{"not what was due before the baseline was made", -time.Hour, nil, []v1alpha1.Exception{expiring("x", time.Hour), expiring("y", -day)}, nil, time.Hour},
		{"of several each in its time", -3 * day, at(-time.Hour), []v1alpha1.Exception{expiring("x", day), expiring("y", -2*time.Hour), expiring("z", -time.Minute)},
			[]string{"z expired", "x expires"}, day},
	} {
		t.Run(test.name, func(t *testing.T) {
			baseline := newBaseline()
			baseline.CreationTimestamp = *at(test.created)
			baseline.Spec.Exceptions = test.exceptions
			baseline.Status.Exceptions = &v1alpha1.ExceptionStatus{LastAnnouncedTime: test.announced}
			var due []string //nolint:prealloc // nil is what is compared with
			for _, deadline := range DueDeadlines(baseline, now) {
				due = append(due, deadline.Exception.Name+map[bool]string{true: " expired", false: " expires"}[deadline.Expired])
			}
			if diff := cmp.Diff(test.due, due); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
			next := NextDeadline(baseline, now)
			if test.next == 0 != next.IsZero() || test.next != 0 && next.Sub(now) != test.next {
				t.Errorf("the next is due at %s", next)
			}
			// Once the status says so, nothing is due any more.
			baseline.Status = Summarize(baseline, nil, nil, ClusterFindings{}, now)
			if again := DueDeadlines(baseline, now); len(again) > 0 {
				t.Errorf("due again: %v", again)
			}
		})
	}
}

func TestStatusOfExceptions(t *testing.T) {
	baseline := newBaseline()
	undeclared := expiring("undeclared", time.Hour)
	undeclared.Controls = []v1alpha1.ControlName{"RBAC", "Network"}
	typo := expiring("typo", time.Hour)
	typo.Namespaces = []string{"n", "m", "o"}
	baseline.Spec.Exceptions = []v1alpha1.Exception{expiring("fine", time.Hour), expiring("over", 0), undeclared, typo}
	got := Summarize(baseline, []string{"n"}, nil, ClusterFindings{}, now).Exceptions
	want := &v1alpha1.ExceptionStatus{
		Active: 3, Expired: 1, Unmatched: 2,
		Findings: []string{"exception undeclared: it does not declare RBAC", "exception typo: the baseline does not select m, o"},
	}
	got.LastAnnouncedTime = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	baseline.Spec.Exceptions = nil
	if status := Summarize(baseline, []string{"n"}, nil, ClusterFindings{}, now); status.Exceptions != nil {
		t.Errorf("%+v", status.Exceptions)
	}
}

func TestPodsIn(t *testing.T) {
	report := &v1alpha1.PodSecurityReport{Violations: []v1alpha1.PodViolation{{Pods: "a"}, {Pods: "b (and 1 other pod)"}, {Pods: "c (and 41 other pods)"}}}
	if pods := podsIn(report); pods != 45 {
		t.Errorf("%d", pods)
	}
	if pods := podsIn(nil); pods != 0 {
		t.Errorf("%d", pods)
	}
}

func manyExceptions() []v1alpha1.Exception {
	exceptions := make([]v1alpha1.Exception, 0, 100)
	for i := range cap(exceptions) {
		exception := expiring(fmt.Sprintf("exception-with-a-rather-long-name-%03d", i), time.Hour)
		exception.Namespaces = nil
		for j := range 64 {
			exception.Namespaces = append(exception.Namespaces, fmt.Sprintf("no-such-namespace-with-a-rather-long-name-%03d-%02d", i, j))
		}
		exceptions = append(exceptions, exception)
	}
	return exceptions
}
