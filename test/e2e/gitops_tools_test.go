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

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// gitops is a tool that syncs a directory as Argo CD or Flux does.
type gitOpsTool struct {
	name, command string
	args          []string
	// ignoring has it leave alone what config/gitops has it leave alone.
	ignoreArgs func(t *testing.T) []string
	healthy    string
	// healthOnly has it say how things are, Flux once they are settled.
	healthOnly []string
}

// tools are both, with each way of applying that they have.
func gitOpsTools() []gitOpsTool {
	return []gitOpsTool{
		{"Argo CD, client-side", "argocd-sync", []string{"--prune"}, argoIgnoreArgs, "Healthy", []string{"--diff"}},
		{"Argo CD, server-side", "argocd-sync", []string{"--prune", "--server-side"}, nil, "Healthy", []string{"--diff"}},
		{"Flux", "flux-sync", []string{"--prune"}, fluxIgnoreArgs, "Current", []string{"--wait", "60s"}},
	}
}

// synced is what a tool says of one object.
type syncedObject struct{ Kind, Sync, Result, Health, HealthMessage, Subject, Action, Status, Message string }

// synced says whether it is in the cluster as it is in git.
func (s *syncedObject) isSynced() bool { return s.Sync == "Synced" || s.Action == "unchanged" }

// run runs it on a directory, and returns what it says of each kind of object there;
// the test's name is that of the Application or Kustomization.
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

// inGit reads a document of config/gitops.
func readGitOpsConfig(t *testing.T, file string, document int, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "gitops", file))
	testutil.Must(t, err)
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), len(data))
	for range document + 1 {
		testutil.Must(t, decoder.Decode(into))
	}
}

// healthScript writes the script of config/gitops for Argo CD into a file.
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
		t.Error("config/gitops has Argo CD write what it ignores")
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

// repository is a directory in which manifests are what git has.
type repository struct {
	dir       string
	namespace *corev1.Namespace
	baseline  *v1alpha1.SecurityBaseline
}

// newRepository has a namespace with these labels and a baseline that selects it.
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

// commit writes both as a person would: nothing of what the API server adds.
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

// settled waits until a tool finds everything as it is in git.
func (g *gitOpsTool) waitForSynced(t *testing.T, dir string, more ...string) {
	t.Helper()
	testutil.WaitFor(t, func(context.Context) error {
		for kind, object := range g.sync(t, dir, append(more, "--diff")...) {
			if !object.isSynced() {
				return fmt.Errorf("%s: %+v", kind, object)
			}
		}
		return nil
	})
}

// versions returns those of what the operator wrote into the namespace, and the
// namespace's own.
func (r *repository) resourceVersions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	namespace := waitForObject(t, "", r.namespace.Name, &corev1.Namespace{})
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

func (r *repository) report(t *testing.T) *v1alpha1.BaselineReport {
	t.Helper()
	return waitForObject(t, r.namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
}

// A tool that syncs a baseline and a namespace, with prune on, neither changes what
// the operator did nor is undone by it, and knows when the baseline is in force. What
// it prunes is what was in git. It counts the operator's writes, so it runs alone.
func TestGitOpsTools_SyncWithoutConflict(t *testing.T) {
	for _, tool := range gitOpsTools() {
		t.Run(tool.name, func(t *testing.T) {
			repository := newRepository(t, nil)
			tool.sync(t, repository.dir)
			env.WaitForReady(t, repository.baseline)
			health := tool.sync(t, repository.dir, tool.healthOnly...)["SecurityBaseline"]
			testutil.Equal(t, "its health: "+health.HealthMessage, tool.healthy, health.Health)
			env.WaitForReport(t, repository.namespace.Name, repository.baseline, v1alpha1.StateCompliant)
			tool.waitForSynced(t, repository.dir)

			before, versions, drifts := env.writes.Load(), repository.resourceVersions(t), repository.report(t).Summary.DriftsTotal
			for range 3 {
				for kind, object := range tool.sync(t, repository.dir) {
					if !object.isSynced() {
						t.Errorf("%s is %+v", kind, object)
					}
				}
			}
			env.neverWrites(t, before, 3*time.Second)
			if diff := cmp.Diff(versions, repository.resourceVersions(t)); diff != "" {
				t.Errorf("what the operator wrote has changed:\n%s", diff)
			}
			testutil.Equal(t, "drifts", drifts, repository.report(t).Summary.DriftsTotal)

			// The baseline is taken out of git: the tool deletes it, and nothing that it gave.
			testutil.Must(t, os.Remove(filepath.Join(repository.dir, "baseline.yaml")))
			tool.sync(t, repository.dir)
			testutil.WaitFor(t, func(ctx context.Context) error {
				if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(repository.baseline), &v1alpha1.SecurityBaseline{}); !apierrors.IsNotFound(err) {
					return fmt.Errorf("it is there: %w", err)
				}
				return nil
			})
			env.WaitForPolicy(t, repository.namespace.Name, "default-deny")
		})
	}
}

// What is refused is for the tool to see, with the sentence that says what to do.
func TestGitOpsTools_ShowForbiddenBinding(t *testing.T) {
	t.Parallel()
	tool := gitOpsTools()[0]
	repository := newRepository(t, nil)
	repository.baseline.Spec.RBAC.RoleBindings[0].RoleRef.Name = "system:node"
	repository.commit(t)
	tool.sync(t, repository.dir)
	testutil.WaitFor(t, func(context.Context) error {
		health := tool.sync(t, repository.dir, "--diff")["SecurityBaseline"]
		if health.Health != "Degraded" || !strings.Contains(health.HealthMessage, `the operator may not bind ClusterRole "system:node"`) {
			return fmt.Errorf("%+v", health)
		}
		return nil
	})
}

// A namespace in git with a laxer level: the baseline holds, and the tool is quiet
// once it is told to leave the label alone, or git has none any more.
func TestGitOpsTools_WeakerLabelInGitIsOverridden(t *testing.T) {
	t.Parallel()
	for _, tool := range gitOpsTools() {
		t.Run(tool.name, func(t *testing.T) {
			repository := newRepository(t, map[string]string{enforceLabel: "privileged"})
			tool.sync(t, repository.dir)
			env.WaitForReport(t, repository.namespace.Name, repository.baseline, v1alpha1.StateCompliant)
			level := func(t *testing.T) {
				t.Helper()
				testutil.WaitFor(t, func(ctx context.Context) error {
					namespace := &corev1.Namespace{}
					err := env.Admin.Get(ctx, client.ObjectKeyFromObject(repository.namespace), namespace)
					if namespace.Labels[enforceLabel] != string(repository.baseline.Spec.PodSecurity.Enforce) {
						return errors.Join(err, fmt.Errorf("labels %v", namespace.Labels))
					}
					return nil
				})
			}
			level(t)
			if namespace := tool.sync(t, repository.dir, "--diff")["Namespace"]; namespace.isSynced() {
				t.Errorf("it does not see the difference: %+v", namespace)
			}
			tool.sync(t, repository.dir)
			level(t)

			if tool.ignoreArgs != nil {
				ignoring := tool.ignoreArgs(t)
				tool.waitForSynced(t, repository.dir, ignoring...)
				tool.sync(t, repository.dir, ignoring...) // Argo CD notes once what it applied
				version := repository.resourceVersions(t)["Namespace"]
				tool.sync(t, repository.dir, ignoring...)
				testutil.Equal(t, "the namespace's version", version, repository.resourceVersions(t)["Namespace"])
			}

			delete(repository.namespace.Labels, enforceLabel)
			repository.commit(t)
			tool.sync(t, repository.dir)
			level(t)
			tool.waitForSynced(t, repository.dir)
		})
	}
}
