package precedence

import (
	"cmp"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

const (
	// maxHigherPrecedence limits the baselines in status.admission.higherPrecedence.
	maxHigherPrecedence = 64
	// maxSelectingLabels limits the label keys that the guard protects.
	maxSelectingLabels = 256
)

// HigherPrecedence returns the baselines that can override controls of a baseline in
// namespaces that both select, sorted by name. omitted is the number of baselines
// beyond the limit of status.admission.
func HigherPrecedence(baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline) (listed []v1alpha1.HigherPrecedenceBaseline, omitted int) {
	var all []v1alpha1.HigherPrecedenceBaseline
	for i := range baselines {
		other := &baselines[i]
		if other.Name == baseline.Name || !isEnforcing(other) || comparePrecedence(other, baseline) > 0 {
			continue
		}
		var shared []v1alpha1.ControlName
		for _, control := range controls.All {
			if control.IsDeclared(&baseline.Spec) && control.IsDeclared(&other.Spec) {
				shared = append(shared, control.Name)
			}
		}
		if len(shared) > 0 {
			all = append(all, v1alpha1.HigherPrecedenceBaseline{
				Name: other.Name, Controls: shared, Requirements: requirements(&other.Spec.NamespaceSelector), ExcludeNamespaces: other.Spec.ExcludeNamespaces,
			})
		}
	}
	slices.SortFunc(all, func(a, b v1alpha1.HigherPrecedenceBaseline) int { return cmp.Compare(a.Name, b.Name) })
	return all[:min(len(all), maxHigherPrecedence)], max(0, len(all)-maxHigherPrecedence)
}

// requirements converts matchLabels to matchExpressions and returns all expressions,
// those from matchLabels first.
func requirements(selector *v1alpha1.LabelSelector) []metav1.LabelSelectorRequirement {
	upstream := selector.ToUpstream()
	var all []metav1.LabelSelectorRequirement
	for key, value := range upstream.MatchLabels {
		all = append(all, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}})
	}
	slices.SortFunc(all, func(a, b metav1.LabelSelectorRequirement) int { return cmp.Compare(a.Key, b.Key) })
	return append(all, upstream.MatchExpressions...)
}

// SelectingLabels returns the sorted keys of the labels by which baselines select
// namespaces or derive subjects. The guard protects them because a user who changes
// one changes which baselines and bindings apply. omitted is the number of keys beyond
// the limit of the guard.
func SelectingLabels(baselines []v1alpha1.SecurityBaseline) (listed []string, omitted int) {
	keys := sets.New[string]()
	for i := range baselines {
		for _, requirement := range requirements(&baselines[i].Spec.NamespaceSelector) {
			keys.Insert(requirement.Key)
		}
		if baselines[i].Spec.RBAC == nil {
			continue
		}
		for _, binding := range baselines[i].Spec.RBAC.RoleBindings {
			for _, from := range binding.SubjectsFrom {
				keys.Insert(from.Label)
			}
		}
	}
	return sets.List(keys)[:min(keys.Len(), maxSelectingLabels)], max(0, keys.Len()-maxSelectingLabels)
}
