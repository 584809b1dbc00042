// Package resolve says which baseline governs which control of a namespace. It
// is pure.
package resolve

import (
	"cmp"
	"fmt"
	"slices"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// Governance is which baseline governs what in one namespace.
type Governance struct {
	// Selecting are the baselines that select the namespace, first the one that
	// wins.
	Selecting []*v1alpha1.SecurityBaseline

	// Governing is the baseline that governs each control that any declares.
	Governing map[v1alpha1.ControlName]*v1alpha1.SecurityBaseline
}

// Govern resolves which baselines govern a namespace. Namespaces whose names are
// protected are governed by none.
func Govern(namespace *metav1.PartialObjectMetadata, baselines []v1alpha1.SecurityBaseline, protected sets.Set[string]) Governance {
	governance := Governance{Governing: map[v1alpha1.ControlName]*v1alpha1.SecurityBaseline{}}
	for i := range baselines {
		if selects(&baselines[i], namespace, protected) {
			governance.Selecting = append(governance.Selecting, &baselines[i])
		}
	}
	slices.SortFunc(governance.Selecting, precedence)
	for _, control := range controls.All {
		for _, baseline := range governance.Selecting {
			if control.Declared(&baseline.Spec) {
				governance.Governing[control.Name] = baseline
				break
			}
		}
	}
	return governance
}

// Selector returns which namespaces a baseline selects, its exclusions and the
// protected ones left out.
func Selector(baseline *v1alpha1.SecurityBaseline, protected sets.Set[string]) (func(*metav1.PartialObjectMetadata) bool, error) {
	selector, err := metav1.LabelSelectorAsSelector(baseline.Spec.NamespaceSelector.ToUpstream())
	if err != nil {
		return nil, fmt.Errorf("spec.namespaceSelector: %w", err)
	}
	return func(namespace *metav1.PartialObjectMetadata) bool {
		return selector.Matches(labels.Set(namespace.Labels)) &&
			!protected.Has(namespace.Name) &&
			!slices.Contains(baseline.Spec.ExcludeNamespaces, namespace.Name) &&
			namespace.DeletionTimestamp.IsZero()
	}, nil
}

func selects(baseline *v1alpha1.SecurityBaseline, namespace *metav1.PartialObjectMetadata, protected sets.Set[string]) bool {
	if !baseline.DeletionTimestamp.IsZero() {
		return false
	}
	// A selector that does not parse selects nothing; the baseline's status says
	// so.
	matches, err := Selector(baseline, protected)
	return err == nil && matches(namespace)
}

// precedence orders the winning baseline first: the highest priority, then the
// oldest, then the first by name.
func precedence(a, b *v1alpha1.SecurityBaseline) int {
	return cmp.Or(
		cmp.Compare(b.Spec.Priority, a.Spec.Priority),
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		cmp.Compare(a.Name, b.Name),
	)
}

// Protected returns the namespaces that are never governed: those of the
// cluster itself and the further ones given.
func Protected(further ...string) sets.Set[string] {
	return sets.New(append([]string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}, further...)...)
}
