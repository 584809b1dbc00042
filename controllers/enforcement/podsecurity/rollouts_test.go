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
		{"all pods are of the present template", deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3, UpdatedReplicas: 3}), true},
		{"one is, and the others wait for it to be ready", deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 4, UpdatedReplicas: 1}), true},
		{"one pod is wanted where nothing is said", deployment(nil, appsv1.DeploymentStatus{ObservedGeneration: 2}), false},
		{"nothing is wanted, whether the controller has seen it or not", deployment(new(int32(0)), appsv1.DeploymentStatus{}), true},
		{"the controller has not seen it", deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 1, Replicas: 3, UpdatedReplicas: 3}), false},
		{"the status still counts the former pods", deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3}), false},
		{"none is while it is paused", paused(deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 3})), true},
		{"a pod is missing while it is paused", paused(deployment(new(int32(3)), appsv1.DeploymentStatus{ObservedGeneration: 2, Replicas: 2})), false},
		{"all pods of a StatefulSet", statefulSet(rolling, appsv1.StatefulSetStatus{Replicas: 3, UpdatedReplicas: 3}), true},
		{"one pod of a StatefulSet, which does not start", statefulSet(rolling, appsv1.StatefulSetStatus{Replicas: 3, UpdatedReplicas: 1}), true},
		{"no pod of a StatefulSet", statefulSet(rolling, appsv1.StatefulSetStatus{Replicas: 2}), false},
		{"no pod of a StatefulSet, as somebody decided", statefulSet(partition, appsv1.StatefulSetStatus{Replicas: 3}), true},
		{"a pod is missing all the same", statefulSet(partition, appsv1.StatefulSetStatus{Replicas: 2}), false},
		{"pods that somebody has yet to delete", statefulSet(onDelete, appsv1.StatefulSetStatus{Replicas: 3}), true},
		{"a pod on each node", daemonSet(appsv1.RollingUpdateDaemonSetStrategyType, appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, UpdatedNumberScheduled: 2}), true},
		{"no node", daemonSet(appsv1.RollingUpdateDaemonSetStrategyType, appsv1.DaemonSetStatus{}), true},
		{"nodes that the controller has not counted", &appsv1.DaemonSet{ObjectMeta: second, Status: appsv1.DaemonSetStatus{ObservedGeneration: 1}}, false},
		{"former pods on the nodes", daemonSet(appsv1.RollingUpdateDaemonSetStrategyType, appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, CurrentNumberScheduled: 2}), false},
		{"former pods that somebody has yet to delete", daemonSet(appsv1.OnDeleteDaemonSetStrategyType, appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, CurrentNumberScheduled: 2}), true},
		{"no pod on a node", daemonSet(appsv1.OnDeleteDaemonSetStrategyType, appsv1.DaemonSetStatus{DesiredNumberScheduled: 2, CurrentNumberScheduled: 1}), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := hasUpdatedPods(test.workload); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
