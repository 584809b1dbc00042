package e2e

import (
	"context"
	"os"
	"path/filepath"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/test/cluster"
)

// The sample with every section is applied as it stands; in a namespace of its own
// it lets in what meets it, and nothing else. It speaks of the whole cluster, so it
// runs alone.
func TestTheCompleteSample(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "samples", "complete.yaml"))
	must(t, err)
	baseline := &v1alpha1.SecurityBaseline{}
	must(t, yaml.UnmarshalStrict(data, baseline))
	for _, control := range controls.All {
		if !control.IsDeclared(&baseline.Spec) {
			t.Errorf("it leaves %s out", control.Name)
		}
	}
	create(t, baseline)
	inPlace(t, baseline)
	namespace := newNamespace(t, "a", map[string]string{"hardened": "complete", "team": "shop"})
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	account := &corev1.ServiceAccount{}
	account.Namespace, account.Name = namespace.Name, "app"
	must(t, admin.Create(t.Context(), account))

	good := func() corev1.PodSpec {
		spec := restrictedPod()
		spec.ServiceAccountName = "app"
		spec.Containers[0].Image = "registry.example.com/shop/web@" + sha256
		spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem = new(true)
		return spec
	}
	for kind, object := range whatMakes(namespace.Name, good()) {
		t.Run("a good "+kind, func(t *testing.T) {
			eventually(t, func(ctx context.Context) error { return tried(ctx, admin, object) })
		})
	}
	for rule, spoil := range map[string]func(*corev1.PodSpec){
		"rule images.allowedRegistries of SecurityBaseline complete; ask #platform":              func(p *corev1.PodSpec) { p.Containers[0].Image = "evil.io/web@" + sha256 },
		"rule images.requireDigest of SecurityBaseline complete; ask #platform":                  func(p *corev1.PodSpec) { p.Containers[0].Image = "nginx:1.27" },
		"rule workloads.readOnlyRootFilesystem of SecurityBaseline complete; ask #platform":      func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.ReadOnlyRootFilesystem = nil },
		"rule workloads.forbidDefaultServiceAccount of SecurityBaseline complete; ask #platform": func(p *corev1.PodSpec) { p.ServiceAccountName = "" },
		"violates PodSecurity": func(p *corev1.PodSpec) { p.HostNetwork = true },
	} {
		t.Run(rule, func(t *testing.T) {
			pod := good()
			spoil(&pod)
			heeded(t, func(ctx context.Context) error { return tried(ctx, admin, podOf(namespace.Name, pod)) }, rule)
		})
	}
	t.Run("what is guarded", func(t *testing.T) {
		for _, object := range []client.Object{policy(t, namespace.Name, "default-deny"), get(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})} {
			heeded(t, func(ctx context.Context) error { return admin.Delete(ctx, object, client.DryRunAll) }, "rule guard of SecurityBaseline complete; ask #platform")
		}
	})
}
