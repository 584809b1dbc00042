// Package reconcilers holds what all reconcilers of the operator have in common: their controller
// options, their timeout, and when they run again. It is needed because controller-runtime ignores
// RequeueAfter if a reconcile returns an error. That is intended, so no upstream issue would end
// it.
package reconcilers

import (
	"context"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

const (
	// Timeout is how long a reconcile may take. An API server that does not answer must not occupy
	// a worker longer than that.
	Timeout = 2 * time.Minute
	// firstRetry and lastRetry bound the delay before a reconcile that returned an error is
	// retried.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// Options returns the options of a controller with that many workers.
func Options(workers int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		ReconciliationTimeout:   Timeout,
		// A standby fills its caches before it is elected.
		EnableWarmup: new(true),
	}
}

// RequeueAfter returns the result of a reconcile that runs again after a delay, or only on the next
// event if the delay is zero. If the delay is at most lastRetry, it only logs err, because
// controller-runtime ignores the delay if an error is returned.
func RequeueAfter(ctx context.Context, delay time.Duration, err error) (ctrl.Result, error) {
	if err != nil {
		if delay == 0 || delay > lastRetry {
			return ctrl.Result{}, err
		}
		ctrl.LoggerFrom(ctx).Error(err, "Reconcile failed, retrying")
	}
	return ctrl.Result{RequeueAfter: delay}, nil
}

// DurationUntil returns the time from now until when: zero if when is zero, and at least a
// millisecond otherwise.
func DurationUntil(when, now time.Time) time.Duration {
	if when.IsZero() {
		return 0
	}
	return max(when.Sub(now), time.Millisecond)
}

// IsConflictOrNotFound reports whether a write failed because the object has changed or is gone.
// The event about that leads to the next reconcile.
func IsConflictOrNotFound(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsNotFound(err)
}

// IsStaleWrite reports whether a create, an update or a delete failed because the cache was stale.
func IsStaleWrite(err error) bool {
	return IsConflictOrNotFound(err) || apierrors.IsAlreadyExists(err)
}
