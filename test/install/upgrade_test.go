package install

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// everyValue switches on what comes with the operator but is off.
var allOptionalValues = []string{"serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true", "openreports.enabled=true"}

// crds are what remains of an installation.
var crdNames = []string{
	"customresourcedefinition.apiextensions.k8s.io/baselinereports.securitybaseline.io",
	"customresourcedefinition.apiextensions.k8s.io/securitybaselines.securitybaseline.io",
}

// prepared starts a control plane with the CRDs of the tools that the operator works
// with. flags are further ones of its API server.
func startClusterWithCRDs(t *testing.T, flags ...string) *cluster.Cluster {
	t.Helper()
	local := testutil.StartCluster(t, flags...)
	openreports := runCommand(t, exec.CommandContext(t.Context(), "go", "list", "-m", "-f", "{{.Dir}}", "github.com/openreports/reports-api"))
	for _, dir := range []string{filepath.Join(cluster.Root(), "bin", "crds") + "/", filepath.Join(strings.TrimSpace(string(openreports)), "config", "crd")} {
		testutil.Kubectl(t, local, "", "create", "-f", dir)
	}
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	return local
}

// hardenedNamespace makes the operator's namespace as docs/install.md says.
func createRestrictedNamespace(t *testing.T, local *cluster.Cluster) {
	t.Helper()
	testutil.Kubectl(t, local, "", "create", "namespace", cluster.OperatorNamespace)
	testutil.Kubectl(t, local, "", "label", "namespace", cluster.OperatorNamespace, "pod-security.kubernetes.io/enforce=restricted",
		"pod-security.kubernetes.io/audit=restricted", "pod-security.kubernetes.io/warn=restricted")
	testutil.Kubectl(t, local, "", "wait", "--for=create", "configmap/kube-root-ca.crt", "serviceaccount/default", "-n", cluster.OperatorNamespace, "--timeout=60s")
}

// everything returns what is in the cluster, but for what comes and goes by itself:
// events, and the lists that say what to talk to.
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

// helm runs it as admin and returns what it says.
func helm(t *testing.T, local *cluster.Cluster, args ...string) string {
	t.Helper()
	return retryWhileNotSynced(t, func() (string, error) {
		out, err := local.Tool(t.Context(), "helm", args...).CombinedOutput()
		return string(out), err
	})
}

// synced installs or upgrades, and does it again as docs/upgrade.md says: for a moment
// after a CRD has changed, the API server cannot read what a policy is bound with.
func retryWhileNotSynced(t *testing.T, install func() (string, error)) string {
	t.Helper()
	var out string
	var err error
	testutil.Holds(t, func() bool {
		out, err = install()
		return err == nil || !strings.Contains(out, "not yet synced to use for admission")
	})
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return out
}

// older makes a chart of an older version: a column and a rule for authors are not
// there yet.
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
			t.Fatalf("%s has no %q", file, change[0])
		}
		if err := os.WriteFile(path, []byte(changed), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	return dir
}

// With the real helm: an older version is installed, upgraded to this one while its
// baseline is in force, and uninstalled. The CRDs stay, and the baseline with them,
// until both are deleted; nothing else does.
func TestHelm_InstallUpgradeUninstall(t *testing.T) {
	local := startClusterWithCRDs(t)
	createRestrictedNamespace(t, local)
	before := listObjects(t, local)
	install := append(helmArgs("install", allOptionalValues...), "--wait=hookOnly")
	install[2] = olderChart(t)
	if out := helm(t, local, install...); !strings.Contains(out, "kubectl get baselinereports --all-namespaces") {
		t.Errorf("helm says nothing of what is next: %s", out)
	}
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	waitForOperatorPods(t, local)
	stop := testutil.StartOperator(t, local)
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=60s")
	testutil.Kubectl(t, local, "", "wait", "--for=create", "baselinereport/security-baseline", "-n", "guarded", "--timeout=60s")
	uid := testutil.Kubectl(t, local, "", "get", "securitybaseline", "everything", "-o", "jsonpath={.metadata.uid}")

	for range 2 { // the second time, what the operator healed is there
		upgrade := append(helmArgs("upgrade", append(allOptionalValues, "replicas=3", `rbac.bindableClusterRoles=["system:node"]`)...), "--force-conflicts")
		helm(t, local, upgrade...)
		if columns := testutil.Kubectl(t, local, "", "get", "securitybaselines"); !strings.Contains(columns, "COMPLIANT") || strings.Contains(columns, "GOOD") {
			t.Errorf("the CRD is not upgraded: %s", columns)
		}
		for object, want := range map[string]string{
			"deployment/securitybaseline-manager {.spec.replicas}":                                                  "3",
			"clusterrole/securitybaseline-bindable {.rules[0].resourceNames[0]}":                                    "system:node",
			"validatingadmissionpolicy/require-bind-permission.securitybaseline.io {.spec.validations[24].message}": "rbac.roleBindings has more than 24 bindings",
		} {
			name, path, _ := strings.Cut(object, " ")
			if got := testutil.Kubectl(t, local, "", "get", name, "-n", cluster.OperatorNamespace, "-o", "jsonpath="+path); got != want {
				t.Errorf("%s is %q, not %q", object, got, want)
			}
		}
		// An operator of the older version is still there, and puts its own back.
		authors := testutil.Kubectl(t, local, "", "get", "validatingadmissionpolicy", "require-bind-permission.securitybaseline.io", "-o", "yaml")
		testutil.Kubectl(t, local, strings.ReplaceAll(authors, "has more than 24 bindings", "has too many bindings"), "replace", "--field-manager=securitybaseline-operator", "-f", "-")
	}
	if now := testutil.Kubectl(t, local, "", "get", "securitybaseline", "everything", "-o", "jsonpath={.metadata.uid}"); now != uid {
		t.Errorf("the baseline was %s and is %s", uid, now)
	}

	// Uninstalled in a hurry, with the operator running: the baseline stays, and is
	// there for the next release.
	helm(t, local, "uninstall", "securitybaseline", "-n", cluster.OperatorNamespace)
	stop()
	if now := testutil.Kubectl(t, local, "", "get", "securitybaseline", "everything", "-o", "jsonpath={.metadata.uid}"); now != uid {
		t.Errorf("the baseline was %s and is %s", uid, now)
	}
	helm(t, local, append(helmArgs("install", allOptionalValues...), "--wait=hookOnly")...)
	stop = testutil.StartOperator(t, local)
	waitForKubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=1s")

	// And in order.
	deleteWithManagedObjects(t, local, "everything")
	testutil.Kubectl(t, local, "", "delete", "namespace", "guarded", "--timeout=60s")
	stop()
	helm(t, local, "uninstall", "securitybaseline", "-n", cluster.OperatorNamespace)
	left := testutil.Kubectl(t, local, "", "get", "crd", "-o", "name")
	for _, crd := range crdNames {
		if !strings.Contains(left, crd) {
			t.Errorf("%s is gone", crd)
		}
	}
	testutil.Kubectl(t, local, "", append([]string{"delete"}, crdNames...)...)
	waitForObjects(t, local, before)
}

// restricted checks that the API server's Pod Security admission lets the operator's
// pods in where it enforces the restricted level.
func waitForOperatorPods(t *testing.T, local *cluster.Cluster) {
	t.Helper()
	waitForKubectl(t, local, "", "wait", "--for=create", "pod", "-l", "app.kubernetes.io/component=manager", "-n", cluster.OperatorNamespace, "--timeout=1s")
}

// isAsItWas waits until the cluster holds what it held.
func waitForObjects(t *testing.T, local *cluster.Cluster, before []string) {
	t.Helper()
	var diff string
	if !testutil.Holds(t, func() bool { diff = cmp.Diff(before, listObjects(t, local)); return diff == "" }) {
		t.Errorf("not everything is as it was (-before +after):\n%s", diff)
	}
}

// The same with the real kustomize, as make deploy and make undeploy do.
func TestKustomize_InstallUpgradeUninstall(t *testing.T) {
	local := startClusterWithCRDs(t)
	before := listObjects(t, local)
	whole := string(buildKustomization(t, []string{"default", "prometheus", "grafana"}, []string{"openreports"}))
	earlier := strings.ReplaceAll(strings.ReplaceAll(whole, "has more than 24 bindings", "has too many bindings"), "name: Compliant\n", "name: Good\n")
	apply := func(manifests string) {
		t.Helper()
		retryWhileNotSynced(t, func() (string, error) {
			return testutil.TryKubectl(t, local, manifests, "apply", "--server-side", "--force-conflicts", "-f", "-")
		})
	}
	apply(earlier)
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
	waitForOperatorPods(t, local)
	stop := testutil.StartOperator(t, local)
	testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=60s")
	apply(whole)
	if columns := testutil.Kubectl(t, local, "", "get", "securitybaselines"); !strings.Contains(columns, "COMPLIANT") {
		t.Errorf("the CRD is not upgraded: %s", columns)
	}
	testutil.Kubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=60s")

	deleteWithManagedObjects(t, local, "everything")
	testutil.Kubectl(t, local, "", "delete", "namespace", "guarded", "--timeout=60s")
	stop()
	testutil.Kubectl(t, local, whole, "delete", "--timeout=120s", "-f", "-")
	waitForObjects(t, local, before)
}

// So do Argo CD and Flux, and find nothing to change afterwards, with the operator at
// work.
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
			testutil.Kubectl(t, local, "", "wait", "--for=condition=Established", "crd", "--all", "--timeout=60s")
			waitForOperatorPods(t, local)
			stop := testutil.StartOperator(t, local)
			defer stop()
			testutil.Kubectl(t, local, guardedManifest, "apply", "-f", "-")
			waitForKubectl(t, local, "", "wait", "--for=condition=Ready", "securitybaseline", "everything", "--timeout=1s")
			var out string
			if !testutil.Holds(t, func() bool {
				out = sync("--diff")
				return !strings.Contains(out, "OutOfSync") && !strings.Contains(out, `"configured"`) && !strings.Contains(out, `"created"`)
			}) {
				t.Errorf("it finds something to change: %s", out)
			}
		})
	}
}

// Who may read what, by the ClusterRoles for people.
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
			var out string
			if !testutil.Holds(t, func() bool {
				// It exits with 1 where the answer is no.
				out, _ = testutil.TryKubectl(t, local, "", args...)
				lines := strings.Fields(out)
				return len(lines) > 0 && lines[len(lines)-1] == want
			}) {
				t.Errorf("%s: %s is not %s: %s", user, fmt.Sprint(args), want, out)
			}
		}
	}
}
