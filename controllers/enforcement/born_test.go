package enforcement

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// managed makes an entry of managedFields.
func managed(t *testing.T, manager string, operation metav1.ManagedFieldsOperationType, paths ...fieldpath.Path) metav1.ManagedFieldsEntry {
	t.Helper()
	entry := metav1.ManagedFieldsEntry{Manager: manager, Operation: operation}
	if err := setFields(&entry, fieldpath.NewSet(paths...)); err != nil {
		t.Fatal(err)
	}
	return entry
}

// What a namespace was born with becomes the operator's alone; what its creator
// stated stays the creator's.
func TestOwned(t *testing.T) {
	annotation := fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.CreationLabelsAnnotation)
	enforce, team, images := labelPath("pod-security.kubernetes.io/enforce"), labelPath("team"), labelPath("images.securitybaseline.io/baseline")
	const apply, update = metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate
	for _, test := range []struct {
		name    string
		entries []metav1.ManagedFieldsEntry
		want    map[string][]fieldpath.Path
	}{
		{"the creator had it recorded as theirs", []metav1.ManagedFieldsEntry{managed(t, "kubectl-create", update, enforce, team, annotation)},
			map[string][]fieldpath.Path{"kubectl-create": {team}, v1alpha1.FieldManager: {enforce}}},
		{"the operator owns another label already", []metav1.ManagedFieldsEntry{managed(t, v1alpha1.FieldManager, apply, images), managed(t, "kubectl-create", update, enforce, annotation)},
			map[string][]fieldpath.Path{"kubectl-create": nil, v1alpha1.FieldManager: {enforce, images}}},
		{"what the operator did not apply is not what it owns", []metav1.ManagedFieldsEntry{managed(t, v1alpha1.FieldManager, update, annotation)},
			map[string][]fieldpath.Path{v1alpha1.FieldManager: {enforce}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := owned(test.entries, []string{"pod-security.kubernetes.io/enforce"})
			if err != nil {
				t.Fatal(err)
			}
			owns := map[string]*fieldpath.Set{}
			for i := range got {
				if fields := fieldsIn(&got[i]); owns[got[i].Manager] == nil {
					owns[got[i].Manager] = fields
				} else {
					owns[got[i].Manager] = owns[got[i].Manager].Union(fields)
				}
			}
			for manager, paths := range test.want {
				if want := fieldpath.NewSet(paths...); owns[manager] == nil || !want.Equals(owns[manager]) {
					t.Errorf("%s owns %s, not %s", manager, owns[manager], want)
				}
			}
			if diff := cmp.Diff(len(test.want), len(owns)); diff != "" {
				t.Errorf("managers (-want +got):\n%s", diff)
			}
		})
	}
}

// What is taken over is what a baseline that enforces gives at birth, and no more.
func TestGivenAtBirth(t *testing.T) {
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a"}, Spec: v1alpha1.SecurityBaselineSpec{
		PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline", Rollout: v1alpha1.RolloutWhenClean, Version: "v1.30"},
		Network:     &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true},
		Images:      &v1alpha1.Images{},
	}}
	audits := baseline.DeepCopy()
	audits.Name, audits.Spec.Mode, audits.Spec.Guard = "b", v1alpha1.ModeAudit, &v1alpha1.Guard{}
	var tasks []Task
	for _, control := range controls.All {
		for _, of := range []*v1alpha1.SecurityBaseline{baseline, audits} {
			if control.IsDeclared(&of.Spec) {
				tasks = append(tasks, Task{Control: control, Baseline: of})
			}
		}
	}
	tasks = append(tasks, Task{Control: controls.All[0]})
	// One that admission may have taken for the one that governs.
	other := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "z"}, Spec: v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted"}}}
	tasks[0].Outranked = append(tasks[0].Outranked, other)
	// One that selected the namespace when it was made, as its labels say, and does not now.
	former := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "f"}, Spec: v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "privileged", Warn: "restricted"}}}
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n", Labels: map[string]string{
		v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): "f", v1alpha1.GoverningBaselineLabel(v1alpha1.ControlImages): "gone", v1alpha1.GoverningBaselineLabel(v1alpha1.ControlNetwork): "b",
	}}}
	named := func(name string) (*v1alpha1.SecurityBaseline, error) {
		switch name {
		case "f":
			return former, nil
		case "b":
			return audits, nil
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
	got, err := givenAtBirth(namespace, tasks, named)
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
}
