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
	// maxPreceding is how many baselines with precedence admission knows of.
	maxPreceding = 64
	// maxGuardedLabels is how many keys of labels the guard protects.
	maxGuardedLabels = 256
)

// ClusterAdmin returns the baseline that governs rbac.clusterAdmin in the whole
// cluster, or nil.
func ClusterAdminBaseline(baselines []v1alpha1.SecurityBaseline) *v1alpha1.SecurityBaseline {
	var governing *v1alpha1.SecurityBaseline
	for i := range baselines {
		baseline := &baselines[i]
		if baseline.Spec.RBAC == nil || baseline.Spec.RBAC.ClusterAdmin == nil || !enforces(baseline) {
			continue
		}
		if governing == nil || compare(baseline, governing) < 0 {
			governing = baseline
		}
	}
	return governing
}

// enforces says whether a baseline gives anything now.
func enforces(baseline *v1alpha1.SecurityBaseline) bool {
	return !baseline.Spec.IsAudit() && baseline.DeletionTimestamp.IsZero() && !MissingFinalizer(baseline)
}

// Preceding returns the baselines that may govern something of what a baseline
// declares in namespaces that both select, the first by name first, and how many
// more there are than admission can know of.
func HigherPrecedence(baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline) (preceding []v1alpha1.HigherPrecedenceBaseline, left int) {
	var all []v1alpha1.HigherPrecedenceBaseline
	for i := range baselines {
		other := &baselines[i]
		if other.Name == baseline.Name || !enforces(other) || compare(other, baseline) > 0 {
			continue
		}
		var both []v1alpha1.ControlName
		for _, control := range controls.All {
			if control.IsDeclared(&baseline.Spec) && control.IsDeclared(&other.Spec) {
				both = append(both, control.Name)
			}
		}
		if len(both) > 0 {
			all = append(all, v1alpha1.HigherPrecedenceBaseline{
				Name: other.Name, Controls: both, Requirements: requirements(&other.Spec.NamespaceSelector), ExcludeNamespaces: other.Spec.ExcludeNamespaces,
			})
		}
	}
	slices.SortFunc(all, func(a, b v1alpha1.HigherPrecedenceBaseline) int { return cmp.Compare(a.Name, b.Name) })
	return all[:min(len(all), maxPreceding)], max(0, len(all)-maxPreceding)
}

// requirements returns what a selector requires, all in one form.
func requirements(selector *v1alpha1.LabelSelector) []metav1.LabelSelectorRequirement {
	upstream := selector.ToUpstream()
	var all []metav1.LabelSelectorRequirement
	for key, value := range upstream.MatchLabels {
		all = append(all, metav1.LabelSelectorRequirement{Key: key, Operator: metav1.LabelSelectorOpIn, Values: []string{value}})
	}
	slices.SortFunc(all, func(a, b metav1.LabelSelectorRequirement) int { return cmp.Compare(a.Key, b.Key) })
	return append(all, upstream.MatchExpressions...)
}

// GuardedLabels returns the keys of the labels by which any baseline selects
// namespaces or names subjects, for whoever changes them chooses what holds, and how
// many more there are than the guard can protect.
func SelectingLabels(baselines []v1alpha1.SecurityBaseline) (guarded []string, left int) {
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
	return sets.List(keys)[:min(keys.Len(), maxGuardedLabels)], max(0, keys.Len()-maxGuardedLabels)
}
