package enforcement

import (
	"context"
	"maps"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// enforceLabels makes the labels of the namespace as all controls of a world
// together want them, in one write. It applies exactly the labels that are the
// operator's and leaves every other one alone.
func (e *Enforcer) enforceLabels(ctx context.Context, w world) {
	if len(w.runs) == 0 {
		return
	}
	namespace, writer := w.runs[0].namespace, w.runs[0].writer
	want := map[string]string{}
	for _, r := range slices.Concat(w.runs, w.rest) {
		maps.Copy(want, r.wantedLabels())
	}
	if !slices.ContainsFunc(w.runs, func(r *run) bool { return r.labelsDiffer() && !r.labelsForeseen() }) {
		e.noteLabels(w, false, nil, nil)
		return
	}
	for _, r := range w.runs {
		if err := r.early(r.namespaceID(), controls.Revision(r.desired.NamespaceLabels)); err != nil {
			e.noteLabels(w, false, nil, err)
			return
		}
	}
	for _, r := range w.runs {
		if r.labelsDiffer() {
			differ := labelDifferences(namespace.Labels, r.wantedLabels())
			r.labelsBy = attribute(namespace, differ)
			r.labelsBy.operator = len(differ) > 0 && r.unfinished(r.namespaceID(), controls.Revision(r.desired.NamespaceLabels), differ, r.labelsBy)
			r.writes(r.namespaceID(), controls.Revision(r.desired.NamespaceLabels))
		}
	}
	// At the namespace and the version that were compared: applied without, it
	// would make a namespace again that was just deleted.
	ctx, warned := collectWarnings(ctx)
	err := writer.Apply(ctx, corev1ac.Namespace(namespace.Name).
		WithUID(namespace.UID).WithResourceVersion(namespace.ResourceVersion).
		WithLabels(want), client.ForceOwnership)
	e.noteLabels(w, true, warned.all(), err)
}

// noteLabels notes what became of the labels of each control; err is of the write
// for all of them, and so is what the API server warned of.
func (e *Enforcer) noteLabels(w world, written bool, warned []string, err error) {
	for _, r := range w.runs {
		r.noteLabels(err)
		if written && err == nil && r.podSecurity != nil && r.podSecurity.written(r.namespace.Labels, r.wantedLabels(), warned) {
			r.answers.set(r.paceKey(r.podSecurity.want.String()), answer{verdict: r.podSecurity.verdict}, r.Now())
		}
	}
}

func (r *run) noteLabels(err error) {
	id, revision := r.namespaceID(), controls.Revision(r.desired.NamespaceLabels)
	if !r.labelsDiffer() {
		err = nil // it was not about this control
	}
	if r.Baseline == nil {
		if err != nil {
			r.givenBy = r.labelsGivenBy()
		}
		r.listed = r.ledger(id) != nil && r.gone(r.labelsGivenBy())
		r.note(id, err)
		return
	}
	if len(r.Control.NamespaceLabels) == 0 {
		return
	}
	uid, differ := r.namespace.UID, labelDifferences(r.namespace.Labels, r.wantedLabels())
	if r.audits() && r.labelsDiffer() {
		uid, differ = "", r.labelChanges()
	}
	if err != nil && r.labelsBy.operator {
		r.own.Insert(id)
	}
	if err == nil && len(differ) > 0 {
		r.happened(id, revision, differ, r.labelsBy, v1alpha1.DriftConfigured)
		if r.podSecurity != nil && r.inPlace(id, revision) {
			r.podSecurity.drifted(differ)
		}
	}
	if err == nil && r.podSecurity != nil && !r.audits() {
		r.podSecurity.inPlace()
	}
	r.place(id, uid, revision, err)
}

// labelsDiffer says whether labels of this control are not as it wants them, or
// are to be released.
func (r *run) labelsDiffer() bool {
	want := r.wantedLabels()
	return len(labelDifferences(r.namespace.Labels, want)) > 0 || r.released(want).Len() > 0
}

// released are the keys of the operator's labels that this control does not want
// any more.
func (r *run) released(want map[string]string) sets.Set[string] {
	return r.ownLabels.Intersection(sets.New(r.Control.NamespaceLabels...)).Difference(sets.KeySet(want))
}

// labelChanges returns what would be changed, and released.
func (r *run) labelChanges() []difference {
	want := r.wantedLabels()
	changes := besidesOwner(labelDifferences(r.namespace.Labels, want))
	for _, key := range sets.List(r.released(want)) {
		changes = append(changes, difference{labelPath(key), nil, r.namespace.Labels[key]})
	}
	return changes
}

// labelsForeseen says whether the report says already that the labels would be
// changed so, and how the running pods compare need not be asked.
func (r *run) labelsForeseen() bool {
	if !r.audits() {
		return false
	}
	changes := r.labelChanges()
	return len(changes) == 0 || r.foreseen(r.namespaceID(), v1alpha1.ChangeConfigure, changes)
}

func (r *run) namespaceID() string {
	return NamespaceID(r.namespace)
}

// NamespaceID is what a report calls a namespace.
func NamespaceID(namespace *metav1.PartialObjectMetadata) string {
	return "Namespace/" + namespace.Name
}

// wantedLabels returns the labels that this control wants on the namespace:
// what the baseline asks for or, where none governs, what a baseline that is gone
// left for good, or until the ledger does not list it any more.
func (r *run) wantedLabels() map[string]string {
	if r.Baseline == nil && (!r.gone(r.labelsGivenBy()) || r.ledger(r.namespaceID()) != nil) {
		retained := map[string]string{}
		for _, key := range r.Control.NamespaceLabels {
			if r.ownLabels.Has(key) {
				retained[key] = r.namespace.Labels[key]
			}
		}
		return retained
	}
	want := maps.Clone(r.desired.NamespaceLabels)
	maps.DeleteFunc(want, func(key, _ string) bool { return r.desired.StricterLabels.Has(key) })
	return want
}

// labelsGivenBy is the name of the baseline that gave this control's labels.
func (r *run) labelsGivenBy() string {
	if len(r.Control.NamespaceLabels) == 0 {
		return ""
	}
	return r.namespace.Labels[r.Control.NamespaceLabels[0]]
}
