package enforcement

import (
	"context"
	"fmt"
	"slices"
	"strings"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/diff"
	"github.com/securitybaseline/operator/controllers/enforcement/ownership"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/kube"
)

// adoptCreationLabels makes the operator the owner of the labels that the API server set
// when the namespace was created, by the policy label-new-namespaces, and returns the
// snapshot as it is then. On an error the snapshot is unchanged, and only the labels are
// affected. Kubernetes records what admission adds as the creator's, who never stated it;
// while it is recorded so, it cannot be released.
//
// Anyone who may write the namespace can write the annotation that lists these labels. So
// the operator adopts only labels with a value that a baseline expects which declares the
// control here, or which the labels name: admission may have known another order of
// precedence and other labels of the namespace. What an owner made stricter than all of them
// stays the owner's.
func (e *Enforcer) adoptCreationLabels(ctx context.Context, current snapshot, tasks []evaluation.Task) (snapshot, error) {
	if _, ok := current.namespace.Annotations[v1alpha1.CreationLabelsAnnotation]; !ok {
		return current, nil
	}
	expected, err := creationLabels(current.namespace, tasks, func(name string) (*v1alpha1.SecurityBaseline, error) {
		baseline := &v1alpha1.SecurityBaseline{}
		err := e.client.Get(ctx, client.ObjectKey{Name: name}, baseline, client.UnsafeDisableDeepCopy)
		return baseline, client.IgnoreNotFound(err)
	})
	if err != nil {
		return current, fmt.Errorf("finding the baselines that set labels at creation: %w", err)
	}
	adopted := &fieldpath.Set{}
	for key := range annotatedLabels(current.namespace) {
		if expected[key].Has(current.namespace.Labels[key]) {
			adopted.Insert(diff.LabelPath(key))
		}
	}
	annotation := fieldpath.NewSet(fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.CreationLabelsAnnotation))
	managedFields, err := ownership.TransferToOperator(current.namespace.ManagedFields, adopted, annotation)
	if err != nil {
		return current, fmt.Errorf("adopting the labels set at creation: %w", err)
	}
	patch := kube.MergePatch(current.namespace, map[string]any{
		"annotations": map[string]any{v1alpha1.CreationLabelsAnnotation: nil}, "managedFields": managedFields,
	}, nil)
	patched := current.namespace.DeepCopy()
	if err := e.client.Patch(ctx, patched, patch); err != nil {
		if kube.IsNamespaceTerminating(err) || isConflict(err) {
			return current, nil // the event that says so is on its way
		}
		return current, fmt.Errorf("adopting the labels set at creation: %w", err)
	}
	current.namespace = patched
	current.ownedLabels = ownership.OwnedLabels(patched)
	return current, nil
}

// annotatedLabels returns the keys of the labels that the annotation of the namespace lists.
func annotatedLabels(namespace *metav1.PartialObjectMetadata) sets.Set[string] {
	return sets.New(strings.Split(namespace.Annotations[v1alpha1.CreationLabelsAnnotation], ",")...)
}

// hasCreationLabels reports whether the API server set any of the labels when the namespace
// was created, and the operator has not adopted them yet.
func (s *snapshot) hasCreationLabels(keys []string) bool {
	return annotatedLabels(s.namespace).HasAny(keys...)
}

// creationLabels returns the values of the labels that baselines may set when the namespace
// is created: those that declare a control of it, or that its labels name. A namespace
// without pods meets every level. find returns a baseline, or an empty one if there is none
// of that name.
func creationLabels(
	namespace *metav1.PartialObjectMetadata, tasks []evaluation.Task, find func(name string) (*v1alpha1.SecurityBaseline, error),
) (map[string]sets.Set[string], error) {
	values := map[string]sets.Set[string]{}
	for i := range tasks {
		task := &tasks[i]
		if task.IsAudit() || len(task.Control.NamespaceLabels) == 0 {
			continue
		}
		candidates := slices.Clone(task.Overridden)
		if task.Baseline != nil {
			candidates = append(candidates, task.Baseline)
		}
		if name := namespace.Labels[task.Control.NamespaceLabels[0]]; name != "" {
			named, err := find(name)
			if err != nil {
				return nil, err
			}
			candidates = append(candidates, named)
		}
		for _, baseline := range candidates {
			for key, value := range labelsAtCreation(&task.Control, baseline, namespace.Name) {
				values[key] = values[key].Union(sets.New(value))
			}
		}
	}
	return values, nil
}

// labelsAtCreation returns the labels that a baseline sets on a new namespace for a control.
func labelsAtCreation(control *controls.Control, baseline *v1alpha1.SecurityBaseline, namespace string) map[string]string {
	if baseline.Spec.IsAudit() || !control.IsDeclared(&baseline.Spec) {
		return nil
	}
	observed := controls.Namespace{Name: namespace, Labels: map[string]string{}, HasDefaultDeny: true}
	if control.EnforcedLevel != nil {
		observed.ReachedLevel = control.EnforcedLevel(&baseline.Spec)
	}
	return control.Render(baseline, observed).NamespaceLabels
}
