// Package install proves, on control planes of its own, that the operator can be
// taken away again and that it makes do with an older API server.
package install

import (
	"context"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

const guardedManifest = `
apiVersion: v1
kind: Namespace
metadata:
  name: guarded
---
apiVersion: securitybaseline.io/v1alpha1
kind: SecurityBaseline
metadata:
  name: everything
spec:
  namespaceSelector: {}
  podSecurity: {enforce: baseline}
  network: {defaultDeny: [Ingress], waitForDefaultDeny: true}
  rbac:
    clusterAdmin: {allowedSubjects: []}
    roleBindings:
    - {name: team, roleRef: {kind: ClusterRole, name: view}, subjects: [{kind: Group, name: team}]}
  serviceAccounts: {automountDefaultToken: false}
  resources:
    limitRange:
      limits:
      - {type: Container, defaultRequest: {cpu: 50m, memory: 64Mi}}
    quota: {hard: {pods: "10"}}
  images: {allowedRegistries: [registry.example.com]}
  workloads: {requireLimits: true}
  guard: {}
`

// tries are refused while the operator is installed.
var deniedCommands = [][]string{
	// A pod from anywhere, that states nothing.
	{"run", "web", "--image=evil.io/web", "-n", "guarded", "--dry-run=server"},
	{"create", "clusterrolebinding", "jane", "--clusterrole=cluster-admin", "--user=jane", "--dry-run=server"},
	// A change of what the operator wrote, and of a label that it set.
	{"annotate", "networkpolicy", "security-baseline-default-deny", "-n", "guarded", "a=b", "--dry-run=server"},
	{"label", "namespace", "guarded", "guard.securitybaseline.io/baseline-", "--dry-run=server"},
}

// hardened starts a control plane with everything in force, and returns what stops
// the operator.
func startHardenedCluster(t *testing.T) (*cluster.Cluster, func()) {
	t.Helper()
	local := testutil.InstallCluster(t)
	stop := testutil.StartOperator(t, local)
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=60s")
	testutil.Kubectl(t, local, "", "wait", "--for=create", "serviceaccount/default", "-n", "guarded", "--timeout=60s")
	for _, try := range deniedCommands {
		waitForKubectl(t, local, "ValidatingAdmissionPolicy", try...)
	}
	return local, stop
}

// takeAlong deletes a baseline, which takes along what it gave.
func deleteWithManagedObjects(t *testing.T, local *cluster.Cluster, baseline string) {
	t.Helper()
	testutil.Kubectl(t, local, "", "patch", "securitybaseline", baseline, "--type=merge", "-p", `{"spec":{"deletionPolicy":"Remove"}}`)
	testutil.Kubectl(t, local, "", "wait", "--for=jsonpath={.metadata.finalizers}", "securitybaseline/"+baseline, "--timeout=60s")
	testutil.Kubectl(t, local, "", "delete", "securitybaseline", baseline, "--timeout=60s")
}

// free checks that nothing is left that could refuse anything.
func requireUninstalled(t *testing.T, local *cluster.Cluster) {
	t.Helper()
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, testutil.Timeout, true, func(context.Context) (bool, error) {
		left, err := testutil.TryKubectl(t, local, "", "get", "validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingadmissionpolicies,mutatingadmissionpolicybindings", "-o", "name")
		return err == nil && !strings.Contains(left, "securitybaseline"), nil
	})
	if err != nil {
		t.Fatalf("policies are left: %v", err)
	}
	for _, try := range deniedCommands {
		// What is gone cannot be changed either.
		if _, err := testutil.TryKubectl(t, local, "", "get", "networkpolicy", "security-baseline-default-deny", "-n", "guarded"); err != nil && try[1] == "networkpolicy" {
			continue
		}
		waitForKubectl(t, local, "", try...)
	}
	testutil.Kubectl(t, local, "", "create", "namespace", "new")
	testutil.Kubectl(t, local, "", "delete", "namespace", "guarded", "new", "--timeout=60s")
}

// With the guard on, in the order that the README says, what is left is a cluster
// in which everything works.
func TestUninstall_DocumentedOrder(t *testing.T) {
	local, stop := startHardenedCluster(t)
	stop()
	testutil.Kubectl(t, local, "", "delete", "securitybaselines", "--all", "--timeout=60s")
	for _, try := range deniedCommands {
		waitForKubectl(t, local, "", try...)
	}
	testutil.Kubectl(t, local, "", "delete", "-k", filepath.Join(cluster.Root(), "config", "default"), "--timeout=120s")
	requireUninstalled(t, local)
}

// And with a baseline that takes along what it gave, in the order that the README
// says: it goes first, while the operator runs.
func TestUninstall_RemovesManagedObjectsWithDeletionPolicyRemove(t *testing.T) {
	local, stop := startHardenedCluster(t)
	deleteWithManagedObjects(t, local, "everything")
	left := testutil.Kubectl(t, local, "", "get", "networkpolicies,rolebindings,limitranges,resourcequotas,serviceaccounts,baselinereports", "-n", "guarded",
		"-l", "securitybaseline.io/baseline", "-o", "name") + testutil.Kubectl(t, local, "", "get", "namespace", "guarded", "-o", "jsonpath={.metadata.labels}")
	if strings.Contains(left, "securitybaseline.io") || strings.Contains(left, "security-baseline") || strings.Contains(left, "pod-security") {
		t.Errorf("left: %s", left)
	}
	stop()
	testutil.Kubectl(t, local, "", "delete", "-k", filepath.Join(cluster.Root(), "config", "default"), "--timeout=120s")
	requireUninstalled(t, local)
}

// So is it if somebody deletes everything at once, with the operator running and
// its baselines in force.
func TestUninstall_DeletingEverythingTogether(t *testing.T) {
	local, _ := startHardenedCluster(t)
	testutil.Kubectl(t, local, "", "delete", "-k", filepath.Join(cluster.Root(), "config", "default"), "--timeout=120s")
	requireUninstalled(t, local)
}
