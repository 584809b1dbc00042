package baseline

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/internal/metadata"
	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
	"github.com/securitybaseline/operator/controllers/report"
)

const (
	// removalPoll is how often a baseline that is being deleted checks whether its managed objects
	// are removed.
	removalPoll = time.Second
	// removalTimeout is how long a baseline that is being deleted waits for a namespace whose
	// report does not say that the removal failed.
	removalTimeout = 5 * time.Minute
	// inFlightTimeout is how long one reconcile waits for running reconciles of namespaces.
	inFlightTimeout = 5 * time.Second
)

// finalize removes the finalizer once all managed objects are removed, retained or taken over by
// another baseline. It skips namespaces that are being deleted, and abandons objects whose removal
// failed.
func (r *Reconciler) finalize(ctx context.Context, baseline *v1alpha1.SecurityBaseline) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(baseline, v1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	if baseline.Spec.DeletionPolicy != v1alpha1.DeletionRemove {
		return ctrl.Result{}, r.setFinalizer(ctx, baseline, false)
	}
	remaining, err := r.findRemaining(ctx, baseline.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	isOverdue := r.Clock.Now().Sub(baseline.DeletionTimestamp.Time) > removalTimeout
	if remaining.pending.Len() > 0 && !isOverdue {
		_, err := r.updateStatus(ctx, baseline, report.RemovalStatus(baseline, sets.List(remaining.pending), r.Clock.Now()))
		return ctrl.Result{RequeueAfter: removalPoll}, err
	}
	if abandoned := remaining.pending.Union(remaining.failed); abandoned.Len() > 0 {
		log.FromContext(ctx).Info("Failed to remove all managed objects, leaving them in place", "namespaces", sets.List(abandoned))
	}
	return ctrl.Result{}, r.setFinalizer(ctx, baseline, false)
}

// remainingNamespaces are the namespaces that still have objects or labels managed by a baseline.
type remainingNamespaces struct {
	// pending namespaces are still being cleaned up.
	pending sets.Set[string]
	// failed namespaces have a report that says that the removal failed.
	failed sets.Set[string]
}

// findRemaining looks in the cache and, if nothing is pending there, in the API server.
func (r *Reconciler) findRemaining(ctx context.Context, baseline string) (remainingNamespaces, error) {
	remaining, err := r.findRemainingIn(ctx, r.Client, baseline)
	if err != nil || remaining.pending.Len() > 0 {
		return remaining, err
	}
	// The cache may be stale, and reconciles that started before the baseline was deleted may still
	// write. Reconciles that start from now on see the deletion.
	waitCtx, cancel := context.WithTimeout(ctx, inFlightTimeout)
	defer cancel()
	if err := r.InFlight.Wait(waitCtx); err != nil {
		return remaining, fmt.Errorf("waiting for running reconciles of namespaces: %w", err)
	}
	return r.findRemainingIn(ctx, r.Live, baseline)
}

func (r *Reconciler) findRemainingIn(ctx context.Context, reader client.Reader, baseline string) (remainingNamespaces, error) {
	remaining := remainingNamespaces{pending: sets.New[string](), failed: sets.New[string]()}
	managed, err := enforcement.ListManaged(ctx, reader, baseline)
	if err != nil {
		return remaining, err
	}
	for name, managedControls := range managed {
		namespace := metadata.Namespace()
		if err := r.Client.Get(ctx, client.ObjectKey{Name: name}, namespace); client.IgnoreNotFound(err) != nil {
			return remaining, err
		}
		if namespace.UID == "" || !namespace.DeletionTimestamp.IsZero() {
			continue // its objects are deleted with it
		}
		current := &v1alpha1.BaselineReport{}
		if err := r.Client.Get(ctx, client.ObjectKey{Namespace: name, Name: v1alpha1.ReportName}, current); client.IgnoreNotFound(err) != nil {
			return remaining, err
		}
		if hasRemovalFailed(current, baseline, managedControls) {
			remaining.failed.Insert(name)
		} else {
			remaining.pending.Insert(name)
		}
	}
	return remaining, nil
}

// hasRemovalFailed reports whether a report, written after the baseline stopped governing, says for
// each of the controls that its objects cannot be removed.
func hasRemovalFailed(current *v1alpha1.BaselineReport, baseline string, managedControls sets.Set[v1alpha1.ControlName]) bool {
	if current.HasObserved(baseline) {
		return false
	}
	for name := range managedControls {
		control := report.FindGoverning(current.BaselineReportData, name)
		if control == nil || control.State != v1alpha1.StateFailed && control.State != v1alpha1.StateConflict {
			return false
		}
	}
	return true
}

// setFinalizer adds or removes the operator's finalizer.
func (r *Reconciler) setFinalizer(ctx context.Context, baseline *v1alpha1.SecurityBaseline, shouldHave bool) error {
	if controllerutil.ContainsFinalizer(baseline, v1alpha1.Finalizer) == shouldHave {
		return nil
	}
	before := baseline.DeepCopy()
	if shouldHave {
		controllerutil.AddFinalizer(baseline, v1alpha1.Finalizer)
	} else {
		controllerutil.RemoveFinalizer(baseline, v1alpha1.Finalizer)
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.Client.Patch(ctx, baseline, patch); err != nil && !reconcilers.IsConflictOrNotFound(err) {
		return fmt.Errorf("updating the finalizer: %w", err)
	}
	return nil
}
