package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers"
)

// as returns a client of a user, without any power that is not bound to them.
func as(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(local.Admin)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	impersonating, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	must(t, err)
	return impersonating
}

// runnable waits until pods can be made in a namespace, as far as Kubernetes
// itself is concerned.
func runnable(t *testing.T, namespace string) {
	t.Helper()
	get(t, namespace, "default", &corev1.ServiceAccount{})
}

func podOf(namespace string, spec corev1.PodSpec) *corev1.Pod {
	return &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, GenerateName: "pod-"}, Spec: spec}
}

// podWith is a pod with an image in its only container.
func podWith(namespace, image string) *corev1.Pod {
	return podOf(namespace, corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}})
}

// tried asks the API server what it would say of an object's creation.
func tried(ctx context.Context, writer client.Client, object client.Object) error {
	return writer.Create(ctx, object.DeepCopyObject().(client.Object), client.DryRunAll)
}

// refusedWith returns an error unless err is a refusal with these words.
func refusedWith(err error, words ...string) error {
	if err == nil {
		return errors.New("not refused")
	}
	if !apierrors.IsForbidden(err) {
		return fmt.Errorf("not forbidden, but: %w", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("does not say %q: %w", word, err)
		}
	}
	return nil
}

// heeded waits until the API server refuses something: it takes a moment to heed
// a policy and the baseline that is its parameter.
func heeded(t *testing.T, try func(context.Context) error, words ...string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error { return refusedWith(try(ctx), words...) })
}

// inPlace waits until everything that a baseline needs is in place.
func inPlace(t *testing.T, baseline *v1alpha1.SecurityBaseline) {
	t.Helper()
	ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		if !meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReady) {
			return fmt.Errorf("not ready: %+v", status.Conditions)
		}
		return nil
	})
}

// warnings returns what the API server warns of when something is tried, as soon
// as it warns of anything, if it is to.
func warnings(t *testing.T, expected bool, try func(context.Context, client.Client) error) string {
	t.Helper()
	var said warningText
	config := rest.CopyConfig(local.Admin)
	config.WarningHandler = &said
	warned, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	must(t, err)
	eventually(t, func(ctx context.Context) error {
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
