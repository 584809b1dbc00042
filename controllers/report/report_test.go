package report

import (
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/precedence"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newBaseline makes the baseline "a", at generation 2.
func newBaseline() *v1alpha1.SecurityBaseline {
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 2}}
	baseline.Spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "baseline"}
	baseline.Spec.Network = &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}}
	return baseline
}

func drift(baseline string, minutes int) v1alpha1.Drift {
	return v1alpha1.Drift{DetectionTime: metav1.NewTime(now.Add(time.Duration(minutes) * time.Minute)), Baseline: baseline, Control: "Network", Object: fmt.Sprint(minutes)}
}

// evaluate makes the report of an evaluation with these outcomes.
func evaluate(prior v1alpha1.BaselineReportData, baseline *v1alpha1.SecurityBaseline, outcomes ...enforcement.Outcome) v1alpha1.BaselineReportData {
	return evaluateAt(prior, baseline, now, outcomes...)
}

func evaluateAt(prior v1alpha1.BaselineReportData, baseline *v1alpha1.SecurityBaseline, at time.Time, outcomes ...enforcement.Outcome) v1alpha1.BaselineReportData {
	return Next(prior, precedence.Governance{Selecting: []*v1alpha1.SecurityBaseline{baseline}}, outcomes, at)
}

func TestNext(t *testing.T) {
	baseline := newBaseline()
	first := evaluate(v1alpha1.BaselineReportData{}, baseline,
		enforcement.Outcome{Control: "PodSecurity", Baseline: "a", State: "Compliant"},
		enforcement.Outcome{Control: "Network", Baseline: "a", State: "Compliant"})

	t.Run("says what is in force", func(t *testing.T) {
		if first.State != "Compliant" || first.Summary.Controls != "2/2" || first.Summary.Baselines != "a" {
			t.Errorf("%+v", first)
		}
		if diff := cmp.Diff([]v1alpha1.ObservedBaseline{{Name: "a", Generation: 2}}, first.ObservedBaselines); diff != "" {
			t.Error(diff)
		}
	})

	t.Run("is the same where nothing changed", func(t *testing.T) {
		again := evaluate(first, baseline,
			enforcement.Outcome{Control: "PodSecurity", Baseline: "a", State: "Compliant"},
			enforcement.Outcome{Control: "Network", Baseline: "a", State: "Compliant"})
		if diff := cmp.Diff(first, again); diff != "" {
			t.Errorf("(-first +again):\n%s", diff)
		}
	})

	t.Run("counts drifts and keeps the last twenty, newest first", func(t *testing.T) {
		report := first
		for minute := range 25 {
			report = evaluate(report, baseline, enforcement.Outcome{Control: "Network", Baseline: "a", State: "Compliant", Drifts: []v1alpha1.Drift{drift("a", minute)}})
		}
		if report.Summary.DriftsTotal != 25 || report.Controls[0].DriftsTotal != 25 || len(report.Drifts) != 20 {
			t.Errorf("%d, %d, %d", report.Summary.DriftsTotal, report.Controls[0].DriftsTotal, len(report.Drifts))
		}
		if report.Drifts[0].Object != "24" || report.Drifts[19].Object != "5" || !report.Summary.LastDriftTime.Time.Equal(now.Add(24*time.Minute)) {
			t.Errorf("%v", report.Drifts)
		}
	})

	t.Run("counts anew for a baseline that takes over", func(t *testing.T) {
		prior := first
		prior.Controls = []v1alpha1.ControlReport{{Name: "Network", Baseline: "b", DriftsTotal: 7}}
		report := evaluate(prior, baseline, enforcement.Outcome{Control: "Network", Baseline: "a", State: "Compliant"})
		if report.Controls[0].DriftsTotal != 0 {
			t.Errorf("%d", report.Controls[0].DriftsTotal)
		}
	})

	t.Run("is as bad as its worst control", func(t *testing.T) {
		report := evaluate(first, baseline,
			enforcement.Outcome{Control: "PodSecurity", Baseline: "a", State: "Failed", Message: strings.Repeat("é", 3000)},
			enforcement.Outcome{Control: "Network", Baseline: "a", State: "Conflict"})
		if report.State != "Failed" || report.Summary.Controls != "0/2" {
			t.Errorf("%+v", report)
		}
		if message := report.Controls[0].Message; len(message) > maxMessage || !strings.HasSuffix(message, "é...") {
			t.Errorf("%d bytes", len(message))
		}
	})
}

// reportOf makes the report of a namespace that the baseline "a" selects.
func reportOf(generation int64, entries ...v1alpha1.ControlReport) *v1alpha1.BaselineReport {
	report := &v1alpha1.BaselineReport{}
	report.ObservedBaselines = []v1alpha1.ObservedBaseline{{Name: "a", Generation: generation}}
	report.Controls = entries
	return report
}

func control(name v1alpha1.ControlName, baseline string, state v1alpha1.State) v1alpha1.ControlReport {
	return v1alpha1.ControlReport{Name: name, Baseline: baseline, State: state, Message: "because"}
}

// audited is what a report says of a control that "a" audits.
func audited(name v1alpha1.ControlName, state v1alpha1.State) v1alpha1.ControlReport {
	report := control(name, "a", state)
	report.Mode = v1alpha1.ModeAudit
	if state != v1alpha1.StateCompliant {
		report.Changes = []v1alpha1.Change{{Object: "NetworkPolicy/x", Action: v1alpha1.ChangeCreate}}
	}
	return report
}

func TestStatus(t *testing.T) {
	type reports = map[string]*v1alpha1.BaselineReport
	type states = map[string]string // condition: status/reason
	compliant := reportOf(2, control("PodSecurity", "a", "Compliant"), control("Network", "a", "Compliant"))
	with := func(podSecurity, network v1alpha1.ControlReport) *v1alpha1.BaselineReport {
		return reportOf(2, podSecurity, network)
	}
	for _, test := range []struct {
		name       string
		selected   []string
		reports    reports
		namespaces v1alpha1.NamespaceCounts
		conditions states
		violations int
	}{
		{
			name:       "a namespace that is evaluated and compliant",
			selected:   []string{"n"},
			reports:    reports{"n": compliant},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Compliant: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "True/AllCompliant"},
		},
		{
			name:       "no namespace at all",
			conditions: states{"Ready": "True/NoNamespaceGoverned", "Drifted": "False/NoDrift", "Compliant": "True/NoNamespaceGoverned"},
		},
		{
			name:       "a namespace without a report, and one of an earlier generation",
			selected:   []string{"n", "m", "o"},
			reports:    reports{"n": compliant, "m": reportOf(1, control("Network", "a", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 3, StateCounts: v1alpha1.StateCounts{Compliant: 1, Pending: 2}},
			conditions: states{"Ready": "False/Evaluating", "Reconciling": "True/Evaluating", "Drifted": "False/NoDrift", "Compliant": "Unknown/Evaluating"},
		},
		{
			name:       "a drift that is not healed",
			selected:   []string{"n"},
			reports:    reports{"n": with(control("PodSecurity", "a", "Compliant"), control("Network", "a", "Drifted"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Drifted: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "True/DriftDetected", "Compliant": "False/DriftDetected"},
			violations: 1,
		},
		{
			name:       "somebody who keeps changing it back",
			selected:   []string{"n"},
			reports:    reports{"n": with(control("PodSecurity", "a", "Compliant"), control("Network", "a", "Contested"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Contested: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "True/Contested", "Compliant": "False/Contested"},
			violations: 1,
		},
		{
			name:       "pods in the way",
			selected:   []string{"n"},
			reports:    reports{"n": with(control("PodSecurity", "a", "Violating"), control("Network", "a", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Violating: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "False/ViolationsFound"},
			violations: 1,
		},
		{
			name:       "an exception is no violation",
			selected:   []string{"n", "m"},
			reports:    reports{"n": with(control("PodSecurity", "a", "Compliant"), control("Network", "a", "Excepted")), "m": compliant},
			namespaces: v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Compliant: 1, Excepted: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "True/AllCompliant"},
		},
		{
			name:       "what Enforce would change is drift, refused as it may be",
			selected:   []string{"n"},
			reports:    reports{"n": with(control("PodSecurity", "a", "Compliant"), audited("Network", "Failed"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Failed: 1}},
			conditions: states{"Ready": "False/WriteRejected", "Stalled": "True/WriteRejected", "Drifted": "True/DriftDetected", "Compliant": "False/WriteRejected"},
			violations: 1,
		},
		{
			name:     "one audited beside the one that governs",
			selected: []string{"n"},
			reports: reports{"n": reportOf(2, control("PodSecurity", "b", "Compliant"), audited("PodSecurity", "Drifted"),
				control("Network", "b", "Failed"), audited("Network", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Drifted: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "True/DriftDetected", "Compliant": "False/DriftDetected"},
			violations: 1,
		},
		{
			name:       "an object of somebody else's in the way",
			selected:   []string{"n"},
			reports:    reports{"n": with(control("PodSecurity", "a", "Compliant"), control("Network", "a", "Conflict"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Conflict: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "False/ObjectConflict"},
			violations: 1,
		},
		{
			name:       "a refusal, the worst of all",
			selected:   []string{"n"},
			reports:    reports{"n": with(control("PodSecurity", "a", "Failed"), control("Network", "a", "Conflict"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Failed: 1}},
			conditions: states{"Ready": "False/WriteRejected", "Stalled": "True/WriteRejected", "Drifted": "False/NoDrift", "Compliant": "False/WriteRejected"},
			violations: 2,
		},
		{
			name:       "a refusal while others are still evaluated",
			selected:   []string{"n", "m"},
			reports:    reports{"n": with(control("PodSecurity", "a", "Failed"), control("Network", "a", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Failed: 1, Pending: 1}},
			conditions: states{"Ready": "False/Evaluating", "Reconciling": "True/Evaluating", "Drifted": "False/NoDrift", "Compliant": "False/WriteRejected"},
			violations: 1,
		},
		{
			name:       "one control governed by another baseline",
			selected:   []string{"n"},
			reports:    reports{"n": with(control("PodSecurity", "b", "Failed"), control("Network", "a", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Compliant: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "True/AllCompliant"},
		},
		{
			name:       "every control governed by another baseline",
			selected:   []string{"n"},
			reports:    reports{"n": with(control("PodSecurity", "b", "Failed"), control("Network", "b", "Drifted"))},
			namespaces: v1alpha1.NamespaceCounts{StateCounts: v1alpha1.StateCounts{Overridden: 1}},
			conditions: states{"Ready": "True/NoNamespaceGoverned", "Drifted": "False/NoDrift", "Compliant": "True/NoNamespaceGoverned"},
		},
		{
			name:       "what could not be removed from a namespace that is not selected",
			reports:    reports{"n": {BaselineReportData: v1alpha1.BaselineReportData{Controls: []v1alpha1.ControlReport{control("Network", "a", "Failed")}}}},
			conditions: states{"Ready": "False/WriteRejected", "Stalled": "True/WriteRejected", "Drifted": "False/NoDrift", "Compliant": "False/WriteRejected"},
			violations: 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			baseline := newBaseline()
			// What no longer holds must go.
			baseline.Status.Conditions = []metav1.Condition{{Type: "Stalled", Status: "True"}, {Type: "Reconciling", Status: "True"}}
			status := Summarize(baseline, test.selected, test.reports, ClusterFindings{}, now)
			if diff := cmp.Diff(test.namespaces, status.Namespaces); diff != "" {
				t.Errorf("namespaces (-want +got):\n%s", diff)
			}
			got := states{}
			for _, condition := range status.Conditions {
				got[condition.Type] = string(condition.Status) + "/" + condition.Reason
				if condition.ObservedGeneration != baseline.Generation {
					t.Errorf("%s is about generation %d", condition.Type, condition.ObservedGeneration)
				}
			}
			if diff := cmp.Diff(test.conditions, got); diff != "" {
				t.Errorf("conditions (-want +got):\n%s", diff)
			}
			if len(status.Violations) != test.violations || status.ObservedGeneration != baseline.Generation {
				t.Errorf("%+v", status)
			}
		})
	}
}

func TestStatusCountsEachControl(t *testing.T) {
	status := Summarize(newBaseline(), []string{"n", "m"}, map[string]*v1alpha1.BaselineReport{
		"n": reportOf(2, control("PodSecurity", "b", "Failed"), control("Network", "a", "Conflict")),
	}, ClusterFindings{}, now)
	want := []v1alpha1.ControlCounts{
		{Name: "PodSecurity", StateCounts: v1alpha1.StateCounts{Overridden: 1, Pending: 1}},
		{Name: "Network", StateCounts: v1alpha1.StateCounts{Conflict: 1, Pending: 1}},
	}
	if diff := cmp.Diff(want, status.Controls); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// wideDrift is a drift as large as they are reported.
func wideDrift(baseline string, minutes int) v1alpha1.Drift {
	wide := drift(baseline, minutes)
	for range 7 {
		wide.Fields = append(wide.Fields, v1alpha1.FieldDifference{Path: "metadata.labels.app.kubernetes.io/managed-by", Expected: strings.Repeat("w", 256), Actual: strings.Repeat("f", 256)})
	}
	return wide
}

func TestStatusDoesNotGrowWithTheCluster(t *testing.T) {
	selected := make([]string, 0, 1000)
	reports := map[string]*v1alpha1.BaselineReport{}
	for i := range 1000 {
		name := fmt.Sprintf("namespace-%04d", i)
		selected = append(selected, name)
		bad := control("Network", "a", "Failed")
		bad.Message = strings.Repeat("m", maxMessage)
		bad.DriftsTotal = 3
		bad.Changes = []v1alpha1.Change{{}}
		violating := control("PodSecurity", "a", "Violating")
		violating.PodSecurity = &v1alpha1.PodSecurityReport{Violations: make([]v1alpha1.PodViolation, 100)}
		reports[name] = reportOf(2, violating, bad)
		reports[name].Drifts = []v1alpha1.Drift{wideDrift("a", i), drift("b", 5000)}
	}
	// Of drifts in the same second it is always the same one: a status that
	// changes with nothing else would be written for ever.
	reports["namespace-0998"].Drifts = []v1alpha1.Drift{wideDrift("a", 999)}
	baseline := newBaseline()
	baseline.Spec.Exceptions = manyExceptions()
	for i := range 50 {
		baseline.Spec.Network.Policies = append(baseline.Spec.Network.Policies, v1alpha1.NamedNetworkPolicy{Name: fmt.Sprint(i)})
	}
	status := Summarize(baseline, selected, reports, ClusterFindings{}, now)
	if len(status.Violations) != 20 || status.ViolationsTotal != 2000 || status.ViolatingPodsTotal != 100_000 || len(status.Exceptions.Findings) != 20 || status.DriftsTotal != 3000 {
		t.Errorf("%d violations of %d, %d drifts", len(status.Violations), status.ViolationsTotal, status.DriftsTotal)
	}
	if status.Violations[0].Namespace != "namespace-0000" || len(status.Violations[0].Message) != 256 {
		t.Errorf("%+v", status.Violations[0])
	}
	if status.LastDrift.Namespace != "namespace-0998" {
		t.Errorf("%+v", status.LastDrift)
	}
	for range 100 {
		if again := Summarize(baseline, selected, reports, ClusterFindings{}, now); again.LastDrift.Namespace != status.LastDrift.Namespace {
			t.Fatalf("the last drift is in %s, then in %s", status.LastDrift.Namespace, again.LastDrift.Namespace)
		}
	}
	data, err := json.Marshal(status)
	if err != nil || len(data) > 64<<10 {
		t.Errorf("%d bytes (%v)", len(data), err)
	}
	t.Logf("%d bytes", len(data))
	ready := meta.FindStatusCondition(status.Conditions, "Ready")
	if !strings.HasPrefix(ready.Message, "Network in namespace namespace-0000: mmm") || !strings.HasSuffix(ready.Message, "(and 999 more)") {
		t.Error(ready.Message)
	}
}

func TestStatusRemembers(t *testing.T) {
	baseline := newBaseline()
	transition := metav1.NewTime(now.Add(-time.Hour))
	baseline.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Evaluated", LastTransitionTime: transition}}
	baseline.Status.LastDrift = &v1alpha1.NamespacedDrift{Namespace: "gone", Drift: drift("a", 1)}
	status := Summarize(baseline, []string{"n"}, map[string]*v1alpha1.BaselineReport{
		"n": reportOf(2, control("PodSecurity", "a", "Compliant"), control("Network", "a", "Compliant")),
	}, ClusterFindings{}, now)
	if ready := meta.FindStatusCondition(status.Conditions, "Ready"); !ready.LastTransitionTime.Equal(&transition) {
		t.Errorf("Ready changed at %s", ready.LastTransitionTime)
	}
	if status.LastDrift == nil || status.LastDrift.Namespace != "gone" {
		t.Errorf("the last drift is %+v", status.LastDrift)
	}
}

func TestStatusOfAnInvalidSelector(t *testing.T) {
	status := InvalidSelectorStatus(newBaseline(), errors.New("spec.namespaceSelector: no"), now)
	if stalled := meta.FindStatusCondition(status.Conditions, "Stalled"); stalled == nil || stalled.Reason != v1alpha1.ReasonInvalidSelector {
		t.Errorf("%+v", status.Conditions)
	}
	for _, unknown := range []string{"Drifted", "Compliant"} {
		if condition := meta.FindStatusCondition(status.Conditions, unknown); condition == nil || condition.Status != "Unknown" {
			t.Errorf("%s: %+v", unknown, condition)
		}
	}
}
