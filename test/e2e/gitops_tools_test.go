package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// gitOpsTool syncs a directory as Argo CD or Flux does.
type gitOpsTool struct {
	name, command string
	args          []string
	// ignoreArgs returns the arguments for what config/gitops has the tool ignore.
	ignoreArgs func(t *testing.T) []string
	healthy    string
	// healthOnly has the tool report the health; Flux waits for it.
	healthOnly []string
}

// gitOpsTools returns both tools, with each way of applying that they have.
func gitOpsTools() []gitOpsTool {
	return []gitOpsTool{
		{
			name: "Argo CD, client-side", command: "argocd-sync", args: []string{"--prune"},
			ignoreArgs: argoIgnoreArgs, healthy: "Healthy", healthOnly: []string{"--diff"},
		},
		{
			name: "Argo CD, server-side", command: "argocd-sync", args: []string{"--prune", "--server-side"},
			healthy: "Healthy", healthOnly: []string{"--diff"},
		},
		{
			name: "Flux", command: "flux-sync", args: []string{"--prune"},
			ignoreArgs: fluxIgnoreArgs, healthy: "Current", healthOnly: []string{"--wait", "60s"},
		},
	}
}

// syncedObject is what a tool reports about one object.
type syncedObject struct{ Kind, Sync, Result, Health, HealthMessage, Subject, Action, Status, Message string }

// isSynced reports whether the object in the cluster is the one in git.
func (s *syncedObject) isSynced() bool { return s.Sync == "Synced" || s.Action == "unchanged" }

// sync runs the tool on a directory, and returns what it reports about each kind of object. The
// Application or Kustomization has the name of the test.
func (g *gitOpsTool) sync(t *testing.T, dir string, more ...string) map[string]syncedObject {
	t.Helper()
	args := append([]string{"--kubeconfig", env.Cluster.Kubeconfig(), "--manifests", dir}, g.args...)
	if g.command == "argocd-sync" {
		args = append(args, "--app", testutil.Name(t), "--health-lua", "securitybaseline.io_SecurityBaseline="+writeHealthScript(t))
	} else {
		args = append(args, "--name", testutil.Name(t), "--inventory", filepath.Join(filepath.Dir(dir), "inventory.json"))
	}
	out, err := cluster.Tool(t.Context(), g.command, append(args, more...)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%s: %v\n%s", g.name, err, exit.Stderr)
	}
	testutil.Must(t, err)
	var said struct{ Resources, Changes, Health []syncedObject }
	testutil.Must(t, json.Unmarshal(out, &said))
	objects := map[string]syncedObject{}
	for _, object := range said.Resources {
		objects[object.Kind] = object
	}
	for _, change := range said.Changes {
		kind, _, _ := strings.Cut(change.Subject, "/")
		objects[kind] = change
	}
	for _, health := range said.Health {
		kind, _, _ := strings.Cut(health.Subject, "/")
		object := objects[kind]
		object.Health, object.HealthMessage = health.Status, health.Message
		objects[kind] = object
	}
	return objects
}

// readGitOpsConfig reads a document of a file in config/gitops.
func readGitOpsConfig(t *testing.T, file string, document int, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "gitops", file))
	testutil.Must(t, err)
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), len(data))
	for range document + 1 {
		testutil.Must(t, decoder.Decode(into))
	}
}

// writeHealthScript writes the health script of config/gitops for Argo CD into a file.
func writeHealthScript(t *testing.T) string {
	t.Helper()
	var settings corev1.ConfigMap
	readGitOpsConfig(t, "argocd-cm.yaml", 0, &settings)
	return writeFile(t, "health.lua", []byte(settings.Data["resource.customizations.health.securitybaseline.io_SecurityBaseline"]))
}

func writeFile(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	testutil.Must(t, os.WriteFile(path, data, 0o600))
	return path
}

func argoIgnoreArgs(t *testing.T) []string {
	t.Helper()
	var application struct {
		Spec struct {
			IgnoreDifferences []any
			SyncPolicy        struct{ SyncOptions []string }
		}
	}
	readGitOpsConfig(t, "argocd-application.yaml", 1, &application)
	if !slices.Contains(application.Spec.SyncPolicy.SyncOptions, "RespectIgnoreDifferences=true") {
		t.Error("syncOptions in config/gitops: got no RespectIgnoreDifferences=true, want it")
	}
	list, err := yaml.Marshal(application.Spec.IgnoreDifferences)
	testutil.Must(t, err)
	return []string{"--ignore-differences", writeFile(t, "ignore.yaml", list), "--respect-ignore-differences"}
}

func fluxIgnoreArgs(t *testing.T) []string {
	t.Helper()
	var kustomization struct{ Spec struct{ Ignore []any } }
	readGitOpsConfig(t, "flux-kustomization.yaml", 1, &kustomization)
	list, err := yaml.Marshal(kustomization.Spec.Ignore)
	testutil.Must(t, err)
	return []string{"--ignore", writeFile(t, "ignore.yaml", list)}
}

// repository is a directory of manifests, as in git.
type repository struct {
	dir       string
	namespace *corev1.Namespace
	baseline  *v1alpha1.SecurityBaseline
}

// newRepository returns a repository with a namespace that has these labels, and a baseline
// that selects it.
func newRepository(t *testing.T, labels map[string]string) *repository {
	t.Helper()
	r := &repository{dir: filepath.Join(t.TempDir(), "manifests")}
	testutil.Must(t, os.Mkdir(r.dir, 0o700))
	selector := testutil.Selector(t)
	r.namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-synced", Labels: labels}}
	r.namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	for key, value := range selector.MatchLabels {
		metav1.SetMetaDataLabel(&r.namespace.ObjectMeta, key, string(value))
	}
	r.baseline = &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-synced"}, Spec: defaultSpec()}
	r.baseline.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SecurityBaseline"))
	r.baseline.Spec.NamespaceSelector = selector
	r.commit(t)
	t.Cleanup(func() {
		env.Delete(t, r.baseline)
		_ = env.Admin.Delete(context.Background(), r.namespace)
	})
	return r
}

// commit writes both manifests without what the API server adds.
func (r *repository) commit(t *testing.T) {
	t.Helper()
	for name, manifest := range map[string]map[string]any{
		"namespace.yaml": {"apiVersion": "v1", "kind": "Namespace", "metadata": map[string]any{"name": r.namespace.Name, "labels": r.namespace.Labels}},
		"baseline.yaml": {"apiVersion": v1alpha1.GroupVersion.String(), "kind": "SecurityBaseline",
			"metadata": map[string]any{"name": r.baseline.Name}, "spec": r.baseline.Spec},
	} {
		data, err := yaml.Marshal(manifest)
		testutil.Must(t, err)
		testutil.Must(t, os.WriteFile(filepath.Join(r.dir, name), data, 0o600))
	}
}

// waitForSynced waits until a tool finds no difference.
func (g *gitOpsTool) waitForSynced(t *testing.T, dir string, more ...string) {
	t.Helper()
	testutil.WaitFor(t, func(context.Context) error {
		for kind, object := range g.sync(t, dir, append(more, "--diff")...) {
			if !object.isSynced() {
				return fmt.Errorf("%s: got %+v, want it to be synced", kind, object)
			}
		}
		return nil
	})
}

// resourceVersions returns the versions of the namespace and of the managed objects in it.
func (r *repository) resourceVersions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	namespace := readObject(t, "", r.namespace.Name, &corev1.Namespace{})
	found["Namespace"] = namespace.ResourceVersion
	var policies networkingv1.NetworkPolicyList
	testutil.Must(t, env.Admin.List(t.Context(), &policies, client.InNamespace(r.namespace.Name)))
	for _, policy := range policies.Items {
		found[policy.Name] = string(policy.UID) + policy.ResourceVersion
	}
	var bindings rbacv1.RoleBindingList
	testutil.Must(t, env.Admin.List(t.Context(), &bindings, client.InNamespace(r.namespace.Name)))
	for _, binding := range bindings.Items {
		found[binding.Name] = string(binding.UID) + binding.ResourceVersion
	}
	return found
}

// report returns the report of the namespace.
func (r *repository) report(t *testing.T) *v1alpha1.BaselineReport {
	t.Helper()
	return readObject(t, r.namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
}

// TestGitOpsTools_SyncWithoutConflict syncs a baseline and a namespace, with pruning. Neither the
// tool nor the operator may change what the other one wrote, and the tool must see when the
// baseline is ready. It counts the operator's writes.
func TestGitOpsTools_SyncWithoutConflict(t *testing.T) {
	for _, tool := range gitOpsTools() {
		t.Run(tool.name, func(t *testing.T) {
			repo := newRepository(t, nil)
			tool.sync(t, repo.dir)
			env.WaitForReady(t, repo.baseline)
			testutil.WaitFor(t, func(context.Context) error {
				health := tool.sync(t, repo.dir, tool.healthOnly...)["SecurityBaseline"]
				return testutil.CheckEqual("the health, "+health.HealthMessage, health.Health, tool.healthy)
			})
			env.WaitForReport(t, repo.namespace.Name, repo.baseline, v1alpha1.StateCompliant)
			tool.waitForSynced(t, repo.dir)

			env.waitForNoWrites(t)
			before := env.writes.Load()
			versions := repo.resourceVersions(t)
			drifts := repo.report(t).Summary.DriftsTotal
			for range 3 {
				for kind, object := range tool.sync(t, repo.dir) {
					if !object.isSynced() {
						t.Errorf("%s: got %+v, want it to be synced", kind, object)
					}
				}
			}
			env.neverWrites(t, before, 3*time.Second)
			testutil.Equal(t, "the versions", repo.resourceVersions(t), versions)
			testutil.Equal(t, "drifts", repo.report(t).Summary.DriftsTotal, drifts)

			// When git no longer has the baseline, the tool deletes it, and no managed object.
			testutil.Must(t, os.Remove(filepath.Join(repo.dir, "baseline.yaml")))
			tool.sync(t, repo.dir)
			env.WaitForNotFound(t, "", repo.baseline.Name, &v1alpha1.SecurityBaseline{})
			env.WaitForPolicy(t, repo.namespace.Name, "default-deny")
		})
	}
}

// TestGitOpsTools_ShowForbiddenBinding checks that the tool shows the message that says what to
// do.
func TestGitOpsTools_ShowForbiddenBinding(t *testing.T) {
	t.Parallel()
	tool := gitOpsTools()[0]
	repo := newRepository(t, nil)
	repo.baseline.Spec.RBAC.RoleBindings[0].RoleRef.Name = "system:node"
	repo.commit(t)
	tool.sync(t, repo.dir)
	testutil.WaitFor(t, func(context.Context) error {
		health := tool.sync(t, repo.dir, "--diff")["SecurityBaseline"]
		if health.Health != "Degraded" || !strings.Contains(health.HealthMessage, `the operator may not bind ClusterRole "system:node"`) {
			return fmt.Errorf("health: got %+v, want Degraded because of system:node", health)
		}
		return nil
	})
}

// TestGitOpsTools_WeakerLabelInGitIsOverridden has a namespace with a weaker level in git. The
// tool finds no difference once it ignores the label, or git no longer has it.
func TestGitOpsTools_WeakerLabelInGitIsOverridden(t *testing.T) {
	t.Parallel()
	for _, tool := range gitOpsTools() {
		t.Run(tool.name, func(t *testing.T) {
			repo := newRepository(t, map[string]string{enforceLabel: "privileged"})
			tool.sync(t, repo.dir)
			env.WaitForReport(t, repo.namespace.Name, repo.baseline, v1alpha1.StateCompliant)
			waitForLevel := func(t *testing.T) {
				t.Helper()
				env.WaitForLabels(t, repo.namespace.Name, map[string]string{enforceLabel: string(repo.baseline.Spec.PodSecurity.Enforce)})
			}
			waitForLevel(t)
			if namespace := tool.sync(t, repo.dir, "--diff")["Namespace"]; namespace.isSynced() {
				t.Errorf("namespace: got %+v, want a difference", namespace)
			}
			tool.sync(t, repo.dir)
			waitForLevel(t)

			if tool.ignoreArgs != nil {
				ignoring := tool.ignoreArgs(t)
				tool.waitForSynced(t, repo.dir, ignoring...)
				tool.sync(t, repo.dir, ignoring...) // Argo CD records once what it applied
				version := repo.resourceVersions(t)["Namespace"]
				tool.sync(t, repo.dir, ignoring...)
				testutil.Equal(t, "the namespace's version", repo.resourceVersions(t)["Namespace"], version)
			}

			delete(repo.namespace.Labels, enforceLabel)
			repo.commit(t)
			tool.sync(t, repo.dir)
			waitForLevel(t)
			tool.waitForSynced(t, repo.dir)
		})
	}
}
