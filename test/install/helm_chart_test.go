package install

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/yaml"

	"github.com/securitybaseline/operator/test/cluster"
)

// runCommand runs a command and returns its standard output.
func runCommand(t *testing.T, command *exec.Cmd) []byte {
	t.Helper()
	out, err := command.Output()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		t.Fatalf("%v: %v\n%s", command.Args, err, exit.Stderr)
	}
	if err != nil {
		t.Fatalf("%v: %v", command.Args, err)
	}
	return out
}

// chartDir returns the directory of the Helm chart.
func chartDir() string { return filepath.Join(cluster.Root(), "dist", "chart") }

// buildKustomization writes a kustomization of these folders of config/ and returns what
// kustomize builds from it. Kustomize needs relative paths.
func buildKustomization(t *testing.T, resources, components []string) []byte {
	t.Helper()
	dir, err := os.MkdirTemp(filepath.Join(cluster.Root(), "bin"), "kustomization-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	var file strings.Builder
	for field, folders := range map[string][]string{"resources": resources, "components": components} {
		fmt.Fprintln(&file, field+":")
		for _, folder := range folders {
			fmt.Fprintln(&file, "- ../../config/"+folder)
		}
	}
	if err := os.WriteFile(filepath.Join(dir, "kustomization.yaml"), []byte(file.String()), 0o600); err != nil {
		t.Fatal(err)
	}
	return runCommand(t, cluster.Tool(t.Context(), "kustomize", "build", dir))
}

// parseObjects returns the objects of manifests by kind, namespace and name, without the
// labels and annotations by which the tools of an installation differ.
func parseObjects(t *testing.T, manifests []byte) map[string]map[string]any {
	t.Helper()
	found := map[string]map[string]any{}
	decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(manifests), len(manifests))
	for {
		object := &unstructured.Unstructured{}
		if err := decoder.Decode(&object.Object); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		if object.Object == nil {
			continue
		}
		labels := object.GetLabels()
		annotations := object.GetAnnotations()
		for _, label := range []string{"app.kubernetes.io/managed-by", "app.kubernetes.io/version", "helm.sh/chart"} {
			delete(labels, label)
		}
		delete(annotations, "helm.sh/resource-policy")
		object.SetLabels(labels)
		object.SetAnnotations(annotations)
		id := fmt.Sprintf("%s %s/%s", object.GetKind(), object.GetNamespace(), object.GetName())
		if found[id] != nil {
			t.Errorf("%s: got two, want one", id)
		}
		found[id] = object.Object
	}
}

// TestHelm_RendersWhatKustomizeBuilds compares the objects of both. Helm creates the
// namespace itself.
func TestHelm_RendersWhatKustomizeBuilds(t *testing.T) {
	for name, test := range map[string]struct {
		resources, components, values []string
	}{
		"by default": {resources: []string{"default"}},
		"with everything": {
			resources:  []string{"default", "prometheus", "grafana"},
			components: []string{"openreports", "metrics-tls"},
			values: []string{
				"serviceMonitor.enabled=true", "prometheusRule.enabled=true", "dashboard.enabled=true", "openreports.enabled=true",
				"metrics.certificateSecret=securitybaseline-metrics-tls",
			},
		},
	} {
		t.Run(name, func(t *testing.T) {
			want := parseObjects(t, buildKustomization(t, test.resources, test.components))
			namespace := "Namespace /" + cluster.OperatorNamespace
			if want[namespace] == nil {
				t.Errorf("objects of kustomize: got none named %s, want one", namespace)
			}
			delete(want, namespace)
			got := parseObjects(t, helmTemplate(t, append(test.values, "image.tag=latest")...))
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("objects differ (-kustomize +helm):\n%s", diff)
			}
		})
	}
}

// helmTemplate returns what the chart renders with these values.
func helmTemplate(t *testing.T, values ...string) []byte {
	t.Helper()
	return runCommand(t, cluster.Tool(t.Context(), "helm", helmArgs("template", values...)...))
}

// helmArgs returns the arguments of a command of helm for the release.
func helmArgs(command string, values ...string) []string {
	args := slices.Grow([]string{command, "securitybaseline", chartDir(), "--namespace", cluster.OperatorNamespace}, 2*len(values))
	for _, value := range values {
		args = append(args, "--set-json", jsonValue(value))
	}
	return args
}

// jsonValue converts a value of --set to one of --set-json, which keeps its type.
func jsonValue(value string) string {
	name, text, _ := strings.Cut(value, "=")
	switch {
	case text == "true", text == "false", strings.ContainsAny(text[:1], `[{"0123456789-`):
		return value
	}
	return fmt.Sprintf("%s=%q", name, text)
}

// TestHelm_ValuesTakeEffect sets each value of values.yaml.
func TestHelm_ValuesTakeEffect(t *testing.T) {
	deployment := func(t *testing.T, rendered map[string]map[string]any, path ...string) any {
		t.Helper()
		object := rendered["Deployment "+cluster.OperatorNamespace+"/securitybaseline-manager"]
		value, _, err := unstructured.NestedFieldNoCopy(object, append([]string{"spec"}, path...)...)
		if err != nil {
			t.Fatal(err)
		}
		return value
	}
	container := func(t *testing.T, rendered map[string]map[string]any, field string) any {
		t.Helper()
		return deployment(t, rendered, "template", "spec", "containers").([]any)[0].(map[string]any)[field]
	}
	pod := func(field ...string) func(*testing.T, map[string]map[string]any) any {
		return func(t *testing.T, rendered map[string]map[string]any) any {
			t.Helper()
			return deployment(t, rendered, append([]string{"template"}, field...)...)
		}
	}
	for value, test := range map[string]struct {
		get  func(t *testing.T, rendered map[string]map[string]any) any
		want string // part of what get returns, as Go prints it
	}{
		"replicas=3":                                     {func(t *testing.T, r map[string]map[string]any) any { return deployment(t, r, "replicas") }, "3"},
		"image.repository=example.com/sb":                {func(t *testing.T, r map[string]map[string]any) any { return container(t, r, "image") }, "example.com/sb:0."},
		"image.digest=sha256:" + strings.Repeat("0", 64): {func(t *testing.T, r map[string]map[string]any) any { return container(t, r, "image") }, "operator@sha256:00"},
		"image.pullPolicy=Always":                        {func(t *testing.T, r map[string]map[string]any) any { return container(t, r, "imagePullPolicy") }, "Always"},
		`imagePullSecrets=[{"name":"mine"}]`:             {pod("spec", "imagePullSecrets"), "map[name:mine]"},
		`resources={"requests":{"cpu":"1"}}`:             {func(t *testing.T, r map[string]map[string]any) any { return container(t, r, "resources") }, "cpu:1"},
		`nodeSelector={"a":"b"}`:                         {pod("spec", "nodeSelector"), "map[a:b]"},
		`tolerations=[{"operator":"Exists"}]`:            {pod("spec", "tolerations"), "map[operator:Exists]"},
		`affinity={"podAntiAffinity":{}}`:                {pod("spec", "affinity"), "podAntiAffinity"},
		"priorityClassName=system-cluster-critical":      {pod("spec", "priorityClassName"), "system-cluster-critical"},
		`podAnnotations={"a":"b"}`:                       {pod("metadata", "annotations"), "a:b"},
		`podLabels={"a":"b"}`:                            {pod("metadata", "labels"), "a:b"},
		`protectedNamespaces=["a","b"]`:                  {func(t *testing.T, r map[string]map[string]any) any { return container(t, r, "args") }, "--protected-namespaces=a,b"},
		"logLevel=2":                                     {func(t *testing.T, r map[string]map[string]any) any { return container(t, r, "args") }, "--v=2"},
		"metrics.enabled=false":                          {func(t *testing.T, r map[string]map[string]any) any { return container(t, r, "args") }, "--metrics-bind-address=0 "},
		"metrics.port=9443":                              {func(t *testing.T, r map[string]map[string]any) any { return container(t, r, "ports") }, "containerPort:9443"},
		`rbac.bindableClusterRoles=["reader"]`: {
			func(_ *testing.T, r map[string]map[string]any) any {
				return r["ClusterRole /securitybaseline-bindable"]
			},
			"resourceNames:[reader]",
		},
		`networkPolicy.apiServerPorts=[16443]`: {
			func(_ *testing.T, r map[string]map[string]any) any {
				return r["NetworkPolicy "+cluster.OperatorNamespace+"/securitybaseline-manager"]
			}, "map[port:16443]",
		},
		"networkPolicy.enabled=false": {
			func(_ *testing.T, r map[string]map[string]any) any {
				return r["NetworkPolicy "+cluster.OperatorNamespace+"/securitybaseline-manager"]
			}, "map[]",
		},
		"podDisruptionBudget.enabled=false": {
			func(_ *testing.T, r map[string]map[string]any) any {
				return r["PodDisruptionBudget "+cluster.OperatorNamespace+"/securitybaseline-manager"]
			}, "map[]",
		},
		"crds.enabled=false": {
			func(_ *testing.T, r map[string]map[string]any) any {
				return r["CustomResourceDefinition /securitybaselines.securitybaseline.io"]
			}, "map[]",
		},
	} {
		t.Run(value, func(t *testing.T) {
			got := fmt.Sprint(test.get(t, parseObjects(t, helmTemplate(t, value))))
			if !strings.Contains(got, test.want) {
				t.Errorf("got %s, want %s in it", got, test.want)
			}
		})
	}
}

// TestHelm_SchemaRejectsInvalidValues checks that the error names the value.
func TestHelm_SchemaRejectsInvalidValues(t *testing.T) {
	for value, want := range map[string]string{
		"replica=3":                           "'replica' not allowed",
		"replicas=many":                       "/replicas",
		"image.digest=latest":                 "/image/digest",
		"logLevel=11":                         "/logLevel",
		`protectedNamespaces=["Kube_System"]`: "/protectedNamespaces/0",
		`rbac.bindableClusterRoles=["cluster-admin"]`: "/rbac/bindableClusterRoles/0",
		"metrics.port=8081":                           "/metrics/port",
		"serviceMonitor.interval=often":               "/serviceMonitor/interval",
	} {
		t.Run(value, func(t *testing.T) {
			out, err := cluster.Tool(t.Context(), "helm", helmArgs("template", value)...).CombinedOutput()
			if err == nil || !strings.Contains(string(out), want) {
				t.Errorf("got error %v with %s, want one that names the value", err, out)
			}
		})
	}
	t.Run("a ServiceMonitor without metrics", func(t *testing.T) {
		out, err := cluster.Tool(t.Context(), "helm", helmArgs("template", "metrics.enabled=false", "serviceMonitor.enabled=true")...).CombinedOutput()
		if err == nil || !strings.Contains(string(out), "/serviceMonitor/enabled") {
			t.Errorf("got error %v with %s, want one that names the value", err, out)
		}
	})
}
