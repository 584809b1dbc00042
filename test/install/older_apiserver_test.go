package install

import (
	"slices"
	"testing"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// Where the API server does not send what there is with a watch, as before
// Kubernetes 1.34, the operator lists it: that is what it may list for.
func TestOlderAPIServer_WithoutWatchList(t *testing.T) {
	audit, flags, err := cluster.NewAudit(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	local := testutil.InstallCluster(t, append(flags, "--feature-gates=WatchList=false")...)
	stop := testutil.StartOperator(t, local)
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=60s")
	stop()
	permissions, err := cluster.Permissions("rbac/role.yaml")
	if err != nil {
		t.Fatal(err)
	}
	lists := slices.DeleteFunc(permissions, func(permission cluster.Permission) bool { return permission.Verb != "list" })
	unused, refused, err := audit.Compare(lists)
	if err != nil || len(lists) == 0 || len(unused) > 0 || len(refused) > 0 {
		t.Errorf("of %d permissions, %v are not needed; refused: %v (%v)", len(lists), unused, refused, err)
	}
}

// Where the API server has no MutatingAdmissionPolicy, as before Kubernetes 1.36,
// the operator does without, and says so: a new namespace is hardened a moment
// after its creation.
func TestOlderAPIServer_WithoutMutatingAdmissionPolicies(t *testing.T) {
	local := testutil.InstallCluster(t, "--emulated-version=1.33")
	if out, err := testutil.TryKubectl(t, local, "", "get", "mutatingadmissionpolicies"); err == nil {
		t.Fatalf("there are some: %s", out)
	}
	testutil.StartOperator(t, local)
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=60s")
	condition := testutil.Kubectl(t, local, "", "get", "securitybaseline", "everything", "-o",
		`jsonpath={range .status.conditions[?(@.type=="NewNamespacesHardened")]}{.status} {.reason}: {.message}{end}`)
	const want = "False Unsupported: the API server has no MutatingAdmissionPolicy v1, which Kubernetes 1.36 has: " +
		"a new namespace gets its labels a moment after its creation, and network.waitForDefaultDeny keeps no pod waiting"
	if condition != want {
		t.Errorf("the condition is %q", condition)
	}
	testutil.Kubectl(t, local, "", "create", "namespace", "after")
	for _, namespace := range []string{"guarded", "after"} {
		testutil.Kubectl(t, local, "", "wait", "--for=create", "serviceaccount/default", "-n", namespace, "--timeout=60s")
		for refusal, try := range map[string][]string{
			"violates PodSecurity":                 {"run", "miner", "--image=registry.example.com/miner", "--privileged", "-n", namespace, "--dry-run=server"},
			"does not come from an allowed":        {"run", "web", "--image=evil.io/web", "-n", namespace, "--dry-run=server"},
			"container web lacks a memory limit;":  {"run", "web", "--image=registry.example.com/web", "-n", namespace, "--dry-run=server"},
			"User jane is not among those who may": {"create", "rolebinding", "jane", "--clusterrole=cluster-admin", "--user=jane", "-n", namespace, "--dry-run=server"},
			"only the operator may change or dele": {"delete", "networkpolicy", "security-baseline-default-deny", "-n", namespace, "--dry-run=server"},
		} {
			waitForKubectl(t, local, refusal, try...)
		}
		// The gate is not closed to anybody.
		waitForKubectl(t, local, "", "run", "web", "--image=registry.example.com/web", "-n", namespace, "--dry-run=server",
			`--overrides={"spec":{"containers":[{"name":"web","image":"registry.example.com/web","resources":{"limits":{"memory":"64Mi"}}}]}}`)
	}
}
