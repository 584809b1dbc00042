package report

import (
	"strings"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// newFieldDrift returns a drift of one field by a manager, detected the given number of
// seconds after now.
func newFieldDrift(manager, path string, seconds int) v1alpha1.Drift {
	return v1alpha1.Drift{
		DetectionTime: metav1.NewTime(now.Add(time.Duration(seconds) * time.Second)), Control: "Network", Baseline: "a", Object: "NetworkPolicy/x",
		Fields: []v1alpha1.FieldDifference{{Path: path}}, Manager: manager, Operation: "Update", Action: v1alpha1.DriftConfigured,
	}
}

func TestContestedState_RepeatedDriftWithinWindow(t *testing.T) {
	by := func(manager, path string) func(int) v1alpha1.Drift {
		return func(seconds int) v1alpha1.Drift { return newFieldDrift(manager, path, seconds) }
	}
	with := func(drift v1alpha1.Drift, path string) v1alpha1.Drift {
		drift.Fields = append(drift.Fields, v1alpha1.FieldDifference{Path: path})
		return drift
	}
	for _, test := range []struct {
		name   string
		drifts []v1alpha1.Drift
		at     int // seconds after now
		want   v1alpha1.State
		listed int // drifts in the report
	}{
		{"two drifts", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(1)}, 2, "Compliant", 1},
		{"three drifts", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(1), by("x", "f")(2)}, 2, "Contested", 1},
		{"just before five minutes after the last drift", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(1), by("x", "f")(2)}, 301, "Contested", 1},
		{"five minutes after the last drift", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(1), by("x", "f")(2)}, 302, "Compliant", 1},
		{"drift every two minutes", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(120), by("x", "f")(240), by("x", "f")(360)}, 659, "Contested", 1},
		{"four drifts, the last three within the window", []v1alpha1.Drift{by("x", "f")(-200), by("x", "f")(0), by("x", "f")(1), by("x", "f")(2)}, 150, "Contested", 1},
		{"three drifts in more than five minutes", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(150), by("x", "f")(300)}, 300, "Compliant", 1},
		{"drift five minutes later has a new entry", []v1alpha1.Drift{by("x", "f")(0), by("x", "f")(300)}, 300, "Compliant", 2},
		{"different managers", []v1alpha1.Drift{by("x", "f")(0), by("y", "f")(1), by("x", "f")(2)}, 2, "Compliant", 2},
		{"different fields", []v1alpha1.Drift{by("x", "f")(0), by("x", "g")(1), by("x", "f")(2)}, 2, "Compliant", 2},
		{"shared field among others", []v1alpha1.Drift{by("x", "f")(0), with(by("x", "g")(1), "f"), with(by("x", "f")(2), "h")}, 2, "Contested", 1},
		{"unknown author", []v1alpha1.Drift{by("", "f")(0), by("", "f")(1), by("", "f")(2)}, 2, "Contested", 1},
	} {
		t.Run(test.name, func(t *testing.T) {
			baseline := newBaseline()
			report := v1alpha1.BaselineReportData{}
			outcome := evaluation.Outcome{Control: "Network", Baseline: "a", State: "Compliant"}
			for _, drift := range test.drifts {
				outcome.Drifts = []v1alpha1.Drift{drift}
				report = evaluateAt(report, baseline, drift.DetectionTime.Time, outcome)
			}
			outcome.Drifts = nil
			report = evaluateAt(report, baseline, now.Add(time.Duration(test.at)*time.Second), outcome)
			if report.State != test.want || len(report.Drifts) != test.listed || report.Summary.DriftsTotal != int64(len(test.drifts)) {
				t.Errorf("got state %s with %d drifts listed and %d in total, want %s with %d and %d",
					report.State, len(report.Drifts), report.Summary.DriftsTotal, test.want, test.listed, len(test.drifts))
			}
		})
	}
}

func TestContestedState_DoesNotHideWorseState(t *testing.T) {
	drifts := []v1alpha1.Drift{newFieldDrift("x", "f", 0)}
	drifts = addDrift(addDrift(drifts, newFieldDrift("x", "f", 1)), newFieldDrift("x", "f", 2))
	for state, want := range map[v1alpha1.State]v1alpha1.State{
		"Compliant": "Contested", "Violating": "Contested", "Drifted": "Contested", "Conflict": "Conflict", "Failed": "Failed",
	} {
		prior := v1alpha1.BaselineReportData{Drifts: drifts}
		report := evaluateAt(prior, newBaseline(), now.Add(2*time.Second), evaluation.Outcome{Control: "Network", Baseline: "a", State: state})
		if report.State != want {
			t.Errorf("state %s with a contest: got %s, want %s", state, report.State, want)
		}
	}
}

func TestContestMessage_NamesAuthorFieldsAndRemedy(t *testing.T) {
	labels := newFieldDrift("kustomize-controller", "metadata.labels.pod-security.kubernetes.io/enforce", 0)
	labels.Object = "Namespace/payments"
	deletion := newFieldDrift("", "", 0)
	deletion.Fields = nil
	deletion.Operation = "Delete"
	deletion.Action = v1alpha1.DriftCreated
	for _, test := range []struct {
		drift v1alpha1.Drift
		want  []string
	}{
		{newFieldDrift("argocd-controller", "spec.ingress", 0), []string{`"argocd-controller" repeatedly modifies spec.ingress of NetworkPolicy/x;`,
			"ignore /spec/ingress of NetworkPolicy x in spec.ignoreDifferences[].jsonPointers", "RespectIgnoreDifferences=true"}},
		{labels, []string{"ignore /metadata/labels/pod-security.kubernetes.io~1enforce of Namespace payments in spec.ignore[].paths"}},
		{newFieldDrift("helm-controller", "subjects", 0), []string{"ignore /subjects of NetworkPolicy x in spec.driftDetection.ignore[].paths"}},
		{newFieldDrift("my-script", "subjects", 0), []string{`"my-script" repeatedly modifies`, "Find and stop the author"}},
		{deletion, []string{"an unknown author repeatedly deletes NetworkPolicy/x;"}},
	} {
		message := contestMessage(&test.drift)
		for _, want := range test.want {
			if !strings.Contains(message, want) {
				t.Errorf("message: got %q, want it to contain %q", message, want)
			}
		}
	}
}
