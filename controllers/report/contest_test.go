package report

import (
	"strings"
	"testing"
	"time"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
)

// edit is a drift of one field by a manager, so many seconds from now.
func edit(manager, path string, seconds int) v1alpha1.Drift {
	return v1alpha1.Drift{
		DetectionTime: metav1.NewTime(now.Add(time.Duration(seconds) * time.Second)), Control: "Network", Baseline: "a", Object: "NetworkPolicy/x",
		Fields: []v1alpha1.FieldDifference{{Path: path}}, Manager: manager, Operation: "Update", Action: v1alpha1.DriftConfigured,
	}
}

func TestContest(t *testing.T) {
	by := func(manager, path string) func(int) v1alpha1.Drift {
		return func(seconds int) v1alpha1.Drift { return edit(manager, path, seconds) }
	}
	with := func(drift v1alpha1.Drift, path string) v1alpha1.Drift {
		drift.Fields = append(drift.Fields, v1alpha1.FieldDifference{Path: path})
		return drift
	}
	for _, test := range []struct {
		name   string
		drifts []v1alpha1.Drift
		at     int // seconds
		want   v1alpha1.State
		listed int
	}{
		{"twice is no contest", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(1)}, 2, "Compliant", 1},
		{"three times is", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(1), by("x", "f")(2)}, 2, "Contested", 1},
		{"until five minutes after the last time", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(1), by("x", "f")(2)}, 301, "Contested", 1},
		{"and not longer", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(1), by("x", "f")(2)}, 302, "Compliant", 1},
		{"every two minutes is one contest", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(120), by("x", "f")(240), by("x", "f")(360)}, 659, "Contested", 1},
		{"four times, the first long ago", []v1alpha1.Drift{by("x", "f")(-200), by("x", "f")(0), by("x", "f")(1), by("x", "f")(2)}, 150, "Contested", 1},
		{"three times in more than five minutes is none", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(150), by("x", "f")(300)}, 300, "Compliant", 1},
		{"what comes after five minutes is listed anew", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(300)}, 300, "Compliant", 2},
		{"by different managers", []v1alpha1.Drift{by("x", "f")(0), by("y", "f")(1), by("x", "f")(2)}, 2, "Compliant", 2},
		{"of different fields", []v1alpha1.Drift{by("x", "f")(0), by("x", "g")(1), by("x", "f")(2)}, 2, "Compliant", 2},
		{"of a field among others", []v1alpha1.Drift{by("x", "f")(0), with(by("x", "g")(1), "f"), with(by("x", "f")(2), "h")}, 2, "Contested", 1},
		{"by nobody known", []v1alpha1.Drift{by("", "f")(0), by("", "f")(1), by("", "f")(2)}, 2, "Contested", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			baseline, report := newBaseline(), v1alpha1.BaselineReportData{}
			outcome := evaluation.Outcome{Control: "Network", Baseline: "a", State: "Compliant"}
			for _, drift := range test.drifts {
				outcome.Drifts = []v1alpha1.Drift{drift}
				report = evaluateAt(report, baseline, drift.DetectionTime.Time, outcome)
			}
			outcome.Drifts = nil
			report = evaluateAt(report, baseline, now.Add(time.Duration(test.at)*time.Second), outcome)
			if report.State != test.want || len(report.Drifts) != test.listed || report.Summary.DriftsTotal != int64(len(test.drifts)) {
				t.Errorf("%s, %d listed, %d counted", report.State, len(report.Drifts), report.Summary.DriftsTotal)
			}
		})
	}
}

func TestAFightDoesNotDriveOtherDriftsOut(t *testing.T) {
	report := evaluate(v1alpha1.BaselineReportData{}, newBaseline(), evaluation.Outcome{Control: "Network", Baseline: "a", Drifts: []v1alpha1.Drift{edit("once", "f", 0)}})
	for second := range 100 {
		report = evaluateAt(report, newBaseline(), now.Add(time.Duration(second)*time.Second),
			evaluation.Outcome{Control: "Network", Baseline: "a", Drifts: []v1alpha1.Drift{edit("fighter", "f", second)}})
	}
	if len(report.Drifts) != 2 || report.Drifts[0].Count != 100 || report.Drifts[1].Manager != "once" || report.Controls[0].DriftsTotal != 101 {
		t.Errorf("%+v", report.Drifts)
	}
}

func TestAContestIsNoWorseThanItIs(t *testing.T) {
	drifts := []v1alpha1.Drift{edit("x", "f", 0)}
	drifts = record(record(drifts, edit("x", "f", 1)), edit("x", "f", 2))
	for state, want := range map[v1alpha1.State]v1alpha1.State{
		"Compliant": "Contested", "Violating": "Contested", "Drifted": "Contested", "Conflict": "Conflict", "Failed": "Failed",
	} {
		prior := v1alpha1.BaselineReportData{Drifts: drifts}
		report := evaluateAt(prior, newBaseline(), now.Add(2*time.Second), evaluation.Outcome{Control: "Network", Baseline: "a", State: state})
		if report.State != want {
			t.Errorf("%s becomes %s", state, report.State)
		}
	}
}

func TestContestMessage(t *testing.T) {
	labels := edit("kustomize-controller", "metadata.labels.pod-security.kubernetes.io/enforce", 0)
	labels.Object = "Namespace/payments"
	deletion := edit("", "", 0)
	deletion.Fields, deletion.Operation, deletion.Action = nil, "Delete", v1alpha1.DriftCreated
	for _, test := range []struct {
		drift v1alpha1.Drift
		want  []string
	}{
		{edit("argocd-controller", "spec.ingress", 0), []string{`"argocd-controller" keeps changing spec.ingress of NetworkPolicy/x;`,
			"ignore /spec/ingress of NetworkPolicy x under spec.ignoreDifferences[].jsonPointers", "RespectIgnoreDifferences=true"}},
		{labels, []string{"ignore /metadata/labels/pod-security.kubernetes.io~1enforce of Namespace payments under spec.ignore[].paths"}},
		{edit("helm-controller", "subjects", 0), []string{"ignore /subjects of NetworkPolicy x under spec.driftDetection.ignore[].paths"}},
		{edit("my-script", "subjects", 0), []string{`"my-script" keeps changing`, "Find what does it"}},
		{deletion, []string{"somebody, whom Kubernetes does not record, keeps deleting NetworkPolicy/x;"}},
	} {
		message := contestMessage(&test.drift)
		for _, want := range test.want {
			if !strings.Contains(message, want) {
				t.Errorf("%q does not say %q", message, want)
			}
		}
	}
}

// Where nothing is put right, an evaluation that sees an old report finds the same
// drift once more.
func TestFresh(t *testing.T) {
	reported := edit("x", "f", 0)
	reported.Action = v1alpha1.DriftReported
	healed := edit("x", "f", 0)
	outcomes := []evaluation.Outcome{{Control: "Network", Baseline: "a", Drifts: []v1alpha1.Drift{reported, healed}}}
	inPlace := v1alpha1.BaselineReportData{Controls: []v1alpha1.ControlReport{{Name: "Network", Baseline: "a", Inventory: []v1alpha1.InventoryEntry{{Object: "NetworkPolicy/x"}}}}}
	if fresh := DropReported(inPlace, outcomes); len(fresh[0].Drifts) != 2 {
		t.Errorf("%+v", fresh)
	}
	for _, known := range []v1alpha1.BaselineReportData{{}, {Controls: []v1alpha1.ControlReport{{Name: "Network", Baseline: "a"}}}} {
		if fresh := DropReported(known, outcomes); len(fresh[0].Drifts) != 1 || fresh[0].Drifts[0].Action != v1alpha1.DriftConfigured {
			t.Errorf("%+v", fresh)
		}
	}
	if len(outcomes[0].Drifts) != 2 {
		t.Error("what was found is changed")
	}
}
