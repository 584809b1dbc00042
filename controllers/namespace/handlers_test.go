package namespace

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	clocktesting "k8s.io/utils/clock/testing"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/handlers"
	"github.com/securitybaseline/operator/controllers/internal/metadata"
)

// A namespace is urgent if another field manager takes over one of the operator's labels. The
// operator's entry in managedFields changes then, but gets no later time.
func TestLastWriteTime_ChangesOnlyWithOwnWrites(t *testing.T) {
	at := func(second int64) *metav1.Time { return new(metav1.NewTime(time.Unix(second, 0))) }
	lastWrite := func(entries ...metav1.ManagedFieldsEntry) time.Time {
		namespace := metadata.Namespace()
		namespace.ManagedFields = entries
		return lastWriteTime(namespace)
	}
	own := metav1.ManagedFieldsEntry{Manager: v1alpha1.FieldManager, Time: at(1), FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{}}`)}
	before := lastWrite(own)

	reduced := own
	reduced.FieldsV1 = metav1.NewFieldsV1("{}")
	if got := lastWrite(reduced, metav1.ManagedFieldsEntry{Manager: "kubectl-label", Time: at(9)}); got.After(before) {
		t.Errorf("after a takeover: got %s, want no later than %s", got, before)
	}
	rewritten := own
	rewritten.Time = at(2)
	if got := lastWrite(rewritten); !got.After(before) {
		t.Errorf("after an own write: got %s, want later than %s", got, before)
	}
	if got := lastWrite(); !before.After(got) {
		t.Errorf("without an own write: got %s, want earlier than %s", got, before)
	}
}

// delayedQueue holds the delay of each request.
type delayedQueue struct {
	handlers.Queue
	delays map[string]time.Duration
}

func (q delayedQueue) AddAfter(request reconcile.Request, delay time.Duration) {
	q.delays[request.Name] = delay
}

func TestEnqueueFailedNamespaces_OnChangeOfPermissions(t *testing.T) {
	reconciler := &Reconciler{}
	for _, namespace := range []string{"a", "b", "c"} {
		reconciler.state.failed.insert(namespace)
	}
	reconciler.state.failed.remove("b")
	handler := reconciler.enqueueFailedNamespaces()
	for change, send := range map[string]func(handlers.Queue){
		"created": func(q handlers.Queue) { handler.Create(t.Context(), event.CreateEvent{}, q) },
		"updated": func(q handlers.Queue) { handler.Update(t.Context(), event.UpdateEvent{}, q) },
		"deleted": func(q handlers.Queue) { handler.Delete(t.Context(), event.DeleteEvent{}, q) },
	} {
		queue := delayedQueue{delays: map[string]time.Duration{}}
		send(queue)
		if diff := cmp.Diff(map[string]time.Duration{"a": authorizerCacheDelay, "c": authorizerCacheDelay}, queue.delays); diff != "" {
			t.Errorf("after a ClusterRole is %s (-want +got):\n%s", change, diff)
		}
	}
}

// noReports is a cache without reports.
type noReports struct{ client.Client }

func (noReports) Get(context.Context, client.ObjectKey, client.Object, ...client.GetOption) error {
	return apierrors.NewNotFound(v1alpha1.GroupVersion.WithResource("baselinereports").GroupResource(), v1alpha1.ReportName)
}

// An evaluation that asked about pods before they were deleted, and writes its report after that,
// must soon be followed by another one.
func TestEnqueueOnWorkloadChange_RemembersChangesWithoutReport(t *testing.T) {
	reconciler := &Reconciler{Options: Options{Client: noReports{}, Clock: clocktesting.NewFakePassiveClock(now)}}
	queue := delayedQueue{delays: map[string]time.Duration{}}
	deployment := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: "n"}}
	reconciler.enqueueOnWorkloadChange().Update(t.Context(), event.UpdateEvent{ObjectNew: deployment}, queue)
	if len(queue.delays) > 0 {
		t.Errorf("without a report: enqueued %v, want none", queue.delays)
	}
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n"}}
	result := Result{Namespace: namespace, Outcomes: []evaluation.Outcome{{HasUnsettledPods: true}}}
	if got := reconciler.nextRequeue(result, v1alpha1.BaselineReportData{}, now); got < firstPodCheck || got > 2*firstPodCheck {
		t.Errorf("after the change: nextRequeue() = %s, want %s to %s", got, firstPodCheck, 2*firstPodCheck)
	}
}
