package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/precedence"
	"github.com/securitybaseline/operator/controllers/report"
)

// A drift that could not be recorded is in the next report, whoever governs by then, and
// not in that of another namespace of the name.
func TestADriftIsHeldUntilItIsRecorded(t *testing.T) {
	namespace, next := namespaceMetadata(), namespaceMetadata()
	namespace.Name, namespace.UID, next.Name, next.UID = "n", "first", "n", "second"
	drifted := evaluation.Outcome{Control: v1alpha1.ControlNetwork, Baseline: "a", State: v1alpha1.StateCompliant, Drifts: []v1alpha1.Drift{
		{DetectionTime: metav1.NewTime(time.Unix(1, 0)), Control: v1alpha1.ControlNetwork, Baseline: "a", Object: "NetworkPolicy/x", Action: v1alpha1.DriftCreated},
	}}
	for _, governing := range []string{"a", "b"} {
		var u unrecorded
		u.keep(namespace, []evaluation.Outcome{drifted})
		now := evaluation.Outcome{Control: v1alpha1.ControlNetwork, Baseline: governing, State: v1alpha1.StateCompliant}
		recorded := report.Next(v1alpha1.BaselineReportData{}, precedence.Governance{}, joined(u.take(namespace), []evaluation.Outcome{now}), time.Unix(2, 0))
		if len(recorded.Drifts) != 1 || recorded.Summary.DriftsTotal != 1 {
			t.Errorf("where %s governs: %+v", governing, recorded)
		}
		if len(recorded.Controls) != 1 || recorded.Controls[0].Baseline != governing {
			t.Errorf("where %s governs: the controls are %+v", governing, recorded.Controls)
		}
		if again := u.take(namespace); again != nil {
			t.Errorf("held for ever: %+v", again)
		}
		u.keep(namespace, []evaluation.Outcome{drifted})
		if other := u.take(next); other != nil {
			t.Errorf("recorded in another namespace: %+v", other)
		}
		u.keep(namespace, []evaluation.Outcome{drifted})
		u.forget("n")
		if left := u.take(namespace); left != nil {
			t.Errorf("held for a namespace that is gone: %+v", left)
		}
	}
}
