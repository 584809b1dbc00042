// Package handlers holds the event handlers and predicates of the controllers. The
// handlers of controller-runtime lower the priority only of objects that have not changed, and
// cannot delay requests so that many events lead to one reconcile. There is no upstream issue that
// asks for either.
package handlers

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/util/workqueue"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securitybaseline/operator/controllers/internal/metadata"
)

// Queue is the queue of a controller.
type Queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// RequestFor returns the request for a cluster-scoped object, such as a Namespace or a
// SecurityBaseline.
func RequestFor(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Name: name}}
}

// AddLowPriority enqueues requests behind those with normal priority.
func AddLowPriority(queue Queue, requests ...reconcile.Request) {
	if prioritized, ok := queue.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		prioritized.AddWithOpts(priorityqueue.AddOpts{Priority: new(handler.LowPriority)}, requests...)
		return
	}
	for _, request := range requests {
		queue.Add(request)
	}
}

// EnqueueNamespacesLowPriority returns a handler that enqueues every namespace on each event. The
// low priority lets the operator revert a user's change while ten thousand other namespaces
// converge.
func EnqueueNamespacesLowPriority(reader client.Reader) handler.EventHandler {
	enqueue := func(ctx context.Context, queue Queue) {
		AddLowPriority(queue, requestsForNamespaces(ctx, reader)...)
	}
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, _ event.CreateEvent, queue Queue) { enqueue(ctx, queue) },
		UpdateFunc:  func(ctx context.Context, _ event.UpdateEvent, queue Queue) { enqueue(ctx, queue) },
		DeleteFunc:  func(ctx context.Context, _ event.DeleteEvent, queue Queue) { enqueue(ctx, queue) },
		GenericFunc: func(ctx context.Context, _ event.GenericEvent, queue Queue) { enqueue(ctx, queue) },
	}
}

func requestsForNamespaces(ctx context.Context, reader client.Reader) []reconcile.Request {
	namespaces := metadata.NamespaceList()
	if err := reader.List(ctx, namespaces, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Failed to list namespaces from the cache")
		return nil
	}
	requests := make([]reconcile.Request, 0, len(namespaces.Items))
	for i := range namespaces.Items {
		requests = append(requests, RequestFor(namespaces.Items[i].Name))
	}
	return requests
}

// Debounce returns a handler that enqueues after a delay the objects whose names namesFor returns,
// so that many events within the delay lead to one reconcile. On an update it calls namesFor for
// the object before and after.
func Debounce(delay time.Duration, namesFor func(context.Context, client.Object) sets.Set[string]) handler.EventHandler {
	enqueue := func(ctx context.Context, queue Queue, objects ...client.Object) {
		names := sets.New[string]()
		for _, object := range objects {
			names = names.Union(namesFor(ctx, object))
		}
		for name := range names {
			queue.AddAfter(RequestFor(name), delay)
		}
	}
	return handler.Funcs{
		CreateFunc: func(ctx context.Context, e event.CreateEvent, queue Queue) { enqueue(ctx, queue, e.Object) },
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, queue Queue) {
			enqueue(ctx, queue, e.ObjectOld, e.ObjectNew)
		},
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, queue Queue) { enqueue(ctx, queue, e.Object) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, queue Queue) { enqueue(ctx, queue, e.Object) },
	}
}
