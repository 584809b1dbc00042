package enforce

import (
	"context"
	"maps"

	"k8s.io/apimachinery/pkg/util/sets"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// enforceLabels makes the labels of the namespace as all controls together want
// them, in one write. It applies exactly the labels that are the operator's and
// leaves every other one alone.
func (e *Enforcer) enforceLabels(ctx context.Context, runs []*run) {
	if len(runs) == 0 {
		return
	}
	namespace := runs[0].namespace
	own := OwnLabels(namespace.ManagedFields)
	want := map[string]string{}
	for _, r := range runs {
		maps.Copy(want, r.wantedLabels(own))
	}
	var err error
	if len(labelDifferences(namespace.Labels, want)) > 0 || !sets.KeySet(want).IsSuperset(own) {
		// At the namespace and the version that were compared: applied without, it
		// would make a namespace again that was just deleted.
		err = e.Client.Apply(ctx, corev1ac.Namespace(namespace.Name).
			WithUID(namespace.UID).WithResourceVersion(namespace.ResourceVersion).
			WithLabels(want), client.ForceOwnership)
	}
	for _, r := range runs {
		r.noteLabels(own, err)
	}
}

// noteLabels notes what became of this control's labels; err is of the write for
// all controls.
func (r *run) noteLabels(own sets.Set[string], err error) {
	id, revision := "Namespace/"+r.namespace.Name, controls.Revision(r.Desired.NamespaceLabels)
	want := r.wantedLabels(own)
	paths := labelDifferences(r.namespace.Labels, want)
	released := own.Intersection(sets.New(r.Control.NamespaceLabels...)).Difference(sets.KeySet(want))
	if len(paths) == 0 && released.Len() == 0 {
		err = nil // it was not about this control
	}
	if r.Baseline == nil {
		if err != nil {
			r.givenBy = r.labelsGivenBy()
		}
		r.note(id, err)
		return
	}
	if len(r.Control.NamespaceLabels) == 0 {
		return
	}
	if err == nil && len(paths) > 0 && r.inPlace(id, revision) {
		r.drifted(id, paths, attribute(r.namespace.ManagedFields, paths), v1alpha1.DriftConfigured)
	}
	r.place(id, r.namespace.UID, revision, err)
}

// wantedLabels returns the labels that this control wants on the namespace:
// what the governing baseline asks for or, where none governs, what a baseline
// that is gone left for good.
func (r *run) wantedLabels(own sets.Set[string]) map[string]string {
	if r.Baseline == nil && !r.gone(r.labelsGivenBy()) {
		retained := map[string]string{}
		for _, key := range r.Control.NamespaceLabels {
			if own.Has(key) {
				retained[key] = r.namespace.Labels[key]
			}
		}
		return retained
	}
	want := maps.Clone(r.Desired.NamespaceLabels)
	maps.DeleteFunc(want, func(key, _ string) bool { return r.Desired.KeptLabels.Has(key) })
	return want
}

// labelsGivenBy is the name of the baseline that gave this control's labels.
func (r *run) labelsGivenBy() string {
	if len(r.Control.NamespaceLabels) == 0 {
		return ""
	}
	return r.namespace.Labels[r.Control.NamespaceLabels[0]]
}
