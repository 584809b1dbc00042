package install

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	utilyaml "k8s.io/apimachinery/pkg/util/yaml"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// readBaselines returns the baselines of a file.
func readBaselines(t *testing.T, file string) []v1alpha1.SecurityBaseline {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var found []v1alpha1.SecurityBaseline
	for decoder := utilyaml.NewYAMLOrJSONDecoder(bytes.NewReader(data), len(data)); ; {
		var baseline v1alpha1.SecurityBaseline
		if err := decoder.Decode(&baseline); errors.Is(err, io.EOF) {
			return found
		} else if err != nil {
			t.Fatal(err)
		}
		found = append(found, baseline)
	}
}

// createSelectedNamespace creates a namespace that a baseline selects, by its labels or by
// its name, and returns the name.
func createSelectedNamespace(t *testing.T, local *cluster.Cluster, baseline *v1alpha1.SecurityBaseline) string {
	t.Helper()
	namespace := corev1.Namespace{TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Namespace"}}
	namespace.Name = "for-" + baseline.Name
	namespace.Labels = map[string]string{}
	for key, value := range baseline.Spec.NamespaceSelector.MatchLabels {
		namespace.Labels[key] = string(value)
	}
	for _, expression := range baseline.Spec.NamespaceSelector.MatchExpressions {
		namespace.Labels[expression.Key] = "payments"
	}
	if name := namespace.Labels[corev1.LabelMetadataName]; name != "" {
		namespace.Name = name
	}
	manifest, err := yaml.Marshal(namespace)
	if err != nil {
		t.Fatal(err)
	}
	testutil.Kubectl(t, local, string(manifest), "apply", "-f", "-")
	return namespace.Name
}

// TestSamples_AppliedAndRemoved applies each sample unchanged, waits until a namespace
// that it selects is compliant, and removes the sample with everything that it applied.
func TestSamples_AppliedAndRemoved(t *testing.T) {
	local := testutil.InstallCluster(t)
	stop := testutil.StartOperator(t, local, cluster.OperatorOptions{})
	defer stop()
	files, err := filepath.Glob(filepath.Join(cluster.Root(), "config", "samples", "*.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	readme, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "samples", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	for _, file := range files {
		name := filepath.Base(file)
		if name == "kustomization.yaml" {
			continue
		}
		t.Run(name, func(t *testing.T) {
			if !bytes.Contains(readme, []byte("]("+name+")")) {
				t.Errorf("the README of the samples has no link to %s", name)
			}
			testutil.Kubectl(t, local, "", "apply", "-f", file)
			for _, baseline := range readBaselines(t, file) {
				namespace := createSelectedNamespace(t, local, &baseline)
				testutil.WaitForKubectl(t, local, "wait", "--for=condition=Ready", "securitybaseline/"+baseline.Name, "--timeout=1s")
				testutil.WaitForKubectl(t, local, "wait", "--for=jsonpath={.state}=Compliant", "baselinereport/security-baseline", "-n", namespace, "--timeout=1s")
				deleteWithManagedObjects(t, local, baseline.Name)
				if leftovers := testutil.Kubectl(t, local, "", "get", "networkpolicies,rolebindings", "-n", namespace, "-o", "name"); leftovers != "" {
					t.Errorf("objects after the removal: got %s, want none", leftovers)
				}
			}
		})
	}
	if len(files) < 10 {
		t.Errorf("samples: got %d, want at least 10", len(files))
	}
}
