package install

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// allOptionalValues enables each optional part of the chart.
var allOptionalValues = []string{"serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true", "openreports.enabled=true"}

// crdNames are the objects that remain when Helm uninstalls the chart.
var crdNames = []string{
	"customresourcedefinition.apiextensions.k8s.io/baselinereports.securitybaseline.io",
	"customresourcedefinition.apiextensions.k8s.io/securitybaselines.securitybaseline.io",
}

// startClusterWithCRDs starts a control plane with the CRDs of the tools that the operator
// works with. The API server has these additional flags.
func startClusterWithCRDs(t *testing.T, flags ...string) *cluster.Cluster {
	t.Helper()
	local := testutil.StartCluster(t, flags...)
	openreports := runCommand(t, exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/openreports/reports-api"))
	for _, dir := range []string{filepath.Join(cluster.Root(), "bin", "crds") + "/", filepath.Join(strings.TrimSpace(string(openreports)), "config", "crd")} {
		testutil.Kubectl(t, local, "", "create", "-f", dir)
	}
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", testutil.TimeoutFlag)
	return local
}

// createRestrictedNamespace creates the operator's namespace as docs/install.md says.
func createRestrictedNamespace(t *testing.T, local *cluster.Cluster) {
	t.Helper()
	testutil.Kubectl(t, local, "", "create", "namespace", cluster.OperatorNamespace)
	testutil.Kubectl(t, local, "", "label", "namespace", cluster.OperatorNamespace, "pod-security.kubernetes.io/enforce=restricted",
		"pod-security.kubernetes.io/audit=restricted", "pod-security.kubernetes.io/warn=restricted")
	testutil.Kubectl(t, local, "", "wait", "--for=create", "configmap/kube-root-ca.crt", "serviceaccount/default", "-n", cluster.OperatorNamespace, testutil.TimeoutFlag)
}

// listObjects lists the objects in the cluster, except for those that come and go by
// themselves: events, leases, endpoints and API services.
func listObjects(t *testing.T, local *cluster.Cluster) []string {
	t.Helper()
	kinds := strings.Fields(testutil.Kubectl(t, local, "", "api-resources", "--verbs=list", "-o", "name"))
	kinds = slices.DeleteFunc(kinds, func(kind string) bool {
		return strings.HasPrefix(kind, "events") || strings.HasPrefix(kind, "leases") || strings.HasPrefix(kind, "componentstatuses") ||
			strings.HasPrefix(kind, "endpoint") || strings.HasPrefix(kind, "apiservices")
	})
	listed := testutil.Kubectl(t, local, "", "get", strings.Join(kinds, ","), "--all-namespaces", "--ignore-not-found",
		"-o", `go-template={{range .items}}{{.apiVersion}} {{.kind}} {{.metadata.namespace}}/{{.metadata.name}}{{"\n"}}{{end}}`)
	objects := strings.Split(strings.TrimSpace(listed), "\n")
	slices.Sort(objects)
	return slices.Compact(objects)
}

// helm runs helm as the administrator and returns its output.
func helm(t *testing.T, local *cluster.Cluster, args ...string) string {
	t.Helper()
	return retryWhileNotSynced(t, func() (string, error) {
		out, err := local.Tool(t.Context(), "helm", args...).CombinedOutput()
		return string(out), err
	})
}

// retryWhileNotSynced installs or upgrades. It repeats this after a transient error, as
// docs/upgrade.md says.
func retryWhileNotSynced(t *testing.T, install func() (string, error)) string {
	t.Helper()
	var out string
	var err error
	testutil.WaitFor(t, func(context.Context) error {
		out, err = install()
		if err == nil {
			return nil
		}
		if withOutput := fmt.Errorf("%w: %s", err, out); testutil.IsTransient(withOutput) {
			return withOutput
		}
		return nil
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// olderChart creates a chart of an older version, in which a column and a message differ.
func olderChart(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "chart")
	if err := os.CopyFS(dir, os.DirFS(chartDir())); err != nil {
		t.Fatal(err)
	}
	for file, change := range map[string][2]string{
		"Chart.yaml":                         {"ersion: 0.1.0", "ersion: 0.0.9"},
		"files/require-bind-permission.yaml": {"has more than 24 bindings", "has too many bindings"},
		"files/crds/securitybaseline.io_securitybaselines.yaml": {"name: Compliant\n", "name: Good\n"},
	} {
		path := filepath.Join(dir, file)
		data, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		changed := strings.ReplaceAll(string(data), change[0], change[1])
		if changed == string(data) {
			t.Fatalf("%s: got no %q, want it", file, change[0])
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// TestHelm_InstallUpgradeUninstall installs an older version with Helm, upgrades it while
// its baseline is in force, and uninstalls it. The CRDs and the baseline remain until
// they are deleted, and nothing else does.
func TestHelm_InstallUpgradeUninstall(t *testing.T) {
	local := startClusterWithCRDs(t)
	createRestrictedNamespace(t, local)
	before := listObjects(t, local)
	install := append(helmArgs("install", allOptionalValues...), "--wait=hookOnly")
	install[2] = olderChart(t)
	if out := helm(t, local, install...); !strings.Contains(out, "kubectl get baselinereports --all-namespaces") {
		t.Errorf("output of helm: got %s, want the next steps", out)
	}
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", testutil.TimeoutFlag)
	waitForOperatorPods(t, local)
	stop := testutil.StartOperator(t, local, cluster.OperatorOptions{})
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", testutil.TimeoutFlag)
	testutil.Kubectl(t, local, "", "wait", "--for=create", "baselinereport/security-baseline", "-n", "guarded", testutil.TimeoutFlag)
	uid := testutil.Kubectl(t, local, "", "get", "securitybaseline", "everything", "-o", "jsonpath={.metadata.uid}")

	for range 2 { // the second time after the older operator reverted a policy
		upgrade := append(helmArgs("upgrade", append(allOptionalValues, "replicas=3", `rbac.bindableClusterRoles=["system:node"]`)...), "--force-conflicts")
		helm(t, local, upgrade...)
		if columns := testutil.Kubectl(t, local, "", "get", "securitybaselines"); !strings.Contains(columns, "COMPLIANT") || strings.Contains(columns, "GOOD") {
			t.Errorf("columns after the upgrade: got %s, want COMPLIANT and no GOOD", columns)
		}
		for object, want := range map[string]string{
			"deployment/securitybaseline-manager {.spec.replicas}":                                                  "3",
			"clusterrole/securitybaseline-bindable {.rules[0].resourceNames[0]}":                                    "system:node",
			"validatingadmissionpolicy/require-bind-permission.securitybaseline.io {.spec.validations[24].message}": "rbac.roleBindings has more than 24 bindings",
		} {
			name, path, _ := strings.Cut(object, " ")
			if got := testutil.Kubectl(t, local, "", "get", name, "-n", cluster.OperatorNamespace, "-o", "jsonpath="+path); got != want {
				t.Errorf("%s: got %q, want %q", object, got, want)
			}
		}
		// An operator of the older version still runs, and reverts the policy to its own.
		policy := testutil.Kubectl(t, local, "", "get", "validatingadmissionpolicy", "require-bind-permission.securitybaseline.io", "-o", "yaml")
		testutil.Kubectl(t, local, strings.ReplaceAll(policy, "has more than 24 bindings", "has too many bindings"), "replace", "--field-manager=securitybaseline-operator", "-f", "-")
	}
	if now := testutil.Kubectl(t, local, "", "get", "securitybaseline", "everything", "-o", "jsonpath={.metadata.uid}"); now != uid {
		t.Errorf("UID of the baseline: got %s, want %s", now, uid)
	}

	// Uninstalled while the operator runs, the baseline remains for the next installation.
	helm(t, local, "uninstall", "securitybaseline", "-n", cluster.OperatorNamespace)
	stop()
	if now := testutil.Kubectl(t, local, "", "get", "securitybaseline", "everything", "-o", "jsonpath={.metadata.uid}"); now != uid {
		t.Errorf("UID of the baseline: got %s, want %s", now, uid)
	}
	helm(t, local, append(helmArgs("install", allOptionalValues...), "--wait=hookOnly")...)
	stop = testutil.StartOperator(t, local, cluster.OperatorOptions{})
	testutil.WaitForKubectl(t, local, "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=1s")

	// Uninstalled in the documented order.
	deleteWithManagedObjects(t, local, "everything")
	testutil.Kubectl(t, local, "", "delete", "namespace", "guarded", testutil.TimeoutFlag)
	stop()
	helm(t, local, "uninstall", "securitybaseline", "-n", cluster.OperatorNamespace)
	leftovers := testutil.Kubectl(t, local, "", "get", "crd", "-o", "name")
	for _, crd := range crdNames {
		if !strings.Contains(leftovers, crd) {
			t.Errorf("CRDs after the uninstallation: got %s, want %s among them", leftovers, crd)
		}
	}
	testutil.Kubectl(t, local, "", append([]string{"delete"}, crdNames...)...)
	waitForObjects(t, local, before)
}

// waitForOperatorPods waits until the API server's Pod Security admission has admitted
// the pods of the operator's Deployment.
func waitForOperatorPods(t *testing.T, local *cluster.Cluster) {
	t.Helper()
	const replicas = 2
	testutil.WaitFor(t, func(ctx context.Context) error {
		pods, err := testutil.TryKubectl(ctx, local, "", "get", "pods", "-l", "app.kubernetes.io/component=manager", "-n", cluster.OperatorNamespace, "-o", "name")
		if got := strings.Count(pods, "pod/securitybaseline-manager-"); got != replicas {
			events, _ := testutil.TryKubectl(ctx, local, "", "get", "events", "-n", cluster.OperatorNamespace)
			return errors.Join(err, fmt.Errorf("pods of the operator: got %d, want %d: %s", got, replicas, events))
		}
		return err
	})
}

// waitForObjects waits until the cluster has the same objects as before.
func waitForObjects(t *testing.T, local *cluster.Cluster, before []string) {
	t.Helper()
	testutil.WaitFor(t, func(context.Context) error {
		return testutil.CheckEqual("the cluster's objects", listObjects(t, local), before)
	})
}

// TestKustomize_InstallUpgradeUninstall does the same with kustomize, as make deploy and
// make undeploy do.
func TestKustomize_InstallUpgradeUninstall(t *testing.T) {
	local := startClusterWithCRDs(t)
	before := listObjects(t, local)
	whole := string(buildKustomization(t, []string{"default", "prometheus", "grafana"}, []string{"openreports"}))
	earlier := strings.ReplaceAll(strings.ReplaceAll(whole, "has more than 24 bindings", "has too many bindings"), "name: Compliant\n", "name: Good\n")
	apply := func(manifests string) {
		t.Helper()
		retryWhileNotSynced(t, func() (string, error) {
			return testutil.TryKubectl(t.Context(), local, manifests, "apply", "--server-side", "--force-conflicts", "-f", "-")
		})
	}
	apply(earlier)
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", testutil.TimeoutFlag)
	waitForOperatorPods(t, local)
	stop := testutil.StartOperator(t, local, cluster.OperatorOptions{})
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", testutil.TimeoutFlag)
	apply(whole)
	if columns := testutil.Kubectl(t, local, "", "get", "securitybaselines"); !strings.Contains(columns, "COMPLIANT") {
		t.Errorf("columns after the upgrade: got %s, want COMPLIANT", columns)
	}
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", testutil.TimeoutFlag)

	deleteWithManagedObjects(t, local, "everything")
	testutil.Kubectl(t, local, "", "delete", "namespace", "guarded", testutil.TimeoutFlag)
	stop()
	testutil.Kubectl(t, local, whole, "delete", testutil.TimeoutFlag, "-f", "-")
	waitForObjects(t, local, before)
}

// TestGitOpsTools_InstallWithoutDifferences installs with Argo CD and with Flux. While
// the operator runs, they must find nothing to change.
func TestGitOpsTools_InstallWithoutDifferences(t *testing.T) {
	manifests := buildKustomization(t, []string{"default"}, nil)
	for tool, args := range map[string][]string{
		"argocd-sync": {"--app", "security"},
		"flux-sync":   {"--name", "security"},
	} {
		t.Run(tool, func(t *testing.T) {
			local := testutil.StartCluster(t)
			dir := t.TempDir()
			if err := os.WriteFile(filepath.Join(dir, "install.yaml"), manifests, 0o600); err != nil {
				t.Fatal(err)
			}
			sync := func(more ...string) string {
				t.Helper()
				return string(runCommand(t, local.Tool(t.Context(), tool, append(append([]string{"--kubeconfig", local.Kubeconfig(), "--manifests", dir}, args...), more...)...)))
			}
			sync()
			testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", testutil.TimeoutFlag)
			waitForOperatorPods(t, local)
			stop := testutil.StartOperator(t, local, cluster.OperatorOptions{})
			defer stop()
			testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
			testutil.WaitForKubectl(t, local, "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=1s")
			testutil.WaitFor(t, func(context.Context) error {
				out := sync("--diff")
				for _, change := range []string{"OutOfSync", `"configured"`, `"created"`} {
					if strings.Contains(out, change) {
						return fmt.Errorf("differences: got %s, want none", out)
					}
				}
				return nil
			})
		})
	}
}

// TestUserRoles_AllowAndDeny checks what the ClusterRoles for users allow.
func TestUserRoles_AllowAndDeny(t *testing.T) {
	local := testutil.InstallCluster(t)
	for user, role := range map[string]string{"jane": "view", "vera": "securitybaseline-viewer", "edna": "securitybaseline-editor", "adam": "securitybaseline-admin"} {
		testutil.Kubectl(t, local, "", "create", "clusterrolebinding", user, "--clusterrole="+role, "--user="+user)
	}
	testutil.Kubectl(t, local, "", "create", "rolebinding", "rita", "--clusterrole=securitybaseline-baselinereport-viewer", "--user=rita", "-n", "default")
	for user, may := range map[string]string{
		"jane": "get securitybaselines, get baselinereports, !create securitybaselines",
		"vera": "get securitybaselines, get baselinereports, !create securitybaselines, !get pods",
		"edna": "create securitybaselines, delete securitybaselines, get baselinereports, !delete baselinereports, !bind clusterroles/view",
		"adam": "create securitybaselines, deletecollection securitybaselines, delete baselinereports, bind clusterroles/view, bind clusterroles/admin, !bind clusterroles/cluster-admin",
		"rita": "get baselinereports, !get securitybaselines, !get pods",
	} {
		for question := range strings.SplitSeq(may, ", ") {
			not := strings.HasPrefix(question, "!")
			want := map[bool]string{true: "no", false: "yes"}[not]
			args := append([]string{"auth", "can-i", "--as", user, "-n", "default"}, strings.Fields(strings.TrimPrefix(question, "!"))...)
			testutil.WaitFor(t, func(ctx context.Context) error {
				// It exits with 1 if the answer is no.
				out, _ := testutil.TryKubectl(ctx, local, "", args...)
				lines := strings.Fields(out)
				if len(lines) == 0 || lines[len(lines)-1] != want {
					return fmt.Errorf("%s: %v: got %s, want %s", user, args, out, want)
				}
				return nil
			})
		}
	}
}
