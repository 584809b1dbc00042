package enforce

import (
	"context"
	"fmt"
	"maps"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// operationDelete stands in a drift's operation where the object was gone.
const operationDelete = "Delete"

// enforceObject makes one object as wanted. It writes only where something
// differs, and never into an object that the operator did not make.
func (r *run) enforceObject(ctx context.Context, want client.Object) error {
	id := r.id(want)
	have, ok := r.have[id]
	if !ok {
		err := r.Client.Create(ctx, want.DeepCopyObject().(client.Object))
		if err == nil && r.inPlace(id) {
			r.drifted(id, nil, author{operation: operationDelete}, v1alpha1.DriftCreated)
		}
		if !apierrors.IsAlreadyExists(err) {
			return err
		}
		// The cache is behind.
		if have, err = r.live(ctx, want); err != nil {
			return err
		}
	}
	if len(differences(have, want)) == 0 {
		return nil
	}
	drift := r.inPlace(id)
	if drift || !labelled(have) {
		// Who changed it, and whose it is, only the API server knows.
		var err error
		if have, err = r.live(ctx, want); err != nil {
			return err
		}
		if !labelled(have) && !wroteIt(have.GetManagedFields()) {
			return conflictError{"exists and was not made by the operator, so it is left alone; delete it, or make it again under another name"}
		}
	}
	paths := differences(have, want)
	if len(paths) == 0 {
		return nil
	}
	action, err := r.heal(ctx, have, want, paths)
	if err == nil && drift {
		r.drifted(id, paths, attribute(have.GetManagedFields(), paths), action)
	}
	return err
}

// live reads an object from the API server.
func (r *run) live(ctx context.Context, object client.Object) (client.Object, error) {
	live := object.DeepCopyObject().(client.Object)
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(object), live); err != nil {
		return nil, err
	}
	return live, nil
}

func (r *run) heal(ctx context.Context, have, want client.Object, paths []fieldpath.Path) (v1alpha1.DriftAction, error) {
	if contains(paths, roleRefPath) {
		return v1alpha1.DriftReplaced, r.replaceRoleBinding(ctx, have, want.(*rbacv1.RoleBinding))
	}
	healed := have.DeepCopyObject().(client.Object)
	overwrite(healed, want)
	// A full Update at the version that was compared: server-side apply would
	// leave alone what we leave unstated, such as an ingress list that someone
	// added.
	return v1alpha1.DriftConfigured, r.Client.Update(ctx, healed)
}

// replaceRoleBinding replaces a binding whose roleRef, which is immutable, is to
// change. A stand-in of another name bridges the moment in which there is no
// binding of the right one, and finds out first whether the API server lets the
// operator bind the role at all. Should anything fail midway, prune removes the
// stand-in.
func (r *run) replaceRoleBinding(ctx context.Context, have client.Object, want *rbacv1.RoleBinding) error {
	standIn := want.DeepCopy()
	standIn.Name, standIn.GenerateName = "", want.Name+"-"
	if err := r.Client.Create(ctx, standIn); err != nil {
		return err
	}
	if err := r.Client.Delete(ctx, have, exactly(have)); client.IgnoreNotFound(err) != nil {
		return err
	}
	if err := r.Client.Create(ctx, want.DeepCopy()); err != nil {
		return err
	}
	return client.IgnoreNotFound(r.Client.Delete(ctx, standIn, exactly(standIn)))
}

// prune removes what the operator made for this control and no control wants
// here any more.
func (r *run) prune(ctx context.Context) {
	for _, id := range slices.Sorted(maps.Keys(r.have)) {
		object := r.have[id]
		labels := object.GetLabels()
		if r.wanted.Has(id) || !labelled(object) || labels[v1alpha1.ControlLabel] != string(r.Control.Name) || !object.GetDeletionTimestamp().IsZero() {
			continue
		}
		if r.Baseline == nil && !r.gone(labels[v1alpha1.BaselineLabel]) {
			continue
		}
		err := r.remove(ctx, object)
		if err != nil && r.Baseline == nil {
			r.givenBy = labels[v1alpha1.BaselineLabel]
		}
		r.note(id, err)
	}
}

// remove deletes an object if the operator wrote it: someone may have copied it,
// labels and all.
func (r *run) remove(ctx context.Context, object client.Object) error {
	live, err := r.live(ctx, object)
	if err != nil {
		return client.IgnoreNotFound(err)
	}
	if !maps.Equal(mark(live), mark(object)) {
		// The cache is behind: what it is now is for another evaluation.
		return nil
	}
	if !wroteIt(live.GetManagedFields()) {
		return conflictError{fmt.Sprintf("bears the label %s and was not made by the operator; it is left alone. Remove the label", v1alpha1.BaselineLabel)}
	}
	return client.IgnoreNotFound(r.Client.Delete(ctx, live, exactly(live)))
}

// exactly makes a deletion concern an object as it was read, and no other of its
// name.
func exactly(object client.Object) client.Preconditions {
	return client.Preconditions{UID: new(object.GetUID()), ResourceVersion: new(object.GetResourceVersion())}
}

// GivenIn returns the names of the namespaces in which something is that a
// baseline gave and prune or enforceLabels would remove, what is being deleted
// already left out.
func GivenIn(ctx context.Context, reader client.Reader, baseline string) (sets.Set[string], error) {
	namespaces := sets.New[string]()
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
				if object.GetDeletionTimestamp().IsZero() {
					namespaces.Insert(object.GetNamespace())
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
			if OwnLabels(namespace.GetManagedFields()).Has(label) {
				namespaces.Insert(namespace.GetName())
			}
		})
		if err != nil {
			return nil, err
		}
	}
	return namespaces, nil
}
