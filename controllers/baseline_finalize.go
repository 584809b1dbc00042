package controllers

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
	"github.com/securitybaseline/operator/controllers/report"
)

const (
	// removalPoll is how often a baseline that is being deleted looks whether
	// everything is gone.
	removalPoll = time.Second
	// removalTimeout is how long a baseline that is being deleted waits where
	// nobody reports that a removal failed.
	removalTimeout = 5 * time.Minute
	// evaluationsTimeout is how long it waits at a time for evaluations under way.
	evaluationsTimeout = 5 * time.Second
)

// finalize lets a baseline go when what it gave is handed over, removed or to be
// retained. It is never held up by a namespace that is going away, nor for long
// by one in which the removal fails: what is left there is left.
func (r *baselineReconciler) finalize(ctx context.Context, baseline *v1alpha1.SecurityBaseline) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(baseline, v1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	if baseline.Spec.DeletionPolicy != v1alpha1.DeletionRemove {
		return ctrl.Result{}, r.setFinalizer(ctx, baseline, false)
	}
	left, err := r.leftovers(ctx, baseline.Name)
	if err != nil {
		return ctrl.Result{}, err
	}
	overdue := r.now().Sub(baseline.DeletionTimestamp.Time) > removalTimeout
	if left.pending.Len() > 0 && !overdue {
		_, err := r.updateStatus(ctx, baseline, report.Removing(baseline, sets.List(left.pending), r.now()))
		return ctrl.Result{RequeueAfter: removalPoll}, err
	}
	if abandoned := left.pending.Union(left.refused); abandoned.Len() > 0 {
		log.FromContext(ctx).Info("What the baseline gave could not be removed everywhere and stays", "namespaces", sets.List(abandoned))
	}
	return ctrl.Result{}, r.setFinalizer(ctx, baseline, false)
}

// leftovers are the names of the namespaces in which something is that a
// baseline gave.
type leftovers struct {
	// pending ones are still to be cleared.
	pending sets.Set[string]
	// refused ones will not be: the report says that the removal failed.
	refused sets.Set[string]
}

func (r *baselineReconciler) leftovers(ctx context.Context, baseline string) (leftovers, error) {
	left, err := r.leftoversIn(ctx, r.client, baseline)
	if err != nil || left.pending.Len() > 0 {
		return left, err
	}
	// The cache may be behind, and evaluations under way that began before the
	// baseline was deleted. Those that begin from now on see that it was.
	waiting, cancel := context.WithTimeout(ctx, evaluationsTimeout)
	defer cancel()
	if err := r.evaluations.Wait(waiting); err != nil {
		return left, fmt.Errorf("waiting for evaluations under way: %w", err)
	}
	return r.leftoversIn(ctx, r.live, baseline)
}

func (r *baselineReconciler) leftoversIn(ctx context.Context, reader client.Reader, baseline string) (leftovers, error) {
	left := leftovers{pending: sets.New[string](), refused: sets.New[string]()}
	namespaces, err := enforcement.GivenIn(ctx, reader, baseline)
	if err != nil {
		return left, err
	}
	for name, given := range namespaces {
		namespace, ledger := namespaceMetadata(), &v1alpha1.BaselineReport{}
		if err := r.client.Get(ctx, client.ObjectKey{Name: name}, namespace); client.IgnoreNotFound(err) != nil {
			return left, err
		}
		if namespace.UID == "" || !namespace.DeletionTimestamp.IsZero() {
			continue // gone or going, and all that is in it
		}
		if err := r.client.Get(ctx, reportKey(name), ledger); client.IgnoreNotFound(err) != nil {
			return left, err
		}
		if removalRefused(ledger, baseline, given) {
			left.refused.Insert(name)
		} else {
			left.pending.Insert(name)
		}
	}
	return left, nil
}

// removalRefused says whether a report, written since the baseline governs
// nothing any more, says of every control of which it left something that this
// cannot be removed.
func removalRefused(ledger *v1alpha1.BaselineReport, baseline string, given sets.Set[v1alpha1.ControlName]) bool {
	if ledger.HasObserved(baseline) {
		return false
	}
	for name := range given {
		control := report.FindGoverning(ledger.BaselineReportData, name)
		if control == nil || control.State != v1alpha1.StateFailed && control.State != v1alpha1.StateConflict {
			return false
		}
	}
	return true
}
