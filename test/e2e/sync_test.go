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
	"k8s.io/apimachinery/pkg/util/wait"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
)

// gitops is a tool that syncs a directory as Argo CD or Flux does.
type gitops struct {
	name, command string
	args          []string
	// ignoring has it leave alone what config/gitops has it leave alone.
	ignoring func(t *testing.T) []string
	healthy  string
	// healthOnly has it say how things are, Flux once they are settled.
	healthOnly []string
}

// tools are both, with each way of applying that they have.
func tools() []gitops {
	return []gitops{
		{"Argo CD, client-side", "argocd-sync", []string{"--prune"}, argoIgnoring, "Healthy", []string{"--diff"}},
		{"Argo CD, server-side", "argocd-sync", []string{"--prune", "--server-side"}, nil, "Healthy", []string{"--diff"}},
		{"Flux", "flux-sync", []string{"--prune"}, fluxIgnoring, "Current", []string{"--wait", "60s"}},
	}
}

// synced is what a tool says of one object.
type synced struct{ Kind, Sync, Result, Health, HealthMessage, Subject, Action, Status, Message string }

// synced says whether it is in the cluster as it is in git.
func (s *synced) synced() bool { return s.Sync == "Synced" || s.Action == "unchanged" }

// run runs it on a directory, and returns what it says of each kind of object there;
// the test's name is that of the Application or Kustomization.
func (g *gitops) run(t *testing.T, dir string, more ...string) map[string]synced {
	t.Helper()
	args := append([]string{"--kubeconfig", local.Kubeconfig(), "--manifests", dir}, g.args...)
	if g.command == "argocd-sync" {
		args = append(args, "--app", suffix(t), "--health-lua", "securitybaseline.io_SecurityBaseline="+healthScript(t))
	} else {
		args = append(args, "--name", suffix(t), "--inventory", filepath.Join(filepath.Dir(dir), "inventory.json"))
	}
	out, err := cluster.Tool(t.Context(), g.command, append(args, more...)...).Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%s: %v\n%s", g.name, err, exit.Stderr)
	}
	must(t, err)
	var said struct{ Resources, Changes, Health []synced }
	must(t, json.Unmarshal(out, &said))
	objects := map[string]synced{}
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
func inGit(t *testing.T, file string, document int, into any) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "gitops", file))
	must(t, err)
	decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), len(data))
	for range document + 1 {
		must(t, decoder.Decode(into))
	}
}

// healthScript writes the script of config/gitops for Argo CD into a file.
func healthScript(t *testing.T) string {
	t.Helper()
	var settings corev1.ConfigMap
	inGit(t, "argocd-cm.yaml", 0, &settings)
	return written(t, "health.lua", []byte(settings.Data["resource.customizations.health.securitybaseline.io_SecurityBaseline"]))
}

func written(t *testing.T, name string, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	must(t, os.WriteFile(path, data, 0o600))
	return path
}

func argoIgnoring(t *testing.T) []string {
	t.Helper()
	var application struct {
		Spec struct {
			IgnoreDifferences []any
			SyncPolicy        struct{ SyncOptions []string }
		}
	}
	inGit(t, "argocd-application.yaml", 1, &application)
	if !slices.Contains(application.Spec.SyncPolicy.SyncOptions, "RespectIgnoreDifferences=true") {
		t.Error("config/gitops has Argo CD write what it ignores")
	}
	list, err := yaml.Marshal(application.Spec.IgnoreDifferences)
	must(t, err)
	return []string{"--ignore-differences", written(t, "ignore.yaml", list), "--respect-ignore-differences"}
}

func fluxIgnoring(t *testing.T) []string {
	t.Helper()
	var kustomization struct{ Spec struct{ Ignore []any } }
	inGit(t, "flux-kustomization.yaml", 1, &kustomization)
	list, err := yaml.Marshal(kustomization.Spec.Ignore)
	must(t, err)
	return []string{"--ignore", written(t, "ignore.yaml", list)}
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
	must(t, os.Mkdir(r.dir, 0o700))
	selector := selectTest(t)
	r.namespace = &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: suffix(t) + "-synced", Labels: labels}}
	r.namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	for key, value := range selector.MatchLabels {
		metav1.SetMetaDataLabel(&r.namespace.ObjectMeta, key, string(value))
	}
	r.baseline = &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: suffix(t) + "-synced"}, Spec: everything()}
	r.baseline.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SecurityBaseline"))
	r.baseline.Spec.NamespaceSelector = selector
	r.commit(t)
	t.Cleanup(func() {
		remove(t, r.baseline)
		_ = admin.Delete(context.Background(), r.namespace)
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
		must(t, err)
		must(t, os.WriteFile(filepath.Join(r.dir, name), data, 0o600))
	}
}

// settled waits until a tool finds everything as it is in git.
func (g *gitops) settled(t *testing.T, dir string, more ...string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		for kind, object := range g.run(t, dir, append(more, "--diff")...) {
			if !object.synced() {
				return fmt.Errorf("%s: %+v", kind, object)
			}
		}
		return nil
	})
}

// versions returns those of what the operator wrote into the namespace, and the
// namespace's own.
func (r *repository) versions(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	namespace := get(t, "", r.namespace.Name, &corev1.Namespace{})
	found["Namespace"] = namespace.ResourceVersion
	var policies networkingv1.NetworkPolicyList
	must(t, admin.List(t.Context(), &policies, client.InNamespace(r.namespace.Name)))
	for _, policy := range policies.Items {
		found[policy.Name] = string(policy.UID) + policy.ResourceVersion
	}
	var bindings rbacv1.RoleBindingList
	must(t, admin.List(t.Context(), &bindings, client.InNamespace(r.namespace.Name)))
	for _, binding := range bindings.Items {
		found[binding.Name] = string(binding.UID) + binding.ResourceVersion
	}
	return found
}

func (r *repository) report(t *testing.T) *v1alpha1.BaselineReport {
	t.Helper()
	return get(t, r.namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
}

// A tool that syncs a baseline and a namespace, with prune on, neither changes what
// the operator did nor is undone by it, and knows when the baseline is in force. What
// it prunes is what was in git. It counts the operator's writes, so it runs alone.
func TestGitOpsToolsDoNotFightWithTheOperator(t *testing.T) {
	for _, tool := range tools() {
		t.Run(tool.name, func(t *testing.T) {
			repository := newRepository(t, nil)
			tool.run(t, repository.dir)
			inPlace(t, repository.baseline)
			health := tool.run(t, repository.dir, tool.healthOnly...)["SecurityBaseline"]
			equal(t, "its health: "+health.HealthMessage, tool.healthy, health.Health)
			evaluated(t, repository.namespace.Name, repository.baseline, v1alpha1.StateCompliant)
			tool.settled(t, repository.dir)

			before, versions, drifts := operatorWrites.Load(), repository.versions(t), repository.report(t).Summary.DriftsTotal
			for range 3 {
				for kind, object := range tool.run(t, repository.dir) {
					if !object.synced() {
						t.Errorf("%s is %+v", kind, object)
					}
				}
			}
			err := wait.PollUntilContextTimeout(t.Context(), glance, 3*time.Second, true, func(context.Context) (bool, error) {
				return operatorWrites.Load() != before, nil
			})
			if !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("%d writes of the operator (%v)", operatorWrites.Load()-before, err)
			}
			if diff := cmp.Diff(versions, repository.versions(t)); diff != "" {
				t.Errorf("what the operator wrote has changed:\n%s", diff)
			}
			equal(t, "drifts", drifts, repository.report(t).Summary.DriftsTotal)

			// The baseline is taken out of git: the tool deletes it, and nothing that it gave.
			must(t, os.Remove(filepath.Join(repository.dir, "baseline.yaml")))
			tool.run(t, repository.dir)
			eventually(t, func(ctx context.Context) error {
				if err := admin.Get(ctx, client.ObjectKeyFromObject(repository.baseline), &v1alpha1.SecurityBaseline{}); !apierrors.IsNotFound(err) {
					return fmt.Errorf("it is there: %w", err)
				}
				return nil
			})
			policy(t, repository.namespace.Name, "default-deny")
		})
	}
}

// What is refused is for the tool to see, with the sentence that says what to do.
func TestGitOpsToolsSeeWhatIsRefused(t *testing.T) {
	t.Parallel()
	tool := tools()[0]
	repository := newRepository(t, nil)
	repository.baseline.Spec.RBAC.RoleBindings[0].RoleRef.Name = "system:node"
	repository.commit(t)
	tool.run(t, repository.dir)
	eventually(t, func(context.Context) error {
		health := tool.run(t, repository.dir, "--diff")["SecurityBaseline"]
		if health.Health != "Degraded" || !strings.Contains(health.HealthMessage, `the operator may not bind ClusterRole "system:node"`) {
			return fmt.Errorf("%+v", health)
		}
		return nil
	})
}

// A namespace in git with a laxer level: the baseline holds, and the tool is quiet
// once it is told to leave the label alone, or git has none any more.
func TestALaxerLabelInGit(t *testing.T) {
	t.Parallel()
	for _, tool := range tools() {
		t.Run(tool.name, func(t *testing.T) {
			repository := newRepository(t, map[string]string{enforceLabel: "privileged"})
			tool.run(t, repository.dir)
			evaluated(t, repository.namespace.Name, repository.baseline, v1alpha1.StateCompliant)
			level := func(t *testing.T) {
				t.Helper()
				eventually(t, func(ctx context.Context) error {
					namespace := &corev1.Namespace{}
					err := admin.Get(ctx, client.ObjectKeyFromObject(repository.namespace), namespace)
					if namespace.Labels[enforceLabel] != string(repository.baseline.Spec.PodSecurity.Enforce) {
						return errors.Join(err, fmt.Errorf("labels %v", namespace.Labels))
					}
					return nil
				})
			}
			level(t)
			if namespace := tool.run(t, repository.dir, "--diff")["Namespace"]; namespace.synced() {
				t.Errorf("it does not see the difference: %+v", namespace)
			}
			tool.run(t, repository.dir)
			level(t)

			if tool.ignoring != nil {
				ignoring := tool.ignoring(t)
				tool.settled(t, repository.dir, ignoring...)
				tool.run(t, repository.dir, ignoring...) // Argo CD notes once what it applied
				version := repository.versions(t)["Namespace"]
				tool.run(t, repository.dir, ignoring...)
				equal(t, "the namespace's version", version, repository.versions(t)["Namespace"])
			}

			delete(repository.namespace.Labels, enforceLabel)
			repository.commit(t)
			tool.run(t, repository.dir)
			level(t)
			tool.settled(t, repository.dir)
		})
	}
}
