package enforcement

import (
	"bytes"
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
)

// takeOver makes labels that the API server gave a namespace at its creation, by
// the policy label-new-namespaces.securitybaseline.io, the operator's own, and returns the
// namespace as it is then, or as it was with an error that bears on its labels only.
// What admission adds is recorded as the creator's, who never stated it: as long as it
// is, it cannot be released.
//
// Anybody who may write the namespace can write the annotation that says which
// labels these are. So only those are taken over that are as a baseline asks that
// declares the control here, or that the labels name: admission may have known another
// order of precedence, and other labels of the namespace. What an owner made stricter
// than all of them stays theirs.
func (e *Enforcer) takeOver(ctx context.Context, namespace *metav1.PartialObjectMetadata, tasks []Task) (*metav1.PartialObjectMetadata, error) {
	if _, ok := namespace.Annotations[v1alpha1.CreationLabelsAnnotation]; !ok {
		return namespace, nil
	}
	asked, err := givenAtBirth(namespace, tasks, func(name string) (*v1alpha1.SecurityBaseline, error) {
		baseline := &v1alpha1.SecurityBaseline{}
		err := e.Client.Get(ctx, client.ObjectKey{Name: name}, baseline, client.UnsafeDisableDeepCopy)
		return baseline, client.IgnoreNotFound(err)
	})
	if err != nil {
		return namespace, fmt.Errorf("finding out who gave the labels: %w", err)
	}
	keys := slices.DeleteFunc(sets.List(bornWith(namespace)), func(key string) bool {
		return !asked[key].Has(namespace.Labels[key])
	})
	managed, err := owned(namespace.ManagedFields, keys)
	if err != nil {
		return namespace, fmt.Errorf("taking the labels over: %w", err)
	}
	patch := mergePatch(namespace, map[string]any{"annotations": map[string]any{v1alpha1.CreationLabelsAnnotation: nil}, "managedFields": managed}, nil)
	taken := namespace.DeepCopy()
	if err := e.Client.Patch(ctx, taken, patch); err != nil {
		if Vanishing(err) || outdated(err) {
			return namespace, nil // the event that says so is under way
		}
		return namespace, fmt.Errorf("taking the labels over: %w", err)
	}
	return taken, nil
}

// bornWith returns the keys of the labels that are said to be given at birth.
func bornWith(namespace *metav1.PartialObjectMetadata) sets.Set[string] {
	return sets.New(strings.Split(namespace.Annotations[v1alpha1.CreationLabelsAnnotation], ",")...)
}

// givenAtBirth returns the values of the labels that the baselines which declare a
// control of a namespace, or which its labels name, may give it at its creation: with no
// pod in it, every level is reached.
func givenAtBirth(
	namespace *metav1.PartialObjectMetadata, tasks []Task, named func(string) (*v1alpha1.SecurityBaseline, error),
) (map[string]sets.Set[string], error) {
	given := map[string]sets.Set[string]{}
	for i := range tasks {
		task := &tasks[i]
		if task.audits() || len(task.Control.NamespaceLabels) == 0 {
			continue
		}
		candidates := slices.Clone(task.Outranked)
		if task.Baseline != nil {
			candidates = append(candidates, task.Baseline)
		}
		if name := namespace.Labels[task.Control.NamespaceLabels[0]]; name != "" {
			giver, err := named(name)
			if err != nil {
				return nil, err
			}
			candidates = append(candidates, giver)
		}
		for _, baseline := range candidates {
			if baseline.Spec.IsAudit() || !task.Control.IsDeclared(&baseline.Spec) {
				continue
			}
			observed := controls.Namespace{Name: namespace.Name, Labels: map[string]string{}, HasDefaultDeny: true}
			if task.Control.EnforcedLevel != nil {
				observed.ReachedLevel = task.Control.EnforcedLevel(&baseline.Spec)
			}
			for key, value := range task.Control.Render(baseline, observed).NamespaceLabels {
				given[key] = given[key].Union(sets.New(value))
			}
		}
	}
	return given, nil
}

// owned returns managedFields in which labels, and the annotation that names
// them, are nobody's but the operator's, as if it had applied them.
func owned(entries []metav1.ManagedFieldsEntry, keys []string) ([]metav1.ManagedFieldsEntry, error) {
	labels := &fieldpath.Set{}
	for _, key := range keys {
		labels.Insert(labelPath(key))
	}
	given := labels.Union(fieldpath.NewSet(fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.CreationLabelsAnnotation)))
	var all []metav1.ManagedFieldsEntry
	var own *metav1.ManagedFieldsEntry
	for i := range entries {
		entry := entries[i].DeepCopy()
		fields := fieldsIn(entry)
		if isOperators(entry) {
			own, labels = entry, labels.Union(fields)
			continue
		}
		if !fields.Intersection(given).Empty() {
			if err := setFields(entry, fields.Difference(given)); err != nil {
				return nil, err
			}
		}
		all = append(all, *entry)
	}
	if own == nil {
		own = &metav1.ManagedFieldsEntry{
			Manager: v1alpha1.FieldManager, Operation: metav1.ManagedFieldsOperationApply,
			APIVersion: "v1", FieldsType: "FieldsV1", Time: new(metav1.Now()),
		}
	}
	if err := setFields(own, labels); err != nil {
		return nil, err
	}
	return append(all, *own), nil
}

func isOperators(entry *metav1.ManagedFieldsEntry) bool {
	return entry.Manager == v1alpha1.FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

func setFields(entry *metav1.ManagedFieldsEntry, fields *fieldpath.Set) error {
	var data bytes.Buffer
	if err := fields.ToJSONStream(&data); err != nil {
		return fmt.Errorf("writing managedFields: %w", err)
	}
	entry.FieldsV1 = metav1.NewFieldsV1(data.String())
	return nil
}
