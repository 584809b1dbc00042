package e2e

import (
	"context"
	"fmt"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/test/testutil"
)

// The pods in this file meet a level and none above it. They stay pending, because the cluster has
// no nodes; Pod Security admission evaluates them nevertheless.

func privilegedPod() corev1.PodSpec {
	spec := baselinePod()
	spec.HostNetwork = true
	spec.Containers[0].SecurityContext = &corev1.SecurityContext{Privileged: new(true)}
	return spec
}

func baselinePod() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "example.com/app"}}}
}

func restrictedPod() corev1.PodSpec {
	spec := baselinePod()
	spec.Containers[0].SecurityContext = &corev1.SecurityContext{
		AllowPrivilegeEscalation: new(false),
		RunAsNonRoot:             new(true),
		Capabilities:             &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
		SeccompProfile:           &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
	}
	return spec
}

// createDeployment creates a Deployment of three pods and waits until they exist.
func createDeployment(t *testing.T, namespace string, pod corev1.PodSpec) *appsv1.Deployment {
	t.Helper()
	labels := map[string]string{"app": "web"}
	deployment := &appsv1.Deployment{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "web"},
		Spec: appsv1.DeploymentSpec{
			Replicas: ptr.To[int32](3),
			Selector: &metav1.LabelSelector{MatchLabels: labels},
			// The old pods are deleted before the new ones are created.
			Strategy: appsv1.DeploymentStrategy{Type: appsv1.RecreateDeploymentStrategyType},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: labels}, Spec: pod},
		},
	}
	testutil.Must(t, env.Admin.Create(t.Context(), deployment))
	testutil.WaitFor(t, func(ctx context.Context) error {
		var pods corev1.PodList
		if err := env.Admin.List(ctx, &pods, client.InNamespace(namespace)); err != nil {
			return err
		}
		if len(pods.Items) != 3 {
			return fmt.Errorf("pods: got %d, want 3", len(pods.Items))
		}
		return nil
	})
	return deployment
}

// updatePodSpec changes the pods of a Deployment.
func updatePodSpec(t *testing.T, deployment *appsv1.Deployment, pod corev1.PodSpec) {
	t.Helper()
	update(t, deployment, func(d *appsv1.Deployment) { d.Spec.Template.Spec = pod })
}
