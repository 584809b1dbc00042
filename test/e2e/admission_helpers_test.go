package e2e

import (
	"context"
	"fmt"
	"strings"
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

// newPodWithImage returns a pod with an image in its only container.
func newPodWithImage(namespace, image string) *corev1.Pod {
	return newPod(namespace, corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}})
}

// dryRunCreate asks the API server whether an object can be created, without creating it.
func dryRunCreate(ctx context.Context, writer client.Client, object client.Object) error {
	return writer.Create(ctx, object.DeepCopyObject().(client.Object), client.DryRunAll)
}

// waitForForbidden waits until the API server denies a request with these words. The API
// server enforces a policy, and the baseline that is its parameter, after a moment.
func waitForForbidden(t *testing.T, try func(context.Context) error, words ...string) {
	t.Helper()
	testutil.WaitFor(t, func(ctx context.Context) error { return testutil.CheckForbidden(try(ctx), words...) })
}

// waitForWarnings waits until the API server answers a request with warnings that contain
// each of the words, and returns the warnings. Without words it does not wait.
func waitForWarnings(t *testing.T, words []string, try func(context.Context, client.Client) error) string {
	t.Helper()
	var received warningText
	config := rest.CopyConfig(env.Cluster.Admin)
	config.WarningHandler = &received
	writer, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	testutil.Must(t, err)
	testutil.WaitFor(t, func(ctx context.Context) error {
		received.text = ""
		if err := try(ctx, writer); err != nil {
			return err
		}
		for _, word := range words {
			if !strings.Contains(received.text, word) {
				return fmt.Errorf("warnings: got %q, want %q in them", received.text, word)
			}
		}
		return nil
	})
	return received.text
}

// warningText collects the warnings of responses.
type warningText struct{ text string }

func (w *warningText) HandleWarningHeader(_ int, _, text string) { w.text += text + "\n" }
