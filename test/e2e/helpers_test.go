package e2e

import (
	"fmt"
	"strings"
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// update is testutil.Update in the environment of the tests.
func update[T client.Object](t *testing.T, object T, mutate func(T)) {
	t.Helper()
	testutil.Update(t, env.Env, object, mutate)
}

// hasMessage checks that the message of a control contains each of the texts.
func hasMessage(texts ...string) func(*v1alpha1.ControlReport) error {
	return func(control *v1alpha1.ControlReport) error {
		for _, text := range texts {
			if !strings.Contains(control.Message, text) {
				return fmt.Errorf("the message of %s: got %q, want %q in it", control.Name, control.Message, text)
			}
		}
		return nil
	}
}

// readObject reads an object, which must exist.
func readObject[T client.Object](t *testing.T, namespace, name string, object T) T {
	t.Helper()
	testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKey{Namespace: namespace, Name: name}, object))
	return object
}

// waitForObject is testutil.WaitForObject in the environment of the tests.
func waitForObject[T client.Object](t *testing.T, namespace, name string, object T, checks ...func(T) error) T {
	t.Helper()
	return testutil.WaitForObject(t, env.Env, namespace, name, object, checks...)
}
