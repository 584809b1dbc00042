package handlers

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
)

// fakePriorityQueue holds the priority of each request.
type fakePriorityQueue struct {
	priorityqueue.PriorityQueue[reconcile.Request]
	priorities map[string]int
}

func (q fakePriorityQueue) AddWithOpts(options priorityqueue.AddOpts, requests ...reconcile.Request) {
	for _, request := range requests {
		q.priorities[request.Name] = *options.Priority
	}
}

// delayedQueue holds the delay of each request.
type delayedQueue struct {
	Queue
	delays map[string]time.Duration
}

func (q delayedQueue) AddAfter(request reconcile.Request, delay time.Duration) {
	q.delays[request.Name] = delay
}

func TestAddLowPriority_UsesThePriorityQueue(t *testing.T) {
	queue := fakePriorityQueue{priorities: map[string]int{}}
	AddLowPriority(queue, RequestFor("a"), RequestFor("b"))
	if diff := cmp.Diff(map[string]int{"a": handler.LowPriority, "b": handler.LowPriority}, queue.priorities); diff != "" {
		t.Errorf("priorities (-want +got):\n%s", diff)
	}
}

func TestDebounce_DelaysTheNamesBeforeAndAfterAnUpdate(t *testing.T) {
	queue := delayedQueue{delays: map[string]time.Duration{}}
	debounce := Debounce(time.Second, func(_ context.Context, object client.Object) sets.Set[string] {
		return sets.New(object.GetName())
	})
	role := func(name string) *rbacv1.Role { return &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Name: name}} }
	debounce.Update(t.Context(), event.UpdateEvent{ObjectOld: role("before"), ObjectNew: role("after")}, queue)
	if diff := cmp.Diff(map[string]time.Duration{"before": time.Second, "after": time.Second}, queue.delays); diff != "" {
		t.Errorf("delays (-want +got):\n%s", diff)
	}
}

func TestRulesChanged_IgnoresOtherUpdates(t *testing.T) {
	before := &rbacv1.Role{Rules: []rbacv1.PolicyRule{{Verbs: []string{"get"}}}}
	labeled := before.DeepCopy()
	labeled.Labels = map[string]string{"a": "b"}
	extended := before.DeepCopy()
	extended.Rules[0].Verbs = append(extended.Rules[0].Verbs, "list")
	if RulesChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: labeled}) {
		t.Error("update of labels: got true, want false")
	}
	if !RulesChanged().Update(event.UpdateEvent{ObjectOld: before, ObjectNew: extended}) {
		t.Error("update of rules: got false, want true")
	}
}
