package enforcement

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// In the middle of a workload's rollout the pods that a level would reject may be gone
// and not have been made again: that none of them runs says nothing then.

// underway returns what is being rolled out in a namespace, as Kind/name; nothing if
// nothing is. Workloads are cached by their metadata, which does not tell, so the API
// server is asked where there are any.
func (r *run) underway(ctx context.Context) (string, error) {
	found := ""
	for _, workloads := range []client.ObjectList{&appsv1.DeploymentList{}, &appsv1.StatefulSetList{}, &appsv1.DaemonSetList{}} {
		known := &metav1.PartialObjectMetadataList{}
		known.SetGroupVersionKind(r.kind(workloads))
		if err := r.Client.List(ctx, known, client.InNamespace(r.namespace.Name), client.Limit(1), client.UnsafeDisableDeepCopy); err != nil {
			return "", fmt.Errorf("listing workloads: %w", err)
		}
		if len(known.Items) == 0 {
			continue
		}
		if err := r.Live.List(ctx, workloads, client.InNamespace(r.namespace.Name)); err != nil {
			return "", fmt.Errorf("reading workloads: %w", err)
		}
		err := meta.EachListItem(workloads, func(item runtime.Object) error {
			if workload := item.(client.Object); found == "" && workload.GetDeletionTimestamp() == nil && !seen(workload) {
				found = r.id(workload)
			}
			return nil
		})
		if found != "" || err != nil {
			return found, err
		}
	}
	return "", nil
}

// seen says whether the pods of a workload's present template are there to be looked at:
// one will do, ready or not, for they are alike. Where somebody decides which pods are
// made of it, so that there may be none, it says whether all pods have been made.
func seen(workload client.Object) bool {
	var observed int64
	var made, updated, wanted int32
	held := false
	switch w := workload.(type) {
	case *appsv1.Deployment:
		observed, made, updated, wanted = w.Status.ObservedGeneration, w.Status.Replicas, w.Status.UpdatedReplicas, ptr.Deref(w.Spec.Replicas, 1)
		held = w.Spec.Paused
	case *appsv1.StatefulSet:
		observed, made, updated, wanted = w.Status.ObservedGeneration, w.Status.Replicas, w.Status.UpdatedReplicas, ptr.Deref(w.Spec.Replicas, 1)
		update := w.Spec.UpdateStrategy
		held = update.Type == appsv1.OnDeleteStatefulSetStrategyType || update.RollingUpdate != nil && ptr.Deref(update.RollingUpdate.Partition, 0) > 0
	case *appsv1.DaemonSet:
		observed, made, updated, wanted = w.Status.ObservedGeneration, w.Status.CurrentNumberScheduled, w.Status.UpdatedNumberScheduled, w.Status.DesiredNumberScheduled
		held = w.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType
		if observed < workload.GetGeneration() {
			return false // how many it wants only its controller says
		}
	}
	if wanted == 0 {
		return true
	}
	return observed >= workload.GetGeneration() && (updated > 0 || held && made >= wanted)
}
