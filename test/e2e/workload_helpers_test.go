package e2e

import (
	"maps"

	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// podsAndWorkloads returns a pod with a spec, and an object of each kind that creates such pods.
func podsAndWorkloads(namespace string, spec corev1.PodSpec) map[string]client.Object {
	objects := workloadsOf(namespace, spec)
	objects["Pod"] = newPod(namespace, spec)
	return objects
}

// workloadsOf returns an object of each kind that creates pods with a spec.
func workloadsOf(namespace string, spec corev1.PodSpec) map[string]client.Object {
	labels := map[string]string{"app": "made"}
	meta := func() metav1.ObjectMeta { return metav1.ObjectMeta{Namespace: namespace, GenerateName: "made-"} }
	template := corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: maps.Clone(labels)}, Spec: spec}
	selector := &metav1.LabelSelector{MatchLabels: labels}
	once := template.DeepCopy()
	once.Spec.RestartPolicy = corev1.RestartPolicyNever
	return map[string]client.Object{
		"Deployment":            &appsv1.Deployment{ObjectMeta: meta(), Spec: appsv1.DeploymentSpec{Selector: selector, Template: template}},
		"StatefulSet":           &appsv1.StatefulSet{ObjectMeta: meta(), Spec: appsv1.StatefulSetSpec{Selector: selector, Template: template}},
		"DaemonSet":             &appsv1.DaemonSet{ObjectMeta: meta(), Spec: appsv1.DaemonSetSpec{Selector: selector, Template: template}},
		"ReplicaSet":            &appsv1.ReplicaSet{ObjectMeta: meta(), Spec: appsv1.ReplicaSetSpec{Selector: selector, Template: template}},
		"ReplicationController": &corev1.ReplicationController{ObjectMeta: meta(), Spec: corev1.ReplicationControllerSpec{Selector: labels, Template: &template}},
		"Job":                   &batchv1.Job{ObjectMeta: meta(), Spec: batchv1.JobSpec{Template: *once}},
		"CronJob": &batchv1.CronJob{ObjectMeta: meta(), Spec: batchv1.CronJobSpec{
			Schedule: "0 0 1 1 *", JobTemplate: batchv1.JobTemplateSpec{Spec: batchv1.JobSpec{Template: *once}},
		}},
	}
}
