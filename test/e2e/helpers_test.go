package e2e

import (
	"testing"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/test/testutil"
)

// update is testutil.Update in the environment of the tests.
func update[T client.Object](t *testing.T, object T, mutate func(T)) {
	t.Helper()
	testutil.Update(t, env.Env, object, mutate)
}

// waitForObject is testutil.WaitForObject in the environment of the tests.
func waitForObject[T client.Object](t *testing.T, namespace, name string, object T, checks ...func(T) error) T {
	t.Helper()
	return testutil.WaitForObject(t, env.Env, namespace, name, object, checks...)
}
