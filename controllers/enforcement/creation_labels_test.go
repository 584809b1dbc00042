package enforcement

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

func TestCreationLabels_OfEnforcingBaselinesOnly(t *testing.T) {
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1alpha1.SecurityBaselineSpec{
		PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline", Rollout: v1alpha1.RolloutWhenClean, Version: "v1.30"},
		Network:     &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true},
		Images:      &v1alpha1.Images{},
	}}
	auditing := baseline.DeepCopy()
	auditing.Name, auditing.Spec.Mode, auditing.Spec.Guard = "b", v1alpha1.ModeAudit, &v1alpha1.Guard{}
	var tasks []evaluation.Task
	for _, control := range controls.All {
		for _, declaring := range []*v1alpha1.SecurityBaseline{baseline, auditing} {
			if control.IsDeclared(&declaring.Spec) {
				tasks = append(tasks, evaluation.Task{Control: control, Baseline: declaring})
			}
		}
	}
	tasks = append(tasks, evaluation.Task{Control: controls.All[0]})
	// Admission may have taken it for the governing baseline.
	other := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "z"}, Spec: v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted"}}}
	tasks[0].Overridden = append(tasks[0].Overridden, other)
	// It selected the namespace at its creation, as its labels say, and no longer does.
	former := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "f"}, Spec: v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "privileged", Warn: "restricted"}}}
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{
		v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): "f", v1alpha1.GoverningBaselineLabel(v1alpha1.ControlImages): "gone", v1alpha1.GoverningBaselineLabel(v1alpha1.ControlNetwork): "b",
	}}}
	find := func(name string) (*v1alpha1.SecurityBaseline, error) {
		switch name {
		case "f":
			return former, nil
		case "b":
			return auditing, nil
		}
		return &v1alpha1.SecurityBaseline{}, nil
	}
	want := map[string]sets.Set[string]{
		"pod-security.kubernetes.io/enforce": sets.New("baseline", "restricted", "privileged"), "pod-security.kubernetes.io/enforce-version": sets.New("v1.30", "latest"),
		"pod-security.kubernetes.io/audit": sets.New("baseline"), "pod-security.kubernetes.io/audit-version": sets.New("v1.30"),
		"pod-security.kubernetes.io/warn": sets.New("baseline", "restricted"), "pod-security.kubernetes.io/warn-version": sets.New("v1.30", "latest"),
		"podsecurity.securitybaseline.io/baseline": sets.New("a", "z", "f"), "network.securitybaseline.io/baseline": sets.New("a"), v1alpha1.DefaultDenyReadyLabel: sets.New("true"),
		"images.securitybaseline.io/baseline": sets.New("a"),
	}
	got, err := creationLabels(namespace, tasks, find)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("got error %v, labels (-want +got):\n%s", err, diff)
	}
}
