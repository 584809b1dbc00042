package podsecurity

import (
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

func TestHasUpdatedPods(t *testing.T) {
	second := metav1.ObjectMeta{Generation: 2}
	deployment := func(replicas *int32, status appsv1.DeploymentStatus) client.Object {
		return &appsv1.Deployment{ObjectMeta: second, Spec: appsv1.DeploymentSpec{Replicas: replicas}, Status: status}
	}
	paused := func(workload client.Object) client.Object {
		workload.(*appsv1.Deployment).Spec.Paused = true
		return workload
	}
	statefulSet := func(update appsv1.StatefulSetUpdateStrategy, status appsv1.StatefulSetStatus) client.Object {
		status.ObservedGeneration = 2
		return &appsv1.StatefulSet{ObjectMeta: second, Spec: appsv1.StatefulSetSpec{Replicas: new(int32(3)), UpdateStrategy: update}, Status: status}
	}
	daemonSet := func(update appsv1.DaemonSetUpdateStrategyType, status appsv1.DaemonSetStatus) client.Object {
		status.ObservedGeneration = 2
		return &appsv1.DaemonSet{ObjectMeta: second, Spec: appsv1.DaemonSetSpec{UpdateStrategy: appsv1.DaemonSetUpdateStrategy{Type: update}}, Status: status}
	}
	rolling := appsv1.StatefulSetUpdateStrategy{Type: appsv1.RollingUpdateStatefulSetStrategyType}
	partition := rolling
	partition.RollingUpdate = &appsv1.RollingUpdateStatefulSetStrategy{Partition: new(int32(2))}
	onDelete := appsv1.StatefulSetUpdateStrategy{Type: appsv1.OnDeleteStatefulSetStrategyType}
	for _, test := range []struct {
		name     string
		workload client.Object
		want     bool
	}{
		{"all pods have the current template", deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3}), true},
		{"one pod has the current template", deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 4, UpdatedReplicas: 1}), true},
		{"one pod is expected by default", deployment(nil, appsv1.DeploymentStatus{ObservedGeneration: 2}), false},
		{"no pod is expected", deployment(new(int32(0)), appsv1.DeploymentStatus{}), true},
		{"controller has not observed the change", deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 3, UpdatedReplicas: 3}), false},
		{"status counts only former pods", deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3}), false},
		{"no updated pod of a paused Deployment", paused(deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3})), true},
		{"missing pod of a paused Deployment", paused(deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2})), false},
		{"all pods of a StatefulSet", statefulSet(rolling, appsv1.StatefulSetStatus{Replicas: 3, UpdatedReplicas: 3}), true},
		{"one pod of a StatefulSet that does not start", statefulSet(rolling, appsv1.StatefulSetStatus{Replicas: 3, UpdatedReplicas: 1}), true},
		{"no pod of a StatefulSet", statefulSet(rolling, appsv1.StatefulSetStatus{Replicas: 2}), false},
		{"no pod of a StatefulSet with a partition", statefulSet(partition, appsv1.StatefulSetStatus{Replicas: 3}), true},
		{"missing pod of a StatefulSet with a partition", statefulSet(partition, appsv1.StatefulSetStatus{Replicas: 2}), false},
		{"pods of a StatefulSet with OnDelete", statefulSet(onDelete, appsv1.StatefulSetStatus{Replicas: 3}), true},
		{"one pod on each node", daemonSet(appsv1.RollingUpdateDaemonSetStrategyType, appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, UpdatedNumberScheduled: 2}), true},
		{"DaemonSet without nodes", daemonSet(appsv1.RollingUpdateDaemonSetStrategyType, appsv1.DaemonSetStatus{}), true},
		{"controller has not counted the nodes", &appsv1.DaemonSet{ObjectMeta: second, Status: appsv1.DaemonSetStatus{ObservedGeneration: 1}}, false},
		{"former pods of a DaemonSet", daemonSet(appsv1.RollingUpdateDaemonSetStrategyType, appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, CurrentNumberScheduled: 2}), false},
		{"former pods of a DaemonSet with OnDelete", daemonSet(appsv1.OnDeleteDaemonSetStrategyType, appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, CurrentNumberScheduled: 2}), true},
		{"missing pod of a DaemonSet with OnDelete", daemonSet(appsv1.OnDeleteDaemonSetStrategyType, appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, CurrentNumberScheduled: 1}), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := hasUpdatedPods(test.workload); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
