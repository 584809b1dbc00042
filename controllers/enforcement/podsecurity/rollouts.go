package podsecurity

import (
	"context"
	"fmt"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/controllers/internal/metadata"
)

// rolloutInProgress returns a workload of a namespace that is being rolled out, as
// Kind/name, or an empty string. During a rollout, the pods that a level rejects can be gone
// while their successors do not exist yet. A level that looks clean then may not be. The cache
// has only the metadata of workloads, so the operator reads those of the namespace from the
// API server, if there are any.
func (c *Checker) rolloutInProgress(ctx context.Context, namespace string) (string, error) {
	for _, workload := range metadata.Workloads() {
		kind := workload.GroupVersionKind()
		listKind := kind.GroupVersion().WithKind(kind.Kind + "List")
		known := &metav1.PartialObjectMetadataList{}
		known.SetGroupVersionKind(listKind)
		if err := c.Client.List(ctx, known, client.InNamespace(namespace), client.Limit(1), client.UnsafeDisableDeepCopy); err != nil {
			return "", fmt.Errorf("listing workloads: %w", err)
		}
		if len(known.Items) == 0 {
			continue
		}
		empty, err := c.Client.Scheme().New(listKind)
		if err != nil {
			return "", fmt.Errorf("reading workloads: %w", err)
		}
		workloads := empty.(client.ObjectList)
		if err := c.Live.List(ctx, workloads, client.InNamespace(namespace)); err != nil {
			return "", fmt.Errorf("reading workloads: %w", err)
		}
		found := ""
		err = meta.EachListItem(workloads, func(item runtime.Object) error {
			if workload := item.(client.Object); found == "" && workload.GetDeletionTimestamp() == nil && !hasUpdatedPods(workload) {
				found = kind.Kind + "/" + workload.GetName()
			}
			return nil
		})
		if found != "" || err != nil {
			return found, err
		}
	}
	return "", nil
}

// hasUpdatedPods reports whether at least one pod of a workload's current template exists,
// ready or not: pods of one template are alike. Where a person decides which pods are
// created from the template, so that there may be none, it reports whether all pods exist.
func hasUpdatedPods(workload client.Object) bool {
	var progress rolloutProgress
	switch w := workload.(type) {
	case *appsv1.Deployment:
		progress = deploymentProgress(w)
	case *appsv1.StatefulSet:
		progress = statefulSetProgress(w)
	case *appsv1.DaemonSet:
		if w.Status.ObservedGeneration < w.Generation {
			return false // only its controller knows how many pods it needs
		}
		progress = daemonSetProgress(w)
	}
	if progress.desired == 0 {
		return true
	}
	return progress.observedGeneration >= workload.GetGeneration() &&
		(progress.updated > 0 || progress.isManual && progress.current >= progress.desired)
}

// rolloutProgress is how far the rollout of a workload is.
type rolloutProgress struct {
	observedGeneration        int64
	current, updated, desired int32
	// isManual reports whether pods of the current template are only created when a
	// person acts.
	isManual bool
}

func deploymentProgress(w *appsv1.Deployment) rolloutProgress {
	return rolloutProgress{
		observedGeneration: w.Status.ObservedGeneration, current: w.Status.Replicas, updated: w.Status.UpdatedReplicas,
		desired: ptr.Deref(w.Spec.Replicas, 1), isManual: w.Spec.Paused,
	}
}

func statefulSetProgress(w *appsv1.StatefulSet) rolloutProgress {
	update := w.Spec.UpdateStrategy
	return rolloutProgress{
		observedGeneration: w.Status.ObservedGeneration, current: w.Status.Replicas, updated: w.Status.UpdatedReplicas,
		desired: ptr.Deref(w.Spec.Replicas, 1),
		isManual: update.Type == appsv1.OnDeleteStatefulSetStrategyType ||
			update.RollingUpdate != nil && ptr.Deref(update.RollingUpdate.Partition, 0) > 0,
	}
}

func daemonSetProgress(w *appsv1.DaemonSet) rolloutProgress {
	return rolloutProgress{
		observedGeneration: w.Status.ObservedGeneration, current: w.Status.CurrentNumberScheduled,
		updated: w.Status.UpdatedNumberScheduled, desired: w.Status.DesiredNumberScheduled,
		isManual: w.Spec.UpdateStrategy.Type == appsv1.OnDeleteDaemonSetStrategyType,
	}
}
