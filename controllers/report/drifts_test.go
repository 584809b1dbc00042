package report

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

func TestAddDrift_RepeatedDriftKeepsOthersListed(t *testing.T) {
	report := evaluate(v1alpha1.BaselineReportData{}, newBaseline(), evaluation.Outcome{Control: "Network", Baseline: "a", Drifts: []v1alpha1.Drift{newFieldDrift("once", "f", 0)}})
	for second := range 100 {
		report = evaluateAt(report, newBaseline(), now.Add(time.Duration(second)*time.Second),
			evaluation.Outcome{Control: "Network", Baseline: "a", Drifts: []v1alpha1.Drift{newFieldDrift("persistent", "f", second)}})
	}
	if len(report.Drifts) != 2 || report.Drifts[0].Count != 100 || report.Drifts[1].Manager != "once" || report.Controls[0].DriftsTotal != 101 {
		t.Errorf("got %d drifts in total and %+v, want 101 in total, one entry with count 100 and one of manager once", report.Controls[0].DriftsTotal, report.Drifts)
	}
}

// An evaluation that reads an outdated report detects an unreverted drift again.
func TestDropKnownUnreverted_UnrevertedDriftAlreadyReported(t *testing.T) {
	reported := newFieldDrift("x", "f", 0)
	reported.Action = v1alpha1.DriftReported
	reverted := newFieldDrift("x", "f", 0)
	outcomes := []evaluation.Outcome{{Control: "Network", Baseline: "a", Drifts: []v1alpha1.Drift{reported, reverted}}}
	withInventory := v1alpha1.BaselineReportData{Controls: []v1alpha1.ControlReport{{Name: "Network", Baseline: "a", Inventory: []v1alpha1.InventoryEntry{{Object: "NetworkPolicy/x"}}}}}
	if kept := DropKnownUnreverted(withInventory, outcomes); len(kept[0].Drifts) != 2 {
		t.Errorf("drifts of an object in the inventory: got %+v, want both", kept)
	}
	for _, prior := range []v1alpha1.BaselineReportData{{}, {Controls: []v1alpha1.ControlReport{{Name: "Network", Baseline: "a"}}}} {
		if kept := DropKnownUnreverted(prior, outcomes); len(kept[0].Drifts) != 1 || kept[0].Drifts[0].Action != v1alpha1.DriftConfigured {
			t.Errorf("drifts of an object that is not in the inventory: got %+v, want the reverted one", kept)
		}
	}
	if got := len(outcomes[0].Drifts); got != 2 {
		t.Errorf("drifts of the argument: got %d, want 2", got)
	}
}

// The write of a report can succeed although its response is lost.
func TestDropListed_DriftAlreadyInReport(t *testing.T) {
	baseline := newBaseline()
	first := evaluation.Outcome{Control: "Network", Baseline: "a", State: "Compliant", Drifts: []v1alpha1.Drift{newDrift("a", 0)}}
	recorded := evaluate(v1alpha1.BaselineReportData{}, baseline, first)
	if kept := DropListed(recorded, []evaluation.Outcome{first}); len(kept[0].Drifts) != 0 {
		t.Errorf("drifts that are recorded: got %+v, want none", kept)
	}
	if kept := DropListed(v1alpha1.BaselineReportData{}, []evaluation.Outcome{first}); len(kept[0].Drifts) != 1 {
		t.Errorf("drifts that are not recorded: got %+v, want one", kept)
	}
	// The drift repeats before the operator sees the report.
	second := first
	repeated := newDrift("a", 0)
	repeated.DetectionTime = metav1.NewTime(repeated.DetectionTime.Add(2 * time.Second))
	second.Drifts = []v1alpha1.Drift{repeated}
	recorded = evaluate(recorded, baseline, second)
	if kept := DropListed(recorded, []evaluation.Outcome{first, second}); len(kept[0].Drifts)+len(kept[1].Drifts) != 0 {
		t.Errorf("repeated drifts that are recorded: got %+v, want none", kept)
	}
}
