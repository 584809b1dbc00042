package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// TestImages_CheckedInEveryContainerAndTemplate checks pods and the kinds that create pods.
// Existing objects can still be changed otherwise.
func TestImages_CheckedInEveryContainerAndTemplate(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	env.WaitForServiceAccount(t, namespace.Name)
	before := createDeployment(t, namespace.Name, corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: "evil.io/before"}}})
	old := newPodWithImage(namespace.Name, "evil.io/before")
	testutil.Must(t, env.Admin.Create(t.Context(), old))
	older := newPodWithImage(namespace.Name, "evil.io/before")
	testutil.Must(t, env.Admin.Create(t.Context(), older))
	baseline := env.NewBaseline(t, "registries", v1alpha1.SecurityBaselineSpec{Images: &v1alpha1.Images{AllowedRegistries: []string{"registry.example.com"}}})
	env.WaitForReady(t, baseline)

	const (
		good = "registry.example.com/a"
		bad  = "evil.io/a"
	)
	waitForForbidden(t, func(ctx context.Context) error {
		return dryRunCreate(ctx, env.Admin, newPodWithImage(namespace.Name, bad))
	})
	container := func(name, image string) corev1.Container { return corev1.Container{Name: name, Image: image} }
	for name, pod := range map[string]corev1.PodSpec{
		"main": {Containers: []corev1.Container{container("good", good), container("main", bad)}},
		"init": {Containers: []corev1.Container{container("good", good)}, InitContainers: []corev1.Container{container("fine", good), container("init", bad)}},
		"sidecar": {Containers: []corev1.Container{container("good", good)}, InitContainers: []corev1.Container{
			{Name: "sidecar", Image: bad, RestartPolicy: ptr.To(corev1.ContainerRestartPolicyAlways)},
		}},
	} {
		for kind, object := range podsAndWorkloads(namespace.Name, pod) {
			t.Run(name+" of a "+kind, func(t *testing.T) {
				testutil.Must(t, testutil.CheckForbidden(dryRunCreate(t.Context(), env.Admin, object), "container "+name+": image "+bad))
			})
		}
	}
	for kind, object := range podsAndWorkloads(namespace.Name, corev1.PodSpec{Containers: []corev1.Container{container("good", good)}}) {
		t.Run("an allowed "+kind, func(t *testing.T) { testutil.Must(t, dryRunCreate(t.Context(), env.Admin, object)) })
	}

	t.Run("an ephemeral container", func(t *testing.T) {
		pod := newPodWithImage(namespace.Name, good)
		testutil.Must(t, env.Admin.Create(t.Context(), pod))
		debug := func(image string) error {
			debugged := pod.DeepCopy()
			debugged.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "debug", Image: image, TerminationMessagePolicy: corev1.TerminationMessageReadFile, ImagePullPolicy: corev1.PullAlways,
			}}}
			return env.Admin.SubResource("ephemeralcontainers").Update(t.Context(), debugged)
		}
		testutil.Must(t, testutil.CheckForbidden(debug(bad), "container debug: image "+bad))
		testutil.Must(t, debug(good))
	})
	t.Run("a volume that is an image", func(t *testing.T) {
		for image, want := range map[string]string{bad: "volume data: image " + bad, good: ""} {
			pod := corev1.PodSpec{Containers: []corev1.Container{container("good", good)}, Volumes: []corev1.Volume{{
				Name: "data", VolumeSource: corev1.VolumeSource{Image: &corev1.ImageVolumeSource{Reference: image}},
			}}}
			for kind, object := range podsAndWorkloads(namespace.Name, pod) {
				err := dryRunCreate(t.Context(), env.Admin, object)
				if want != "" {
					err = testutil.CheckForbidden(err, want)
				}
				if err != nil {
					t.Errorf("%s of a %s: %v", image, kind, err)
				}
			}
		}
	})
	t.Run("existing objects can be scaled and labeled", func(t *testing.T) {
		update(t, before, func(d *appsv1.Deployment) { d.Spec.Replicas = ptr.To[int32](2) })
		update(t, old, func(p *corev1.Pod) { metav1.SetMetaDataLabel(&p.ObjectMeta, "a", "b") })
		update(t, old, func(p *corev1.Pod) { p.Spec.ActiveDeadlineSeconds = ptr.To[int64](3600) })
		renamed := old.DeepCopy()
		renamed.Spec.Containers[0].Image = "evil.io/after"
		testutil.Must(t, testutil.CheckForbidden(env.Admin.Update(t.Context(), renamed), "container app: image evil.io/after"))
		testutil.Must(t, env.Admin.Delete(t.Context(), old))
	})
	t.Run("existing pods can be debugged with an allowed image", func(t *testing.T) {
		for image, want := range map[string]string{good: "", bad: "container debug: image " + bad} {
			debugged := older.DeepCopy()
			debugged.Spec.EphemeralContainers = []corev1.EphemeralContainer{{EphemeralContainerCommon: corev1.EphemeralContainerCommon{
				Name: "debug", Image: image, TerminationMessagePolicy: corev1.TerminationMessageReadFile, ImagePullPolicy: corev1.PullAlways,
			}}}
			err := env.Admin.SubResource("ephemeralcontainers").Update(t.Context(), debugged, &client.SubResourceUpdateOptions{UpdateOptions: client.UpdateOptions{DryRun: []string{"All"}}})
			if want != "" {
				err = testutil.CheckForbidden(err, want)
			}
			testutil.Must(t, err)
		}
	})
	t.Run("restarting an existing Deployment is denied", func(t *testing.T) {
		waitForForbidden(t, func(ctx context.Context) error {
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(before), before); err != nil {
				return err
			}
			metav1.SetMetaDataAnnotation(&before.Spec.Template.ObjectMeta, "kubectl.kubernetes.io/restartedAt", "now")
			return env.Admin.Update(ctx, before)
		}, "container app: image evil.io/before")
	})
	t.Run("100 containers and 64 registries", func(t *testing.T) {
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Images.AllowedRegistries = []string{"registry.example.com"}
			for i := range 63 {
				b.Spec.Images.AllowedRegistries = append(b.Spec.Images.AllowedRegistries, fmt.Sprintf("registry-%d.example.com/%s", i, strings.Repeat("path/", 20)))
			}
		})
		pod := corev1.PodSpec{}
		for i := range 100 {
			pod.Containers = append(pod.Containers, container(fmt.Sprintf("c%d", i), good+"/"+strings.Repeat("b/", 20)+"c"))
		}
		testutil.WaitFor(t, func(ctx context.Context) error { return dryRunCreate(ctx, env.Admin, newPod(namespace.Name, pod)) })
		pod.Containers[99].Image = bad
		waitForForbidden(t, func(ctx context.Context) error { return dryRunCreate(ctx, env.Admin, newPod(namespace.Name, pod)) }, "container c99: image "+bad)
	})
	t.Run("changing an existing Deployment to another forbidden image is denied", func(t *testing.T) {
		waitForForbidden(t, func(ctx context.Context) error {
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(before), before); err != nil {
				return err
			}
			before.Spec.Template.Spec.Containers[0].Image = bad
			return env.Admin.Update(ctx, before)
		}, "container app: image "+bad)
	})
}
