package e2e

import (
	"context"
	"errors"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/testutil"
)

func newPod(namespace string, spec corev1.PodSpec) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "pod-"}, Spec: spec}
}

// podWith is a pod with an image in its only container.
func newPodWithImage(namespace, image string) *corev1.Pod {
	return newPod(namespace, corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}})
}

// tried asks the API server what it would say of an object's creation.
func dryRunCreate(ctx context.Context, writer client.Client, object client.Object) error {
	return writer.Create(ctx, object.DeepCopyObject().(client.Object), client.DryRunAll)
}

// heeded waits until the API server refuses something: it takes a moment to heed
// a policy and the baseline that is its parameter.
func waitForForbidden(t *testing.T, try func(context.Context) error, words ...string) {
	t.Helper()
	testutil.WaitFor(t, func(ctx context.Context) error { return testutil.CheckForbidden(try(ctx), words...) })
}

// warnings returns what the API server warns of when something is tried, as soon
// as it warns of anything, if it is to.
func waitForWarnings(t *testing.T, expected bool, try func(context.Context, client.Client) error) string {
	t.Helper()
	var said warningText
	config := rest.CopyConfig(env.Cluster.Admin)
	config.WarningHandler = &said
	warned, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	testutil.Must(t, err)
	testutil.WaitFor(t, func(ctx context.Context) error {
		said.text = ""
		if err := try(ctx, warned); err != nil {
			return err
		}
		if expected && said.text == "" {
			return errors.New("no warning yet")
		}
		return nil
	})
	return said.text
}

// warningText collects warnings.
type warningText struct{ text string }

func (w *warningText) HandleWarningHeader(_ int, _, text string) { w.text += text + "\n" }
