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
)

// reportOf returns the report of a namespace that the baseline "a" selects.
func reportOf(generation int64, entries ...v1alpha1.ControlReport) *v1alpha1.BaselineReport {
	report := &v1alpha1.BaselineReport{}
	report.ObservedBaselines = []v1alpha1.ObservedBaseline{{Name: "a", Generation: generation}}
	report.Controls = entries
	return report
}

// newEntry returns the entry of a control.
func newEntry(name v1alpha1.ControlName, baseline string, state v1alpha1.State) v1alpha1.ControlReport {
	return v1alpha1.ControlReport{Name: name, Baseline: baseline, State: state, Message: "because"}
}

// audited returns the entry of a control that the baseline "a" audits.
func audited(name v1alpha1.ControlName, state v1alpha1.State) v1alpha1.ControlReport {
	report := newEntry(name, "a", state)
	report.Mode = v1alpha1.ModeAudit
	if state != v1alpha1.StateCompliant {
		report.Changes = []v1alpha1.Change{{Object: "NetworkPolicy/x", Action: v1alpha1.ChangeCreate}}
	}
	return report
}

func TestSummarize_ConditionsAndCounts(t *testing.T) {
	type reports = map[string]*v1alpha1.BaselineReport
	type states = map[string]string // condition: status/reason
	compliant := reportOf(2, newEntry("PodSecurity", "a", "Compliant"), newEntry("Network", "a", "Compliant"))
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
			name:       "compliant namespace",
			selected:   []string{"n"},
			reports:    reports{"n": compliant},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Compliant: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "True/AllCompliant"},
		},
		{
			name:       "no namespace selected",
			conditions: states{"Ready": "True/NoNamespaceGoverned", "Drifted": "False/NoDrift", "Compliant": "True/NoNamespaceGoverned"},
		},
		{
			name:       "missing report and report of an earlier generation",
			selected:   []string{"n", "m", "o"},
			reports:    reports{"n": compliant, "m": reportOf(1, newEntry("Network", "a", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 3, StateCounts: v1alpha1.StateCounts{Compliant: 1, Pending: 2}},
			conditions: states{"Ready": "False/Evaluating", "Reconciling": "True/Evaluating", "Drifted": "False/NoDrift", "Compliant": "Unknown/Evaluating"},
		},
		{
			name:       "unreverted drift",
			selected:   []string{"n"},
			reports:    reports{"n": with(newEntry("PodSecurity", "a", "Compliant"), newEntry("Network", "a", "Drifted"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Drifted: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "True/DriftDetected", "Compliant": "False/DriftDetected"},
			violations: 1,
		},
		{
			name:       "contested control",
			selected:   []string{"n"},
			reports:    reports{"n": with(newEntry("PodSecurity", "a", "Compliant"), newEntry("Network", "a", "Contested"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Contested: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "True/Contested", "Compliant": "False/Contested"},
			violations: 1,
		},
		{
			name:       "violating pods",
			selected:   []string{"n"},
			reports:    reports{"n": with(newEntry("PodSecurity", "a", "Violating"), newEntry("Network", "a", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Violating: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "False/ViolationsFound"},
			violations: 1,
		},
		{
			name:       "active exception",
			selected:   []string{"n", "m"},
			reports:    reports{"n": with(newEntry("PodSecurity", "a", "Compliant"), newEntry("Network", "a", "Excepted")), "m": compliant},
			namespaces: v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Compliant: 1, Excepted: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "True/AllCompliant"},
		},
		{
			name:       "rejected change in Audit mode",
			selected:   []string{"n"},
			reports:    reports{"n": with(newEntry("PodSecurity", "a", "Compliant"), audited("Network", "Failed"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Failed: 1}},
			conditions: states{"Ready": "False/WriteRejected", "Stalled": "True/WriteRejected", "Drifted": "True/DriftDetected", "Compliant": "False/WriteRejected"},
			violations: 1,
		},
		{
			name:     "Audit mode with another governing baseline",
			selected: []string{"n"},
			reports: reports{"n": reportOf(2, newEntry("PodSecurity", "b", "Compliant"), audited("PodSecurity", "Drifted"),
				newEntry("Network", "b", "Failed"), audited("Network", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Drifted: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "True/DriftDetected", "Compliant": "False/DriftDetected"},
			violations: 1,
		},
		{
			name:       "conflict with an unmanaged object",
			selected:   []string{"n"},
			reports:    reports{"n": with(newEntry("PodSecurity", "a", "Compliant"), newEntry("Network", "a", "Conflict"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Conflict: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "False/ObjectConflict"},
			violations: 1,
		},
		{
			name:       "rejected write and conflict",
			selected:   []string{"n"},
			reports:    reports{"n": with(newEntry("PodSecurity", "a", "Failed"), newEntry("Network", "a", "Conflict"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Failed: 1}},
			conditions: states{"Ready": "False/WriteRejected", "Stalled": "True/WriteRejected", "Drifted": "False/NoDrift", "Compliant": "False/WriteRejected"},
			violations: 2,
		},
		{
			name:       "rejected write and pending namespace",
			selected:   []string{"n", "m"},
			reports:    reports{"n": with(newEntry("PodSecurity", "a", "Failed"), newEntry("Network", "a", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Failed: 1, Pending: 1}},
			conditions: states{"Ready": "False/Evaluating", "Reconciling": "True/Evaluating", "Drifted": "False/NoDrift", "Compliant": "False/WriteRejected"},
			violations: 1,
		},
		{
			name:       "one overridden control",
			selected:   []string{"n"},
			reports:    reports{"n": with(newEntry("PodSecurity", "b", "Failed"), newEntry("Network", "a", "Compliant"))},
			namespaces: v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Compliant: 1}},
			conditions: states{"Ready": "True/Evaluated", "Drifted": "False/NoDrift", "Compliant": "True/AllCompliant"},
		},
		{
			name:       "all controls overridden",
			selected:   []string{"n"},
			reports:    reports{"n": with(newEntry("PodSecurity", "b", "Failed"), newEntry("Network", "b", "Drifted"))},
			namespaces: v1alpha1.NamespaceCounts{StateCounts: v1alpha1.StateCounts{Overridden: 1}},
			conditions: states{"Ready": "True/NoNamespaceGoverned", "Drifted": "False/NoDrift", "Compliant": "True/NoNamespaceGoverned"},
		},
		{
			name:       "failed removal from a namespace that is not selected",
			reports:    reports{"n": {BaselineReportData: v1alpha1.BaselineReportData{Controls: []v1alpha1.ControlReport{newEntry("Network", "a", "Failed")}}}},
			conditions: states{"Ready": "False/WriteRejected", "Stalled": "True/WriteRejected", "Drifted": "False/NoDrift", "Compliant": "False/WriteRejected"},
			violations: 1,
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			baseline := newBaseline()
			// Conditions that no longer apply must be removed.
			baseline.Status.Conditions = []metav1.Condition{{Type: "Stalled", Status: "True"}, {Type: "Reconciling", Status: "True"}}
			status := Summarize(baseline, test.selected, test.reports, ClusterFindings{}, now)
			if diff := cmp.Diff(test.namespaces, status.Namespaces); diff != "" {
				t.Errorf("namespace counts differ (-want +got):\n%s", diff)
			}
			got := states{}
			for _, condition := range status.Conditions {
				got[condition.Type] = string(condition.Status) + "/" + condition.Reason
				if condition.ObservedGeneration != baseline.Generation {
					t.Errorf("observed generation of %s: got %d, want %d", condition.Type, condition.ObservedGeneration, baseline.Generation)
				}
			}
			if diff := cmp.Diff(test.conditions, got); diff != "" {
				t.Errorf("conditions differ (-want +got):\n%s", diff)
			}
			if len(status.Violations) != test.violations || status.ObservedGeneration != baseline.Generation {
				t.Errorf("got %d violations and generation %d, want %d and %d: %+v",
					len(status.Violations), status.ObservedGeneration, test.violations, baseline.Generation, status)
			}
		})
	}
}

func TestSummarize_CountsOfEachControl(t *testing.T) {
	status := Summarize(newBaseline(), []string{"n", "m"}, map[string]*v1alpha1.BaselineReport{
		"n": reportOf(2, newEntry("PodSecurity", "b", "Failed"), newEntry("Network", "a", "Conflict")),
	}, ClusterFindings{}, now)
	want := []v1alpha1.ControlCounts{
		{Name: "PodSecurity", StateCounts: v1alpha1.StateCounts{Overridden: 1, Pending: 1}},
		{Name: "Network", StateCounts: v1alpha1.StateCounts{Conflict: 1, Pending: 1}},
	}
	if diff := cmp.Diff(want, status.Controls); diff != "" {
		t.Errorf("control counts differ (-want +got):\n%s", diff)
	}
}

// wideDrift returns a drift of the maximum size in a report.
func wideDrift(baseline string, minutes int) v1alpha1.Drift {
	wide := newDrift(baseline, minutes)
	for range 7 {
		wide.Fields = append(wide.Fields, v1alpha1.FieldDifference{Path: "metadata.labels.app.kubernetes.io/managed-by", Expected: strings.Repeat("w", 256), Actual: strings.Repeat("f", 256)})
	}
	return wide
}

func TestSummarize_SizeIndependentOfCluster(t *testing.T) {
	selected := make([]string, 0, 1000)
	reports := map[string]*v1alpha1.BaselineReport{}
	for i := range 1000 {
		name := fmt.Sprintf("namespace-%04d", i)
		selected = append(selected, name)
		failed := newEntry("Network", "a", "Failed")
		failed.Message = strings.Repeat("m", maxMessage)
		failed.DriftsTotal = 3
		failed.Changes = []v1alpha1.Change{{}}
		violating := newEntry("PodSecurity", "a", "Violating")
		violating.PodSecurity = &v1alpha1.PodSecurityReport{Violations: make([]v1alpha1.PodViolation, 100)}
		reports[name] = reportOf(2, violating, failed)
		reports[name].Drifts = []v1alpha1.Drift{wideDrift("a", i), newDrift("b", 5000)}
	}
	// Drifts in the same second must yield the same last drift every time. Otherwise
	// the operator would write the status again and again.
	reports["namespace-0998"].Drifts = []v1alpha1.Drift{wideDrift("a", 999)}
	baseline := newBaseline()
	baseline.Spec.Exceptions = manyExceptions()
	for i := range 50 {
		baseline.Spec.Network.Policies = append(baseline.Spec.Network.Policies, v1alpha1.NamedNetworkPolicy{Name: fmt.Sprint(i)})
	}
	status := Summarize(baseline, selected, reports, ClusterFindings{}, now)
	if len(status.Violations) != 20 || status.ViolationsTotal != 2000 || status.ViolatingPodsTotal != 100_000 || len(status.Exceptions.Findings) != 20 || status.DriftsTotal != 3000 {
		t.Errorf("got %d violations of %d, %d pods, %d findings and %d drifts, want 20 of 2000, 100000, 20 and 3000",
			len(status.Violations), status.ViolationsTotal, status.ViolatingPodsTotal, len(status.Exceptions.Findings), status.DriftsTotal)
	}
	if status.Violations[0].Namespace != "namespace-0000" || len(status.Violations[0].Message) != 256 {
		t.Errorf("first violation: got %+v, want namespace-0000 with a message of 256 bytes", status.Violations[0])
	}
	if status.LastDrift.Namespace != "namespace-0998" {
		t.Errorf("last drift: got %+v, want namespace-0998", status.LastDrift)
	}
	for range 100 {
		if got := Summarize(baseline, selected, reports, ClusterFindings{}, now); got.LastDrift.Namespace != status.LastDrift.Namespace {
			t.Fatalf("namespace of the last drift: got %s, want %s as before", got.LastDrift.Namespace, status.LastDrift.Namespace)
		}
	}
	data, err := json.Marshal(status)
	if err != nil || len(data) > 64<<10 {
		t.Errorf("size of the status: got %d bytes (%v), want at most %d", len(data), err, 64<<10)
	}
	t.Logf("%d bytes", len(data))
	ready := meta.FindStatusCondition(status.Conditions, "Ready")
	if !strings.HasPrefix(ready.Message, "Network in namespace namespace-0000: mmm") || !strings.HasSuffix(ready.Message, "(and 999 more)") {
		t.Errorf("message of Ready: got %q, want the first failure and \"(and 999 more)\"", ready.Message)
	}
}

func TestSummarize_KeepsTransitionTimeAndLastDrift(t *testing.T) {
	baseline := newBaseline()
	transition := metav1.NewTime(now.Add(-time.Hour))
	baseline.Status.Conditions = []metav1.Condition{{Type: "Ready", Status: "True", Reason: "Evaluated", LastTransitionTime: transition}}
	baseline.Status.LastDrift = &v1alpha1.NamespacedDrift{Namespace: "gone", Drift: newDrift("a", 1)}
	status := Summarize(baseline, []string{"n"}, map[string]*v1alpha1.BaselineReport{
		"n": reportOf(2, newEntry("PodSecurity", "a", "Compliant"), newEntry("Network", "a", "Compliant")),
	}, ClusterFindings{}, now)
	if ready := meta.FindStatusCondition(status.Conditions, "Ready"); !ready.LastTransitionTime.Equal(&transition) {
		t.Errorf("transition time of Ready: got %s, want %s", ready.LastTransitionTime, transition)
	}
	if status.LastDrift == nil || status.LastDrift.Namespace != "gone" {
		t.Errorf("last drift: got %+v, want namespace gone", status.LastDrift)
	}
}

func TestInvalidSelectorStatus_StalledAndUnknown(t *testing.T) {
	status := InvalidSelectorStatus(newBaseline(), errors.New("spec.namespaceSelector: no"), now)
	if stalled := meta.FindStatusCondition(status.Conditions, "Stalled"); stalled == nil || stalled.Reason != v1alpha1.ReasonInvalidSelector {
		t.Errorf("got conditions %+v, want Stalled with reason %s", status.Conditions, v1alpha1.ReasonInvalidSelector)
	}
	for _, unknown := range []string{"Drifted", "Compliant"} {
		if condition := meta.FindStatusCondition(status.Conditions, unknown); condition == nil || condition.Status != "Unknown" {
			t.Errorf("condition %s: got %+v, want status Unknown", unknown, condition)
		}
	}
}
