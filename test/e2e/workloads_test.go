package e2e

import (
	"context"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

func resourceList(pairs ...string) corev1.ResourceList {
	all := corev1.ResourceList{}
	for i := 0; i < len(pairs); i += 2 {
		all[corev1.ResourceName(pairs[i])] = resource.MustParse(pairs[i+1])
	}
	return all
}

func limitedResources(pairs ...string) v1alpha1.LimitedResources {
	return v1alpha1.LimitedResources(resourceList(pairs...))
}

// compliantPod returns a pod that meets every rule of workloads.
func compliantPod() corev1.PodSpec {
	return corev1.PodSpec{
		ServiceAccountName: "app",
		Containers: []corev1.Container{{
			Name: "app", Image: "example.com/app",
			Resources:       corev1.ResourceRequirements{Requests: resourceList("cpu", "10m", "memory", "16Mi"), Limits: resourceList("memory", "32Mi")},
			SecurityContext: &corev1.SecurityContext{ReadOnlyRootFilesystem: new(true)},
		}},
	}
}

func TestWorkloads_RequiredSettings(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "strict", v1alpha1.SecurityBaselineSpec{
		Workloads: &v1alpha1.Workloads{RequireLimits: true, ReadOnlyRootFilesystem: true, ForbidDefaultServiceAccount: true},
		Contact:   "#platform",
	})
	env.WaitForReady(t, baseline)
	env.WaitForServiceAccount(t, namespace.Name)
	account := &corev1.ServiceAccount{}
	account.Namespace = namespace.Name
	account.Name = "app"
	testutil.Must(t, env.Admin.Create(t.Context(), account))
	waitForForbidden(t, func(ctx context.Context) error {
		return dryRunCreate(ctx, env.Admin, newPodWithImage(namespace.Name, "example.com/app"))
	},
		"container app lacks a cpu request, a memory request, a memory limit; add them under resources: rule workloads.requireLimits of SecurityBaseline "+
			baseline.Name+"; contact #platform")

	const (
		cpuRequest    = "a cpu request"
		memoryRequest = "a memory request"
		memoryLimit   = "a memory limit"

		writable       = "container app has a writable root filesystem"
		defaultAccount = "the pod runs as the ServiceAccount default"
	)
	for _, test := range []struct {
		name   string
		change func(*corev1.PodSpec)
		want   string
	}{
		{name: "a compliant pod", change: func(*corev1.PodSpec) {}},
		{name: "no cpu request", want: "container app lacks " + cpuRequest + ";", change: func(p *corev1.PodSpec) {
			delete(p.Containers[0].Resources.Requests, "cpu")
		}},
		{name: "no memory request and no limit", want: "lacks " + memoryRequest + ", " + memoryLimit, change: func(p *corev1.PodSpec) {
			p.Containers[0].Resources = corev1.ResourceRequirements{Requests: resourceList("cpu", "1")}
		}},
		{name: "no memory limit", want: "lacks " + memoryLimit, change: func(p *corev1.PodSpec) { p.Containers[0].Resources.Limits = nil }},
		{name: "a limit is a request of as much", change: func(p *corev1.PodSpec) {
			p.Containers[0].Resources = corev1.ResourceRequirements{Limits: resourceList("cpu", "1", "memory", "1Gi")}
		}},
		{name: "zero is no request and no limit", want: "lacks a cpu request, a memory request, a memory limit", change: func(p *corev1.PodSpec) {
			p.Containers[0].Resources = corev1.ResourceRequirements{Requests: resourceList("cpu", "0", "memory", "0"), Limits: resourceList("memory", "0")}
		}},
		{name: "a request of zero under a limit", want: "lacks a cpu request;", change: func(p *corev1.PodSpec) {
			p.Containers[0].Resources = corev1.ResourceRequirements{Requests: resourceList("cpu", "0"), Limits: resourceList("cpu", "1", "memory", "1Gi")}
		}},
		{name: "zero for the pod as a whole", want: "lacks a cpu request, a memory request, a memory limit", change: func(p *corev1.PodSpec) {
			p.Containers[0].Resources = corev1.ResourceRequirements{}
			p.Resources = &corev1.ResourceRequirements{Requests: resourceList("cpu", "0", "memory", "0"), Limits: resourceList("memory", "0")}
		}},
		{name: "an init container that states nothing", want: "container setup lacks", change: func(p *corev1.PodSpec) {
			setup := p.Containers[0]
			setup.Name = "setup"
			setup.Resources = corev1.ResourceRequirements{}
			p.InitContainers = []corev1.Container{setup}
		}},
		{name: "stated for the pod as a whole", change: func(p *corev1.PodSpec) {
			p.Containers[0].Resources = corev1.ResourceRequirements{}
			p.Resources = &corev1.ResourceRequirements{Requests: resourceList("cpu", "1", "memory", "1Gi"), Limits: resourceList("memory", "1Gi")}
		}},
		{name: "a writable root filesystem", want: writable, change: func(p *corev1.PodSpec) {
			p.Containers[0].SecurityContext.ReadOnlyRootFilesystem = new(false)
		}},
		{name: "nothing said of the root filesystem", want: writable, change: func(p *corev1.PodSpec) { p.Containers[0].SecurityContext = nil }},
		{name: "Windows, which cannot", change: func(p *corev1.PodSpec) {
			p.OS = &corev1.PodOS{Name: corev1.Windows}
			p.Containers[0].SecurityContext = nil
		}},
		{name: "the ServiceAccount default", want: defaultAccount, change: func(p *corev1.PodSpec) { p.ServiceAccountName = "default" }},
		{name: "no ServiceAccount", want: defaultAccount, change: func(p *corev1.PodSpec) { p.ServiceAccountName = "" }},
	} {
		pod := compliantPod()
		test.change(&pod)
		for kind, object := range podsAndWorkloads(namespace.Name, pod) {
			t.Run(test.name+" in a "+kind, func(t *testing.T) {
				err := dryRunCreate(t.Context(), env.Admin, object)
				if test.want == "" {
					testutil.Must(t, err)
					return
				}
				testutil.Must(t, testutil.CheckForbidden(err, test.want, "rule workloads.", "of SecurityBaseline "+baseline.Name+"; contact #platform"))
			})
		}
	}
}

// TestWorkloads_CheckedWhenPodIsResized removes requests and limits from a pod.
func TestWorkloads_CheckedWhenPodIsResized(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	env.WaitForServiceAccount(t, namespace.Name)
	before := newPodWithImage(namespace.Name, "example.com/app")
	before.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: resourceList("cpu", "10m", "memory", "16Mi"), Limits: resourceList("cpu", "1", "memory", "32Mi")}
	testutil.Must(t, env.Admin.Create(t.Context(), before))
	baseline := env.NewBaseline(t, "limits", v1alpha1.SecurityBaselineSpec{
		// Resizing can only change what the first rule is about.
		Workloads: &v1alpha1.Workloads{RequireLimits: true, ReadOnlyRootFilesystem: true, ForbidDefaultServiceAccount: true},
	})
	env.WaitForReady(t, baseline)
	waitForForbidden(t, func(ctx context.Context) error {
		return dryRunCreate(ctx, env.Admin, newPodWithImage(namespace.Name, "example.com/app"))
	})
	resize := func(requests, limits corev1.ResourceList) error {
		resized := &corev1.Pod{}
		testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(before), resized))
		resized.Spec.Containers[0].Resources = corev1.ResourceRequirements{Requests: requests, Limits: limits}
		return env.Admin.SubResource("resize").Update(t.Context(), resized)
	}
	testutil.Must(t, testutil.CheckForbidden(resize(resourceList("cpu", "10m", "memory", "0"), resourceList("cpu", "1", "memory", "0")), "container app lacks a memory request, a memory limit; add them under resources: rule workloads.requireLimits"))
	testutil.Must(t, testutil.CheckForbidden(resize(resourceList("cpu", "0", "memory", "16Mi"), resourceList("cpu", "1", "memory", "32Mi")), "container app lacks a cpu request;"))
	testutil.Must(t, resize(resourceList("cpu", "20m", "memory", "16Mi"), resourceList("cpu", "1", "memory", "64Mi")))
}

// TestWorkloads_LimitRangeDefaultsCount checks that the defaults of the baseline's LimitRange
// count as if the pod or the template had them.
func TestWorkloads_LimitRangeDefaultsCount(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "both", v1alpha1.SecurityBaselineSpec{
		Workloads: &v1alpha1.Workloads{RequireLimits: true},
		Resources: &v1alpha1.Resources{LimitRange: &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, DefaultRequest: limitedResources("cpu", "100m"), Default: limitedResources("memory", "1Gi"),
		}}}},
	})
	env.WaitForReady(t, baseline)
	env.WaitForServiceAccount(t, namespace.Name)
	for kind, object := range podsAndWorkloads(namespace.Name, baselinePod()) {
		t.Run(kind, func(t *testing.T) {
			testutil.WaitFor(t, func(ctx context.Context) error { return dryRunCreate(ctx, env.Admin, object) })
		})
	}
	t.Run("what the LimitRange does not set is required", func(t *testing.T) {
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.LimitRange.Limits[0].DefaultRequest = nil
		})
		for _, object := range podsAndWorkloads(namespace.Name, baselinePod()) {
			waitForForbidden(t, func(ctx context.Context) error { return dryRunCreate(ctx, env.Admin, object) }, "container app lacks a cpu request;")
		}
	})
}

// TestAdmissionPolicies_WarnAndAuditActionsDenyNothing tests Audit mode too.
func TestAdmissionPolicies_WarnAndAuditActionsDenyNothing(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name   string
		spec   v1alpha1.SecurityBaselineSpec
		warned bool
	}{
		{"warn", v1alpha1.SecurityBaselineSpec{Images: &v1alpha1.Images{RequireDigest: true, Action: v1alpha1.ActionWarn}}, true},
		{"audit", v1alpha1.SecurityBaselineSpec{Images: &v1alpha1.Images{RequireDigest: true, Action: v1alpha1.ActionAudit}}, false},
		{"mode", inAuditMode(v1alpha1.SecurityBaselineSpec{Images: &v1alpha1.Images{RequireDigest: true}}), true},
	} {
		t.Run(test.name, func(t *testing.T) {
			namespace := env.NewNamespace(t, "a", nil)
			baseline := env.NewBaseline(t, "b", test.spec)
			env.WaitForReady(t, baseline)
			env.WaitForServiceAccount(t, namespace.Name)
			const rule = "has no digest; add one, as in name@sha256:...: rule images.requireDigest of SecurityBaseline "
			var want []string
			if test.warned {
				want = append(want, rule+baseline.Name)
			}
			got := waitForWarnings(t, want, func(ctx context.Context, writer client.Client) error {
				return dryRunCreate(ctx, writer, newPodWithImage(namespace.Name, "example.com/app"))
			})
			if !test.warned && strings.Contains(got, rule) {
				t.Errorf("warnings: got %q, want none of the rule", got)
			}
		})
	}
}
