package report

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// The write of a report may succeed and its answer be lost.
func TestADriftIsNotRecordedTwice(t *testing.T) {
	baseline := newBaseline()
	first := evaluation.Outcome{Control: "Network", Baseline: "a", State: "Compliant", Drifts: []v1alpha1.Drift{drift("a", 0)}}
	recorded := evaluate(v1alpha1.BaselineReportData{}, baseline, first)
	if left := DropRecorded(recorded, []evaluation.Outcome{first}); len(left[0].Drifts) != 0 {
		t.Errorf("recorded again: %+v", left)
	}
	if left := DropRecorded(v1alpha1.BaselineReportData{}, []evaluation.Outcome{first}); len(left[0].Drifts) != 1 {
		t.Error("a drift that is not recorded is lost")
	}
	// It came again before the report was seen.
	second := first
	again := drift("a", 0)
	again.DetectionTime = metav1.NewTime(again.DetectionTime.Add(2 * time.Second))
	second.Drifts = []v1alpha1.Drift{again}
	recorded = evaluate(recorded, baseline, second)
	if left := DropRecorded(recorded, []evaluation.Outcome{first, second}); len(left[0].Drifts)+len(left[1].Drifts) != 0 {
		t.Errorf("recorded again: %+v", left)
	}
}

// An evaluation that took long may write its report into the next namespace of the
// name, where nothing of what it lists is.
func TestAReportOfAFormerNamespaceIsKnown(t *testing.T) {
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "new"}}
	for uid, want := range map[types.UID]bool{"old": true, "new": false} {
		report := v1alpha1.BaselineReportData{Controls: []v1alpha1.ControlReport{{}, {Inventory: []v1alpha1.InventoryEntry{
			{Object: "NetworkPolicy/a", UID: "a"}, {Object: "Namespace/n", UID: uid},
		}}}}
		if BelongsToFormerNamespace(report, namespace) != want {
			t.Errorf("of namespace %s: %t", uid, !want)
		}
	}
}
