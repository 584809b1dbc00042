package enforcement

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// OperationDelete stands in a drift's operation where the object was gone.
const OperationDelete = "Delete"

// enforceObject makes one object as wanted and returns its UID, or none where it
// only would. It writes only where something differs, and never into an object
// that the operator did not make.
func (r *run) enforceObject(ctx context.Context, want client.Object) (types.UID, error) {
	id, revision := r.id(want), controls.Revision(want)
	have, ok := r.have[id]
	if ok && len(differences(have, want)) == 0 {
		return have.GetUID(), nil
	}
	if err := r.early(id, revision); err != nil {
		return "", err
	}
	switch {
	case shared(want):
		return r.applyFields(ctx, ok, want)
	case !ok:
		return r.create(ctx, want)
	case labelled(have) && !r.inPlace(id, revision):
		// It is the baseline that changed, so nobody need be asked who did.
		return r.settle(ctx, have, want)
	}
	live, err := r.live(ctx, want)
	if apierrors.IsNotFound(err) {
		return r.create(ctx, want)
	}
	if err != nil {
		return "", err
	}
	return r.settle(ctx, live, want)
}

func (r *run) create(ctx context.Context, want client.Object) (types.UID, error) {
	id, revision := r.id(want), controls.Revision(want)
	if r.foreseen(id, v1alpha1.ChangeCreate, nil) {
		r.happened(id, revision, nil, author{}, v1alpha1.DriftCreated)
		return "", nil
	}
	by := author{operation: OperationDelete}
	by.operator = r.unfinished(id, revision, nil, by)
	r.writes(id, revision)
	made := want.DeepCopyObject().(client.Object)
	err := r.writer.Create(ctx, made)
	if apierrors.IsAlreadyExists(err) {
		// The cache is behind.
		live, err := r.live(ctx, want)
		if err != nil {
			return "", err
		}
		return r.settle(ctx, live, want)
	}
	if err != nil {
		return "", r.owning(id, by, err)
	}
	r.happened(id, revision, nil, by, v1alpha1.DriftCreated)
	return r.unlessAuditing(made.GetUID()), asWritten(made, want)
}

// settle makes an object that exists as wanted.
func (r *run) settle(ctx context.Context, have, want client.Object) (types.UID, error) {
	id, revision := r.id(want), controls.Revision(want)
	differ := differences(have, want)
	if len(differ) == 0 {
		return have.GetUID(), nil
	}
	if !r.ours(have) {
		return "", conflictError{"exists and was not made by the operator, so it is left alone; delete it, or make it again under another name"}
	}
	if r.audits() {
		if differ = besidesOwner(differ); len(differ) == 0 {
			return "", nil // as wanted, of another baseline
		}
	}
	action := v1alpha1.DriftConfigured
	if replaces(differ) {
		action = v1alpha1.DriftReplaced
	}
	if r.foreseen(id, wouldBe[action], differ) {
		r.happened(id, revision, differ, author{}, action)
		return "", nil
	}
	by := attribute(have, differ)
	by.operator = r.unfinished(id, revision, differ, by)
	r.writes(id, revision)
	uid, err := r.heal(ctx, have, want, action)
	if errors.As(err, new(alteredError)) {
		// Somebody may alter it in another way each time.
		r.pace.Done(r.paceKey(id), r.Now())
	}
	if err != nil {
		return uid, r.owning(id, by, err)
	}
	r.happened(id, revision, differ, by, action)
	return r.unlessAuditing(uid), nil
}

// unlessAuditing returns the UID of what was written, and none of what only
// would be.
func (r *run) unlessAuditing(uid types.UID) types.UID {
	if r.audits() {
		return ""
	}
	return uid
}

// foreseen says whether the report says already that this would be done, so that
// the API server need not be asked again whether it would let it.
func (r *run) foreseen(id string, action v1alpha1.ChangeAction, differ []difference) bool {
	if !r.audits() || !r.Current || r.Ledger == nil {
		return false
	}
	change := v1alpha1.Change{Object: id, Action: action, Fields: reported(differ)}
	return slices.ContainsFunc(r.Ledger.Changes, func(known v1alpha1.Change) bool {
		return equality.Semantic.DeepEqual(known, change)
	})
}

// ours says whether the operator made an object of a name that it wants: its
// label says so or, where that was stripped, the ledger by its UID or, where the
// ledger does not know of it, managedFields: an operator may have been ended before it
// could record what it made.
func (r *run) ours(object client.Object) bool {
	if labelled(object) {
		return true
	}
	before := r.ledger(r.id(object))
	return before != nil && before.UID == object.GetUID() || wroteIt(object.GetManagedFields())
}

// live reads an object from the API server.
func (e *Enforcer) live(ctx context.Context, object client.Object) (client.Object, error) {
	// Read into an empty one: decoding adds to the maps that it finds.
	empty, err := e.Client.Scheme().New(e.kind(object))
	if err != nil {
		return nil, err
	}
	live := empty.(client.Object)
	return live, e.Live.Get(ctx, client.ObjectKeyFromObject(object), live)
}

func (r *run) heal(ctx context.Context, have, want client.Object, action v1alpha1.DriftAction) (types.UID, error) {
	if action == v1alpha1.DriftReplaced {
		if binding, ok := want.(*rbacv1.RoleBinding); ok {
			return r.replaceRoleBinding(ctx, have, binding)
		}
		return r.replace(ctx, have, want)
	}
	healed := have.DeepCopyObject().(client.Object)
	overwrite(healed, want)
	// A full Update at the version that was compared: server-side apply would
	// leave alone what we leave unstated, such as an ingress list that someone
	// added.
	if err := r.writer.Update(ctx, healed); err != nil {
		return "", err
	}
	return have.GetUID(), asWritten(healed, want)
}

// asWritten returns an error where admission changed what was written.
func asWritten(written, want client.Object) error {
	if paths := Differing(written, want); len(paths) > 0 {
		return alteredError{paths}
	}
	return nil
}

// standInSuffix cannot end the name of a binding that a baseline asks for.
const standInSuffix = ":stand-in"

// replaceRoleBinding replaces a binding whose roleRef, which is immutable, is to
// change, and returns the UID of the new one. A stand-in of another name bridges
// the moment in which there is no binding of the right one, and finds out first
// whether the API server lets the operator bind the role at all. Should anything
// fail midway, prune removes the stand-in.
func (r *run) replaceRoleBinding(ctx context.Context, have client.Object, want *rbacv1.RoleBinding) (types.UID, error) {
	if held := have.GetFinalizers(); len(held) > 0 {
		return "", conflictError{fmt.Sprintf("grants another role, and cannot be replaced while it has the finalizers %v; remove them", held)}
	}
	standIn, made := want.DeepCopy(), want.DeepCopy()
	standIn.Name += standInSuffix
	if left := r.have[r.id(standIn)]; left != nil && given(left, r.Control.Name) && !r.audits() {
		// Of an operator that was ended midway.
		if err := r.writer.Delete(ctx, left, Exactly(left)); client.IgnoreNotFound(err) != nil {
			return "", err
		}
	}
	if err := r.writer.Create(ctx, standIn); apierrors.IsAlreadyExists(err) {
		return "", conflictError{fmt.Sprintf("grants another role, and cannot be replaced while there is a RoleBinding %s; delete that one", standIn.Name)}
	} else if err != nil {
		return "", err
	}
	if r.audits() {
		return "", nil // the rest builds on it
	}
	if err := r.writer.Delete(ctx, have, Exactly(have)); client.IgnoreNotFound(err) != nil {
		return "", err
	}
	if err := r.writer.Create(ctx, made); err != nil {
		return "", err
	}
	return made.UID, client.IgnoreNotFound(r.writer.Delete(ctx, standIn, Exactly(standIn)))
}

// replace replaces an object that nobody misses for a moment, and returns the UID
// of the new one.
func (r *run) replace(ctx context.Context, have, want client.Object) (types.UID, error) {
	if err := r.writer.Delete(ctx, have, Exactly(have)); client.IgnoreNotFound(err) != nil {
		return "", err
	}
	if r.audits() {
		return "", nil // what is still there is in the way of a dry run
	}
	made := want.DeepCopyObject().(client.Object)
	if err := r.writer.Create(ctx, made); err != nil {
		return "", err
	}
	return made.GetUID(), asWritten(made, want)
}

// prune removes what the operator made for this control and no control wants
// here any more.
func (r *run) prune(ctx context.Context, wanted sets.Set[string]) {
	for _, id := range slices.Sorted(maps.Keys(r.have)) {
		object, giver := r.have[id], r.have[id].GetLabels()[v1alpha1.BaselineLabel]
		labelled := given(object, r.Control.Name)
		if wanted.Has(id) || !labelled && !r.stripped(ctx, object) {
			continue
		}
		if giver == "" && r.Ledger != nil {
			giver = r.Ledger.Baseline
		}
		if r.Baseline == nil && !r.gone(giver) {
			continue
		}
		if labelled && r.ledger(id) != nil && !r.audits() {
			r.listed = true
			continue
		}
		var err error
		if !r.foreseen(id, v1alpha1.ChangeRemove, nil) {
			r.writes(id, "")
			err = client.IgnoreNotFound(r.takeAway(ctx, object))
		}
		switch {
		case err != nil && r.Baseline == nil:
			r.givenBy = giver
		case err == nil && r.audits():
			r.changes = append(r.changes, v1alpha1.Change{Object: id, Action: v1alpha1.ChangeRemove})
		}
		r.note(id, err)
	}
}

// stripped says whether an object is one that the operator made for this control, of
// which somebody stripped the label that says so.
func (r *run) stripped(ctx context.Context, object client.Object) bool {
	if labelled(object) || !strings.HasPrefix(object.GetName(), v1alpha1.ObjectNamePrefix) || !object.GetDeletionTimestamp().IsZero() {
		return false
	}
	if before := r.ledger(r.id(object)); before != nil && before.UID == object.GetUID() {
		return true
	}
	if object.GetLabels()[v1alpha1.ControlLabel] != string(r.Control.Name) {
		return false
	}
	// It may have been made by an operator that was ended before it could record it.
	live, err := r.live(ctx, object)
	return err == nil && live.GetUID() == object.GetUID() && wroteIt(live.GetManagedFields())
}

// takeAway removes an object or, of one that is shared, the operator's fields.
func (r *run) takeAway(ctx context.Context, object client.Object) error {
	if shared(object) {
		return r.release(ctx, object)
	}
	return r.writer.Delete(ctx, object, Exactly(object))
}

// given says whether an object was given by a baseline under a control, by its
// name and its labels, and is not being deleted already. A copy under a name that
// the operator does not give is not.
func given(object client.Object, control v1alpha1.ControlName) bool {
	return labelled(object) && object.GetLabels()[v1alpha1.ControlLabel] == string(control) &&
		(strings.HasPrefix(object.GetName(), v1alpha1.ObjectNamePrefix) || shared(object)) && object.GetDeletionTimestamp().IsZero()
}

// Exactly makes a deletion concern an object as it was read, and no other of its
// name.
func Exactly(object client.Object) client.Preconditions {
	return client.Preconditions{UID: new(object.GetUID()), ResourceVersion: new(object.GetResourceVersion())}
}

// GivenIn returns, by the names of the namespaces, the controls of which
// something is there that a baseline gave and prune or enforceLabels would
// remove, what is being deleted already left out.
func GivenIn(ctx context.Context, reader client.Reader, baseline string) (map[string]sets.Set[v1alpha1.ControlName], error) {
	namespaces := map[string]sets.Set[v1alpha1.ControlName]{}
	add := func(namespace string, control v1alpha1.ControlName) {
		if namespaces[namespace] == nil {
			namespaces[namespace] = sets.New[v1alpha1.ControlName]()
		}
		namespaces[namespace].Insert(control)
	}
	collect := func(list client.ObjectList, labels client.MatchingLabels, collect func(client.Object)) error {
		if err := reader.List(ctx, list, labels); err != nil {
			return fmt.Errorf("listing what baseline %s gave: %w", baseline, err)
		}
		return meta.EachListItem(list, func(item runtime.Object) error {
			collect(item.(client.Object))
			return nil
		})
	}
	for _, control := range controls.All {
		ofControl := client.MatchingLabels{v1alpha1.BaselineLabel: baseline, v1alpha1.ControlLabel: string(control.Name)}
		for _, list := range lists() {
			err := collect(list, ofControl, func(object client.Object) {
				if given(object, control.Name) {
					add(object.GetNamespace(), control.Name)
				}
			})
			if err != nil {
				return nil, err
			}
		}
		if len(control.NamespaceLabels) == 0 {
			continue
		}
		label := control.NamespaceLabels[0]
		list := &metav1.PartialObjectMetadataList{}
		list.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
		err := collect(list, client.MatchingLabels{label: baseline}, func(namespace client.Object) {
			if OwnLabels(namespace.GetManagedFields()).HasAny(control.NamespaceLabels...) {
				add(namespace.GetName(), control.Name)
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return namespaces, nil
}
