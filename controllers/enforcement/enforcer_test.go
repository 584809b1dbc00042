package enforcement

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podsecurityapi "k8s.io/pod-security-admission/api"
	"k8s.io/utils/clock"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// A level that rejects nothing has nothing to wait for.
func TestPlan_PrivilegedLevelIsAppliedWithoutAsking(t *testing.T) {
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	baseline.Spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "privileged", Rollout: v1alpha1.RolloutWhenClean}
	task := &evaluation.Task{Control: controls.All[0], Baseline: baseline}
	p := New(nil, nil, clock.RealClock{}, &State{}).newPlan(t.Context(), snapshot{namespace: &metav1.PartialObjectMetadata{}}, task, nil, nil)
	want := map[string]string{podsecurityapi.EnforceLevelLabel: "privileged", podsecurityapi.EnforceVersionLabel: "latest"}
	for key, value := range want {
		if got := p.desired.NamespaceLabels[key]; got != value {
			t.Errorf("label %s: got %q, want %q", key, got, value)
		}
	}
}
