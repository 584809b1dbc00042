package namespace

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/metadata"
	"github.com/securitybaseline/operator/controllers/precedence"
	"github.com/securitybaseline/operator/controllers/report"
)

// A drift that could not be reported is in the next report, whichever baseline governs then, but
// not in the report of another namespace of the same name.
func TestPendingDrifts_AreKeptUntilReported(t *testing.T) {
	namespace := metadata.Namespace()
	namespace.Name = "n"
	namespace.UID = "first"
	successor := metadata.Namespace()
	successor.Name = "n"
	successor.UID = "second"
	drifted := evaluation.Outcome{Control: v1alpha1.ControlNetwork, Baseline: "a", State: v1alpha1.StateCompliant, Drifts: []v1alpha1.Drift{
		{DetectionTime: metav1.NewTime(time.Unix(1, 0)), Control: v1alpha1.ControlNetwork, Baseline: "a", Object: "NetworkPolicy/x", Action: v1alpha1.DriftCreated},
	}}
	for _, governing := range []string{"a", "b"} {
		t.Run("governed by "+governing, func(t *testing.T) {
			var pending pendingDrifts
			pending.keep(namespace, []evaluation.Outcome{drifted})
			outcome := evaluation.Outcome{Control: v1alpha1.ControlNetwork, Baseline: governing, State: v1alpha1.StateCompliant}
			merged := mergeOutcomes(pending.take(namespace), []evaluation.Outcome{outcome})
			next := report.Next(v1alpha1.BaselineReportData{}, precedence.Governance{}, merged, time.Unix(2, 0))
			if len(next.Drifts) != 1 || next.Summary.DriftsTotal != 1 {
				t.Errorf("got %d drifts and driftsTotal %d, want 1 and 1: %+v", len(next.Drifts), next.Summary.DriftsTotal, next)
			}
			if len(next.Controls) != 1 || next.Controls[0].Baseline != governing {
				t.Errorf("got controls %+v, want one of baseline %s", next.Controls, governing)
			}
			if got := pending.take(namespace); got != nil {
				t.Errorf("taken a second time: got %+v, want none", got)
			}
			pending.keep(namespace, []evaluation.Outcome{drifted})
			if got := pending.take(successor); got != nil {
				t.Errorf("taken by another namespace of the same name: got %+v, want none", got)
			}
			pending.keep(namespace, []evaluation.Outcome{drifted})
			pending.forget("n")
			if got := pending.take(namespace); got != nil {
				t.Errorf("after forget: got %+v, want none", got)
			}
		})
	}
}
