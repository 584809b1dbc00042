package admissionpolicy

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/ownership"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/admissionobjects"
	"github.com/securitybaseline/operator/controllers/internal/kube"
	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
	"github.com/securitybaseline/operator/controllers/policies"
)

// apply creates or updates an object. An object that differs from what the operator applied has
// drifted: apply reverts it, unless it was reverted a moment ago. Then it returns how long to wait.
// actual is nil if the object does not exist.
func (r *Reconciler) apply(ctx context.Context, actual client.Object, needed policies.Needed, firstEventTime time.Time) (time.Duration, error) {
	desired := needed.Object
	id := admissionobjects.ID(desired)
	revision := controls.Revision(desired)
	if actual != nil && isUpToDate(actual, desired) {
		r.state.applied[id] = revision
		return 0, nil
	}
	if r.state.applied[id] != revision {
		log.FromContext(ctx).Info("Applying admission policy or binding", "object", id)
		isWritten, err := r.write(ctx, actual, desired)
		if isWritten {
			r.state.applied[id] = revision
		}
		return 0, err
	}
	if remaining := r.state.rateLimit.Remaining(id, r.Clock.Now()); remaining > 0 {
		return remaining, nil
	}
	drift, err := r.detectDrift(ctx, id, actual)
	if err != nil {
		return 0, err
	}
	if isWritten, err := r.write(ctx, actual, desired); !isWritten || err != nil {
		return 0, err
	}
	r.state.rateLimit.Record(id, r.Clock.Now())
	r.recordDrift(ctx, needed, drift, r.Clock.Now().Sub(firstEventTime))
	return 0, nil
}

// isUpToDate reports whether an object has the desired labels, spec and owner.
func isUpToDate(actual, desired client.Object) bool {
	return admissionobjects.IsUpToDate(actual, desired) && equality.Semantic.DeepEqual(actual.GetOwnerReferences(), desired.GetOwnerReferences())
}

// detectDrift describes what happened to an object, and what the operator does about it. The author
// is unknown for an object that was deleted.
func (r *Reconciler) detectDrift(ctx context.Context, id string, actual client.Object) (*v1alpha1.Drift, error) {
	if actual == nil {
		return &v1alpha1.Drift{Object: id, Operation: evaluation.OperationDelete, Action: v1alpha1.DriftCreated}, nil
	}
	// The cache has no managedFields.
	live := actual.DeepCopyObject().(client.Object)
	if err := r.Live.Get(ctx, client.ObjectKeyFromObject(actual), live); client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	author := ownership.LastAuthor(live, fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("metadata"))
	return &v1alpha1.Drift{
		Object: id, Manager: author.Manager, Operation: author.Operation, Action: v1alpha1.DriftConfigured, Fields: []v1alpha1.FieldDifference{{Path: "spec"}},
	}, nil
}

// write creates an object, or updates it at the version that was compared. It reports whether the
// object was written. If the object has changed in the meantime, it returns no error: the event
// about the change leads to the next reconcile.
func (r *Reconciler) write(ctx context.Context, actual, desired client.Object) (bool, error) {
	if actual == nil {
		err := r.Client.Create(ctx, desired)
		return err == nil, client.IgnoreAlreadyExists(err)
	}
	updated := desired.DeepCopyObject().(client.Object)
	updated.SetUID(actual.GetUID())
	updated.SetResourceVersion(actual.GetResourceVersion())
	updated.SetAnnotations(actual.GetAnnotations())
	updated.SetFinalizers(actual.GetFinalizers())
	updated.SetLabels(labels.Merge(actual.GetLabels(), desired.GetLabels()))
	err := r.Client.Update(ctx, updated)
	if reconcilers.IsConflictOrNotFound(err) {
		return false, nil
	}
	return err == nil, err
}

// removeUnneeded deletes the managed objects that no baseline needs.
func (r *Reconciler) removeUnneeded(ctx context.Context, needed []policies.Needed, existing map[string]client.Object) []error {
	neededIDs := sets.New[string]()
	for _, object := range needed {
		neededIDs.Insert(admissionobjects.ID(object.Object))
	}
	var errs []error
	for id, object := range existing {
		isManaged := object.GetLabels()[v1alpha1.ManagedByLabel] == v1alpha1.ManagedByValue
		if neededIDs.Has(id) || !isManaged || !object.GetDeletionTimestamp().IsZero() {
			continue
		}
		delete(r.state.applied, id)
		if err := r.Client.Delete(ctx, object, kube.DeletePreconditions(object)); err != nil && !reconcilers.IsConflictOrNotFound(err) {
			errs = append(errs, fmt.Errorf("removing %s: %w", id, err))
		}
	}
	return errs
}
