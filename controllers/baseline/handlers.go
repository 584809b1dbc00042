package baseline

import (
	"context"

	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/handlers"
)

// enqueueReportedBaselines enqueues the baselines that a report names.
func enqueueReportedBaselines() handler.EventHandler {
	return handlers.Debounce(statusDelay, func(_ context.Context, object client.Object) sets.Set[string] {
		names := sets.New[string]()
		current := object.(*v1alpha1.BaselineReport)
		for _, observed := range current.ObservedBaselines {
			names.Insert(observed.Name)
		}
		for i := range current.Controls {
			names.Insert(current.Controls[i].Baseline)
		}
		return names
	})
}

// enqueueOwningBaseline enqueues the baseline that an object's label names.
func enqueueOwningBaseline() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(_ context.Context, object client.Object) []reconcile.Request {
		return []reconcile.Request{handlers.RequestFor(object.GetLabels()[v1alpha1.BaselineLabel])}
	})
}

// baselineLabelPredicate passes the objects whose label names a baseline.
func baselineLabelPredicate() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(object client.Object) bool { return object.GetLabels()[v1alpha1.BaselineLabel] != "" })
}

// baselineNamesMatching returns the names of all baselines whose spec matches.
func (r *Reconciler) baselineNamesMatching(ctx context.Context, matches func(*v1alpha1.SecurityBaselineSpec) bool) sets.Set[string] {
	var baselines v1alpha1.SecurityBaselineList
	if err := r.Client.List(ctx, &baselines, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list SecurityBaselines from the cache")
		return nil
	}
	names := sets.New[string]()
	for i := range baselines.Items {
		if matches(&baselines.Items[i].Spec) {
			names.Insert(baselines.Items[i].Name)
		}
	}
	return names
}
