package namespace

import (
	"cmp"
	"context"
	"strings"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/internal/handlers"
	"github.com/securitybaseline/operator/controllers/report"
)

const (
	// authorizerCacheDelay is how long the API server may take to apply a change of permissions.
	authorizerCacheDelay = time.Second
	// reportDelay is how long after a report was written its namespace is reconciled.
	reportDelay = 10 * time.Second
	// workloadDelay is how long after a workload changed the operator checks again which
	// running pods violate a level.
	workloadDelay = 5 * time.Second
)

// enqueueNamespaceOf enqueues a namespace that changed, or in which an object changed. A change
// that the operator made itself, and an object that existed before the operator started, have low
// priority.
func (r *Reconciler) enqueueNamespaceOf() handler.EventHandler {
	enqueue := func(queue handlers.Queue, object client.Object, isUrgent bool) {
		namespace := cmp.Or(object.GetNamespace(), object.GetName())
		r.state.firstEvents.Mark(namespace, r.Clock.Now())
		if isUrgent {
			queue.Add(handlers.RequestFor(namespace))
		} else {
			handlers.AddLowPriority(queue, handlers.RequestFor(namespace))
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, queue handlers.Queue) {
			isManaged := e.Object.GetLabels()[v1alpha1.BaselineLabel] != ""
			enqueue(queue, e.Object, !e.IsInInitialList && !isManaged)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue handlers.Queue) {
			// Only namespaces have managedFields in the cache. All other updates are urgent.
			isOwnWrite := lastWriteTime(e.ObjectNew).After(lastWriteTime(e.ObjectOld))
			enqueue(queue, e.ObjectNew, !isOwnWrite)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, queue handlers.Queue) { enqueue(queue, e.Object, true) },
	}
}

// lastWriteTime returns when the operator last wrote an object according to its managedFields. The
// time does not change when another field manager takes over a field.
func lastWriteTime(object client.Object) time.Time {
	var last time.Time
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == v1alpha1.FieldManager && entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

// enqueueNamespacesBinding enqueues the namespaces in which a ClusterRole is bound.
func (r *Reconciler) enqueueNamespacesBinding() handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, role client.Object) []reconcile.Request {
		var bindings rbacv1.RoleBindingList
		if err := r.Client.List(ctx, &bindings, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Failed to list RoleBindings from the cache")
			return nil
		}
		var requests []reconcile.Request
		for i := range bindings.Items {
			if ref := &bindings.Items[i].RoleRef; ref.Kind == "ClusterRole" && ref.Name == role.GetName() {
				requests = append(requests, handlers.RequestFor(bindings.Items[i].Namespace))
			}
		}
		return requests
	})
}

// enqueueFailedNamespaces enqueues the namespaces whose last evaluation failed, shortly after
// permissions changed: the operator may have received one that it lacked.
func (r *Reconciler) enqueueFailedNamespaces() handler.EventHandler {
	enqueue := func(queue handlers.Queue) {
		for _, namespace := range r.state.failed.list() {
			queue.AddAfter(handlers.RequestFor(namespace), authorizerCacheDelay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, queue handlers.Queue) { enqueue(queue) },
		UpdateFunc: func(_ context.Context, _ event.UpdateEvent, queue handlers.Queue) { enqueue(queue) },
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, queue handlers.Queue) { enqueue(queue) },
	}
}

// enqueueOnWorkloadChange enqueues the namespace of a workload some time after the workload
// changed, if its report says that running pods prevent a pod-security level. It remembers every
// change, because an evaluation that asked about pods before the change may write its report after
// it.
func (r *Reconciler) enqueueOnWorkloadChange() handler.EventHandler {
	enqueue := func(ctx context.Context, queue handlers.Queue, workload client.Object) {
		namespace := workload.GetNamespace()
		r.state.workloadChanges.mark(namespace, r.Clock.Now())
		current := &v1alpha1.BaselineReport{}
		if err := r.Client.Get(ctx, reportKey(namespace), current, client.UnsafeDisableDeepCopy); err != nil || !report.HasUnsettledPods(current.BaselineReportData) {
			return // not governed, or no pod prevents a level
		}
		queue.AddAfter(handlers.RequestFor(namespace), workloadDelay)
	}
	return handler.Funcs{
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue handlers.Queue) { enqueue(ctx, queue, e.ObjectNew) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, queue handlers.Queue) { enqueue(ctx, queue, e.Object) },
	}
}

// enqueueReportNamespaceDelayed enqueues the namespace of a report: immediately if the report was
// deleted, and after reportDelay if it was written, since another client may have written it.
// Without the delay, an evaluation whose report differs each time would never end.
func enqueueReportNamespaceDelayed() handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, queue handlers.Queue) {
			queue.AddAfter(handlers.RequestFor(e.ObjectNew.GetNamespace()), reportDelay)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, queue handlers.Queue) {
			queue.Add(handlers.RequestFor(e.Object.GetNamespace()))
		},
	}
}

// relevantEvents passes the events of a kind that can change an evaluation.
func relevantEvents(kind *controls.Kind) predicate.Predicate {
	hasRelevantName := predicate.NewPredicateFuncs(func(object client.Object) bool {
		return !kind.HasManagedNamesOnly || strings.HasPrefix(object.GetName(), v1alpha1.ObjectNamePrefix)
	})
	return predicate.And(hasRelevantName, predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return kind.IsChanged == nil || kind.IsChanged(e.ObjectOld, e.ObjectNew)
	}})
}
