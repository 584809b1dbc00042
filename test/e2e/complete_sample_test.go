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
	"github.com/securitybaseline/operator/test/testutil"
)

// TestCompleteSample_AdmitsOnlyCompliantWorkloads applies the sample that has every section. It
// concerns the whole cluster, so it is not parallel.
func TestCompleteSample_AdmitsOnlyCompliantWorkloads(t *testing.T) {
	data, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "samples", "complete.yaml"))
	testutil.Must(t, err)
	baseline := &v1alpha1.SecurityBaseline{}
	testutil.Must(t, yaml.UnmarshalStrict(data, baseline))
	for _, control := range controls.All {
		if !control.IsDeclared(&baseline.Spec) {
			t.Errorf("controls of the sample: got no %s, want every control", control.Name)
		}
	}
	env.Create(t, baseline)
	env.WaitForReady(t, baseline)
	namespace := env.NewNamespace(t, "a", map[string]string{"hardened": "complete", "team": "shop"})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	account := &corev1.ServiceAccount{}
	account.Namespace = namespace.Name
	account.Name = "app"
	testutil.Must(t, env.Admin.Create(t.Context(), account))

	compliant := func() corev1.PodSpec {
		spec := restrictedPod()
		spec.ServiceAccountName = "app"
		spec.Containers[0].Image = "registry.example.com/shop/web@" + sha256
		spec.Containers[0].SecurityContext.ReadOnlyRootFilesystem = new(true)
		return spec
	}
	for kind, object := range podsAndWorkloads(namespace.Name, compliant()) {
		t.Run("a compliant "+kind, func(t *testing.T) {
			testutil.WaitFor(t, func(ctx context.Context) error { return dryRunCreate(ctx, env.Admin, object) })
		})
	}
	for rule, violate := range map[string]func(*corev1.PodSpec){
		"rule images.allowedRegistries of SecurityBaseline complete; contact #platform":              func(p *corev1.PodSpec) { p.Containers[0].Image = "evil.io/web@" + sha256 },
		"rule images.requireDigest of SecurityBaseline complete; contact #platform":                  func(p *corev1.PodSpec) { p.Containers[0].Image = "nginx:1.27" },
		"rule workloads.readOnlyRootFilesystem of SecurityBaseline complete; contact #platform":      func(p *corev1.PodSpec) { p.Containers[0].SecurityContext.ReadOnlyRootFilesystem = nil },
		"rule workloads.forbidDefaultServiceAccount of SecurityBaseline complete; contact #platform": func(p *corev1.PodSpec) { p.ServiceAccountName = "" },
		"violates PodSecurity": func(p *corev1.PodSpec) { p.HostNetwork = true },
	} {
		t.Run(rule, func(t *testing.T) {
			pod := compliant()
			violate(&pod)
			waitForForbidden(t, func(ctx context.Context) error { return dryRunCreate(ctx, env.Admin, newPod(namespace.Name, pod)) }, rule)
		})
	}
	t.Run("managed objects", func(t *testing.T) {
		for _, object := range []client.Object{env.WaitForPolicy(t, namespace.Name, "default-deny"), waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})} {
			waitForForbidden(t, func(ctx context.Context) error { return env.Admin.Delete(ctx, object, client.DryRunAll) }, "rule guard of SecurityBaseline complete; contact #platform")
		}
	})
}
