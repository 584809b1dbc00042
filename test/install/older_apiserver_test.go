package install

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// TestOlderAPIServer_WithoutWatchList runs the operator on an older API server. Its
// watches do not begin with the existing objects, as before Kubernetes 1.34. There the operator
// lists them, and needs each of its permissions to list.
func TestOlderAPIServer_WithoutWatchList(t *testing.T) {
	audit, flags, err := cluster.NewAudit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	local := testutil.InstallCluster(t, append(flags, "--feature-gates=WatchList=false")...)
	stop := testutil.StartOperator(t, local, cluster.OperatorOptions{})
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", testutil.TimeoutFlag)
	stop()
	permissions, err := cluster.Permissions("rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lists := slices.DeleteFunc(permissions, func(permission cluster.Permission) bool { return permission.Verb != "list" })
	unused, refused, err := audit.Compare(lists)
	if err != nil || len(lists) == 0 || len(unused) > 0 || len(refused) > 0 {
		t.Errorf("%d permissions: got unused %v and denied %v, want none (%v)", len(lists), unused, refused, err)
	}
}

// TestOlderAPIServer_WithoutMutatingAdmissionPolicies runs the operator on an API server
// without MutatingAdmissionPolicies, as before Kubernetes 1.36. There the operator labels
// a new namespace a moment after its creation, and a condition says so.
func TestOlderAPIServer_WithoutMutatingAdmissionPolicies(t *testing.T) {
	local := testutil.InstallCluster(t, "--emulated-version=1.33")
	if out, err := testutil.TryKubectl(t.Context(), local, "", "get", "mutatingadmissionpolicies"); err == nil {
		t.Fatalf("mutatingadmissionpolicies: got %s, want an error", out)
	}
	testutil.StartOperator(t, local, cluster.OperatorOptions{})
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", testutil.TimeoutFlag)
	const want = "False MutatingAdmissionUnavailable: the API server does not serve MutatingAdmissionPolicy v1 (Kubernetes 1.36 and later): " +
		"new namespaces get their labels shortly after creation, and network.waitForDefaultDeny has no effect"
	testutil.WaitFor(t, func(ctx context.Context) error {
		condition, err := testutil.TryKubectl(ctx, local, "", "get", "securitybaseline", "everything", "-o",
			`jsonpath={range .status.conditions[?(@.type=="NewNamespacesHardened")]}{.status} {.reason}: {.message}{end}`)
		if condition != want {
			return errors.Join(err, fmt.Errorf("condition NewNamespacesHardened: got %q, want %q", condition, want))
		}
		return err
	})
	testutil.Kubectl(t, local, "", "create", "namespace", "after")
	for _, namespace := range []string{"guarded", "after"} {
		testutil.Kubectl(t, local, "", "wait", "--for=create", "serviceaccount/default", "-n", namespace, testutil.TimeoutFlag)
		for message, command := range map[string][]string{
			"violates PodSecurity":                  {"run", "miner", "--image=registry.example.com/miner", "--privileged", "-n", namespace, "--dry-run=server"},
			"does not come from an allowed":         {"run", "web", "--image=evil.io/web", "-n", namespace, "--dry-run=server"},
			"container web lacks a memory limit;":   {"run", "web", "--image=registry.example.com/web", "-n", namespace, "--dry-run=server"},
			"User jane is not among those who may":  {"create", "rolebinding", "jane", "--clusterrole=cluster-admin", "--user=jane", "-n", namespace, "--dry-run=server"},
			"only the operator and exempt subjects": {"delete", "networkpolicy", "security-baseline-default-deny", "-n", namespace, "--dry-run=server"},
		} {
			testutil.WaitForKubectlError(t, local, message, command...)
		}
		// No pod waits for the default-deny policy.
		testutil.WaitForKubectl(t, local, "run", "web", "--image=registry.example.com/web", "-n", namespace, "--dry-run=server",
			`--overrides={"spec":{"containers":[{"name":"web","image":"registry.example.com/web","resources":{"limits":{"memory":"64Mi"}}}]}}`)
	}
}
