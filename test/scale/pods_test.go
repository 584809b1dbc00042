package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"sync"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/cluster"
)

const (
	// podsPerRound is the number of pods that writers create in each namespace in each
	// round.
	podsPerRound = 1000
	writers      = 16
	waitTimeout  = 2 * time.Minute
)

func TestMain(m *testing.M) {
	cluster.Main()
	ctrl.SetLogger(zap.New(zap.WriteTo(io.Discard)))
	os.Exit(m.Run())
}

// newBaseline returns a baseline that selects one namespace.
func newBaseline(namespace string, spec v1alpha1.SecurityBaselineSpec) *v1alpha1.SecurityBaseline {
	spec.NamespaceSelector.MatchLabels = map[string]v1alpha1.LabelValue{corev1.LabelMetadataName: v1alpha1.LabelValue(namespace)}
	return &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: namespace}, Spec: spec}
}

var (
	images = &v1alpha1.Images{
		AllowedRegistries: []string{"registry.example.com", "docker.io/library", "images.example.com:5000/team", "mirror.example.com/prometheus"}, RequireDigest: true,
	}
	workloads = &v1alpha1.Workloads{RequireLimits: true, ReadOnlyRootFilesystem: true, ForbidDefaultServiceAccount: true}
	// baselines are the measured baselines, one for each namespace.
	baselines = []*v1alpha1.SecurityBaseline{
		newBaseline("images", v1alpha1.SecurityBaselineSpec{Images: images}),
		newBaseline("workloads", v1alpha1.SecurityBaselineSpec{Workloads: workloads}),
		newBaseline("everything", v1alpha1.SecurityBaselineSpec{
			PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted", Audit: "restricted", Warn: "restricted"},
			Network:     &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress", "Egress"}, WaitForDefaultDeny: true},
			Images:      images, Workloads: workloads, Guard: &v1alpha1.Guard{},
			RBAC: &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{}},
		}),
	}
)

// BenchmarkPods measures how many pods a second the API server accepts. It does so without
// any policy, in a namespace that no baseline selects (beside), and in namespaces with the
// controls images, workloads and all together. Each round measures all of them in a
// different order, and without any policy before and after. So the load of the machine
// affects all of them equally. The figures are medians over the rounds. A ratio is
// relative to the rate without any policy in the same round.
func BenchmarkPods(b *testing.B) {
	local, err := cluster.Start(b.Context())
	must(b, err)
	defer func() { _ = local.Stop() }()
	must(b, local.Install(b.Context()))
	stop, err := local.StartOperator(b.Context(), cluster.OperatorOptions{})
	must(b, err)
	defer func() { _ = stop() }()
	admin, err := client.New(local.Admin, client.Options{Scheme: controllers.Scheme()})
	must(b, err)

	names := make([]string, 0, 1+len(baselines))
	names = append(names, "beside")
	for _, baseline := range baselines {
		names = append(names, baseline.Name)
	}
	for _, name := range names {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
		must(b, admin.Create(b.Context(), namespace))
		must(b, admin.Create(b.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "app"}}))
	}
	rates := map[string][]float64{}
	ratios := map[string][]float64{}
	round := func() {
		before := measurePodRate(b, admin, "beside")
		for _, baseline := range baselines {
			must(b, admin.Create(b.Context(), baseline.DeepCopy()))
		}
		for _, baseline := range baselines {
			waitForEnforced(b, admin, baseline.Name)
		}
		names = append(names[1:], names[0])
		for _, name := range names {
			rates[name] = append(rates[name], measurePodRate(b, admin, name))
		}
		for _, baseline := range baselines {
			must(b, admin.Delete(b.Context(), baseline.DeepCopy()))
		}
		waitForNotEnforced(b, admin)
		without := (before + measurePodRate(b, admin, "beside")) / 2
		rates["without"] = append(rates["without"], without)
		for _, name := range names {
			ratios[name] = append(ratios[name], rates[name][len(rates[name])-1]/without)
		}
	}
	round() // to warm up
	clear(rates)
	clear(ratios)
	for b.Loop() {
		round()
	}
	b.ReportMetric(0, "ns/op")
	b.ReportMetric(median(rates["without"]), "without-pods/s")
	for _, name := range names {
		b.ReportMetric(median(rates[name]), name+"-pods/s")
		b.ReportMetric(median(ratios[name]), name+"-ratio")
	}
}

// measurePodRate creates pods in a namespace and deletes them. It returns how many it
// created a second.
func measurePodRate(b *testing.B, admin client.Client, namespace string) float64 {
	b.Helper()
	pods := make(chan *corev1.Pod, podsPerRound)
	for i := range podsPerRound {
		pods <- pod(namespace, fmt.Sprintf("pod-%d", i))
	}
	close(pods)
	errs := make(chan error, podsPerRound)
	start := time.Now()
	var all sync.WaitGroup
	for range writers {
		all.Go(func() {
			for next := range pods {
				if err := admin.Create(b.Context(), next); err != nil {
					errs <- err
				}
			}
		})
	}
	all.Wait()
	took := time.Since(start)
	select {
	case err := <-errs:
		b.Fatal(err)
	default:
	}
	must(b, admin.DeleteAllOf(b.Context(), &corev1.Pod{}, client.InNamespace(namespace), client.GracePeriodSeconds(0)))
	waitFor(b, "no pod remains", func(ctx context.Context) (bool, error) {
		var remaining corev1.PodList
		err := admin.List(ctx, &remaining, client.InNamespace(namespace), client.Limit(1))
		return len(remaining.Items) == 0, err
	})
	return podsPerRound / took.Seconds()
}

// pod returns a pod with three containers that complies with every baseline.
func pod(namespace, name string) *corev1.Pod {
	container := func(name string) corev1.Container {
		resources := corev1.ResourceList{"cpu": resource.MustParse("10m"), "memory": resource.MustParse("16Mi")}
		return corev1.Container{
			Name:      name,
			Image:     "registry.example.com/team/" + name + ":v1@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
			Resources: corev1.ResourceRequirements{Requests: resources, Limits: resources},
			SecurityContext: &corev1.SecurityContext{
				AllowPrivilegeEscalation: new(false), RunAsNonRoot: new(true), ReadOnlyRootFilesystem: new(true),
				Capabilities:   &corev1.Capabilities{Drop: []corev1.Capability{"ALL"}},
				SeccompProfile: &corev1.SeccompProfile{Type: corev1.SeccompProfileTypeRuntimeDefault},
			},
		}
	}
	return &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name, Labels: map[string]string{"app": "web"}},
		Spec: corev1.PodSpec{
			ServiceAccountName: "app",
			InitContainers:     []corev1.Container{container("setup")},
			Containers:         []corev1.Container{container("app"), container("sidecar")},
		},
	}
}

// waitForEnforced waits until a baseline is ready and the API server applies its
// policies: a pod without settings is rejected.
func waitForEnforced(b *testing.B, admin client.Client, name string) {
	b.Helper()
	waitFor(b, "baseline "+name+" is enforced", func(ctx context.Context) (bool, error) {
		baseline := &v1alpha1.SecurityBaseline{}
		if err := admin.Get(ctx, client.ObjectKey{Name: name}, baseline); err != nil {
			return false, err
		}
		if !meta.IsStatusConditionTrue(baseline.Status.Conditions, v1alpha1.ConditionReady) {
			return false, nil
		}
		bare := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "bare"}, Spec: corev1.PodSpec{
			Containers: []corev1.Container{{Name: "app", Image: "evil.io/app"}},
		}}
		return admin.Create(ctx, bare, client.DryRunAll) != nil && admin.Create(ctx, pod(name, "good"), client.DryRunAll) == nil, nil
	})
}

// waitForNotEnforced waits until the API server no longer applies any policy.
func waitForNotEnforced(b *testing.B, admin client.Client) {
	b.Helper()
	for _, baseline := range baselines {
		waitFor(b, "no pod is rejected in "+baseline.Name, func(ctx context.Context) (bool, error) {
			return admin.Create(ctx, pod(baseline.Name, "good"), client.DryRunAll) == nil, nil
		})
	}
	waitFor(b, "the images policy is deleted", func(ctx context.Context) (bool, error) {
		var remaining admissionregistrationv1.ValidatingAdmissionPolicyList
		err := admin.List(ctx, &remaining)
		return !slices.ContainsFunc(remaining.Items, func(policy admissionregistrationv1.ValidatingAdmissionPolicy) bool {
			return policy.Name == "images.securitybaseline.io"
		}), err
	})
}

func waitFor(b *testing.B, condition string, check wait.ConditionWithContextFunc) {
	b.Helper()
	if err := wait.PollUntilContextTimeout(b.Context(), 20*time.Millisecond, waitTimeout, true, check); err != nil {
		b.Fatalf("waiting until %s: %v", condition, err)
	}
}

func must(b *testing.B, err error) {
	b.Helper()
	if err != nil {
		b.Fatal(err)
	}
}

func median(values []float64) float64 {
	slices.Sort(values)
	return values[len(values)/2]
}
