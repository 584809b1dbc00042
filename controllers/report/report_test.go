package report

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/precedence"
)

var now = time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)

// newBaseline returns the baseline "a" with generation 2.
func newBaseline() *v1alpha1.SecurityBaseline {
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a", Generation: 2}}
	baseline.Spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "baseline"}
	baseline.Spec.Network = &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}}
	return baseline
}

// newDrift returns a drift of a baseline, detected the given number of minutes after now.
func newDrift(baseline string, minutes int) v1alpha1.Drift {
	return v1alpha1.Drift{DetectionTime: metav1.NewTime(now.Add(time.Duration(minutes) * time.Minute)), Baseline: baseline, Control: "Network", Object: fmt.Sprint(minutes)}
}

// evaluate returns the report of an evaluation at the time now with these outcomes.
func evaluate(prior v1alpha1.BaselineReportData, baseline *v1alpha1.SecurityBaseline, outcomes ...evaluation.Outcome) v1alpha1.BaselineReportData {
	return evaluateAt(prior, baseline, now, outcomes...)
}

func evaluateAt(prior v1alpha1.BaselineReportData, baseline *v1alpha1.SecurityBaseline, at time.Time, outcomes ...evaluation.Outcome) v1alpha1.BaselineReportData {
	return Next(prior, precedence.Governance{Selecting: []*v1alpha1.SecurityBaseline{baseline}}, outcomes, at)
}

func TestNext_ReportAfterEvaluation(t *testing.T) {
	baseline := newBaseline()
	first := evaluate(v1alpha1.BaselineReportData{}, baseline,
		evaluation.Outcome{Control: "PodSecurity", Baseline: "a", State: "Compliant"},
		evaluation.Outcome{Control: "Network", Baseline: "a", State: "Compliant"})

	t.Run("state and summary of compliant controls", func(t *testing.T) {
		if first.State != "Compliant" || first.Summary.CompliantControls != "2/2" || first.Summary.Baselines != "a" {
			t.Errorf("got %+v, want state Compliant with 2/2 controls of baseline a", first)
		}
		if diff := cmp.Diff([]v1alpha1.ObservedBaseline{{Name: "a", Generation: 2}}, first.ObservedBaselines); diff != "" {
			t.Errorf("observed baselines differ (-want +got):\n%s", diff)
		}
	})

	t.Run("same outcomes", func(t *testing.T) {
		got := evaluate(first, baseline,
			evaluation.Outcome{Control: "PodSecurity", Baseline: "a", State: "Compliant"},
			evaluation.Outcome{Control: "Network", Baseline: "a", State: "Compliant"})
		if diff := cmp.Diff(first, got); diff != "" {
			t.Errorf("report differs (-want +got):\n%s", diff)
		}
	})

	t.Run("drifts are counted and the newest twenty are listed", func(t *testing.T) {
		report := first
		for minute := range 25 {
			report = evaluate(report, baseline, evaluation.Outcome{Control: "Network", Baseline: "a", State: "Compliant", Drifts: []v1alpha1.Drift{newDrift("a", minute)}})
		}
		if report.Summary.DriftsTotal != 25 || report.Controls[0].DriftsTotal != 25 || len(report.Drifts) != 20 {
			t.Errorf("got %d and %d drifts in total and %d listed, want 25, 25 and 20", report.Summary.DriftsTotal, report.Controls[0].DriftsTotal, len(report.Drifts))
		}
		if report.Drifts[0].Object != "24" || report.Drifts[19].Object != "5" || !report.Summary.LastDriftTime.Time.Equal(now.Add(24*time.Minute)) {
			t.Errorf("got last drift at %s and %v, want the newest first", report.Summary.LastDriftTime, report.Drifts)
		}
	})

	t.Run("drift count restarts with a new governing baseline", func(t *testing.T) {
		prior := first
		prior.Controls = []v1alpha1.ControlReport{{Name: "Network", Baseline: "b", DriftsTotal: 7}}
		report := evaluate(prior, baseline, evaluation.Outcome{Control: "Network", Baseline: "a", State: "Compliant"})
		if report.Controls[0].DriftsTotal != 0 {
			t.Errorf("drifts of the control: got %d, want 0", report.Controls[0].DriftsTotal)
		}
	})

	t.Run("state is that of the worst control", func(t *testing.T) {
		report := evaluate(first, baseline,
			evaluation.Outcome{Control: "PodSecurity", Baseline: "a", State: "Failed", Message: strings.Repeat("é", 3000)},
			evaluation.Outcome{Control: "Network", Baseline: "a", State: "Conflict"})
		if report.State != "Failed" || report.Summary.CompliantControls != "0/2" {
			t.Errorf("got %+v, want state Failed with 0/2 controls", report)
		}
		if message := report.Controls[0].Message; len(message) > maxMessage || !strings.HasSuffix(message, "é...") {
			t.Errorf("message: got %d bytes ending in %q, want at most %d ending in %q", len(message), message[len(message)-5:], maxMessage, "é...")
		}
	})
}

// A slow evaluation can write its report into a new namespace of the same name.
func TestBelongsToFormerNamespace_UIDOfNamespaceDiffers(t *testing.T) {
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "new"}}
	for uid, want := range map[types.UID]bool{"old": true, "new": false} {
		report := v1alpha1.BaselineReportData{Controls: []v1alpha1.ControlReport{{}, {Inventory: []v1alpha1.InventoryEntry{
			{Object: "NetworkPolicy/a", UID: "a"}, {Object: "Namespace/n", UID: uid},
		}}}}
		if got := BelongsToFormerNamespace(report, namespace); got != want {
			t.Errorf("report with namespace UID %s: got %t, want %t", uid, got, want)
		}
	}
}
