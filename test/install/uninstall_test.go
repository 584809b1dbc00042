// Package install tests, on control planes of its own, how the operator is installed,
// upgraded and uninstalled, and that it works with older API servers.
package install

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

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

// deniedCommands are denied while the operator is installed and everything is in force.
var deniedCommands = [][]string{
	// A pod of an image from any registry, without limits.
	{"run", "web", "--image=evil.io/web", "-n", "guarded", "--dry-run=server"},
	{"create", "clusterrolebinding", "jane", "--clusterrole=cluster-admin", "--user=jane", "--dry-run=server"},
	// A change of a managed object, and of a label that the operator set.
	{"annotate", "networkpolicy", "security-baseline-default-deny", "-n", "guarded", "a=b", "--dry-run=server"},
	{"label", "namespace", "guarded", "guard.securitybaseline.io/baseline-", "--dry-run=server"},
}

// startHardenedCluster starts a control plane with guardedManifest in force. The function
// that it returns stops the operator.
func startHardenedCluster(t *testing.T) (*cluster.Cluster, func()) {
	t.Helper()
	local := testutil.InstallCluster(t)
	stop := testutil.StartOperator(t, local, cluster.OperatorOptions{})
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", testutil.TimeoutFlag)
	testutil.Kubectl(t, local, "", "wait", "--for=create", "serviceaccount/default", "-n", "guarded", testutil.TimeoutFlag)
	for _, command := range deniedCommands {
		testutil.WaitForKubectlError(t, local, "ValidatingAdmissionPolicy", command...)
	}
	return local, stop
}

// deleteWithManagedObjects deletes a baseline and the objects that it applied.
func deleteWithManagedObjects(t *testing.T, local *cluster.Cluster, baseline string) {
	t.Helper()
	testutil.Kubectl(t, local, "", "patch", "securitybaseline", baseline, "--type=merge", "-p", `{"spec":{"deletionPolicy":"Remove"}}`)
	testutil.Kubectl(t, local, "", "wait", "--for=jsonpath={.metadata.finalizers}", "securitybaseline/"+baseline, testutil.TimeoutFlag)
	testutil.Kubectl(t, local, "", "delete", "securitybaseline", baseline, testutil.TimeoutFlag)
}

// waitForUninstalled waits until no policy is left that could deny a request, and until
// the commands that were denied succeed.
func waitForUninstalled(t *testing.T, local *cluster.Cluster) {
	t.Helper()
	testutil.WaitFor(t, func(ctx context.Context) error {
		leftovers, err := testutil.TryKubectl(ctx, local, "", "get",
			"validatingadmissionpolicies,validatingadmissionpolicybindings,mutatingadmissionpolicies,mutatingadmissionpolicybindings", "-o", "name")
		if strings.Contains(leftovers, "securitybaseline") {
			return errors.Join(err, fmt.Errorf("admission policies: got %s, want none of the operator", leftovers))
		}
		return err
	})
	for _, command := range deniedCommands {
		// The policy may have been removed too, and then it cannot be changed.
		_, err := testutil.TryKubectl(t.Context(), local, "", "get", "networkpolicy", "security-baseline-default-deny", "-n", "guarded")
		if err != nil && command[1] == "networkpolicy" {
			continue
		}
		testutil.WaitForKubectl(t, local, command...)
	}
	testutil.Kubectl(t, local, "", "create", "namespace", "new")
	testutil.Kubectl(t, local, "", "delete", "namespace", "guarded", "new", testutil.TimeoutFlag)
}

// TestUninstall_DocumentedOrder stops the operator, deletes the baselines and then the
// installation, as the README says. Afterwards every request must succeed again.
func TestUninstall_DocumentedOrder(t *testing.T) {
	local, stop := startHardenedCluster(t)
	stop()
	testutil.Kubectl(t, local, "", "delete", "securitybaselines", "--all", testutil.TimeoutFlag)
	for _, command := range deniedCommands {
		testutil.WaitForKubectl(t, local, command...)
	}
	testutil.Kubectl(t, local, "", "delete", "-k", filepath.Join(cluster.Root(), "config", "default"), testutil.TimeoutFlag)
	waitForUninstalled(t, local)
}

// TestUninstall_RemovesManagedObjectsWithDeletionPolicyRemove deletes the baseline first,
// while the operator runs, as the README says.
func TestUninstall_RemovesManagedObjectsWithDeletionPolicyRemove(t *testing.T) {
	local, stop := startHardenedCluster(t)
	deleteWithManagedObjects(t, local, "everything")
	leftovers := testutil.Kubectl(t, local, "", "get", "networkpolicies,rolebindings,limitranges,resourcequotas,serviceaccounts,baselinereports", "-n", "guarded",
		"-l", "securitybaseline.io/baseline", "-o", "name") + testutil.Kubectl(t, local, "", "get", "namespace", "guarded", "-o", "jsonpath={.metadata.labels}")
	if strings.Contains(leftovers, "securitybaseline.io") || strings.Contains(leftovers, "security-baseline") || strings.Contains(leftovers, "pod-security") {
		t.Errorf("objects and labels after the deletion: got %s, want none of the operator", leftovers)
	}
	stop()
	testutil.Kubectl(t, local, "", "delete", "-k", filepath.Join(cluster.Root(), "config", "default"), testutil.TimeoutFlag)
	waitForUninstalled(t, local)
}

// TestUninstall_DeletingEverythingTogether deletes the installation while the operator
// runs and its baseline is in force.
func TestUninstall_DeletingEverythingTogether(t *testing.T) {
	local, _ := startHardenedCluster(t)
	testutil.Kubectl(t, local, "", "delete", "-k", filepath.Join(cluster.Root(), "config", "default"), testutil.TimeoutFlag)
	waitForUninstalled(t, local)
}
