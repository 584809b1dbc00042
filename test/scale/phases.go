package main

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// converge measures the time from the creation of the baseline until it is Ready and
// every namespace is compliant.
func (b *bench) converge(ctx context.Context) error {
	if err := b.clients.createNamespaces(ctx, 0, b.namespaces, governedStage); err != nil {
		return err
	}
	if err := pause(ctx, settleDuration); err != nil {
		return err
	}
	start := time.Now()
	if err := b.clients.custom.Create(ctx, b.baseline); err != nil {
		return err
	}
	if err := b.clients.waitForReady(ctx, b.baseline.Name, 1, b.namespaces); err != nil {
		return err
	}
	took := time.Since(start)
	b.add(figure{
		Name: "converge_seconds", Description: "converge: from the creation of the baseline until it is Ready and everything is compliant",
		Value: took.Seconds(), Unit: "s",
	})
	b.add(figure{Name: "converge_ratio", Description: "converge, relative to the floor", Value: took.Seconds() / b.floor.everything.Seconds(), Unit: "×", Goal: 1.25})
	b.add(figure{
		Name: "converge_with_requests_ratio", Description: "converge, relative to the floor with the dry run and the watches",
		Value: took.Seconds() / b.floor.withRequests.Seconds(), Unit: "×",
	})
	return pause(ctx, settleDuration)
}

// fanOut measures the time from the addition of an allowance until every namespace has
// it.
func (b *bench) fanOut(ctx context.Context) error {
	start := time.Now()
	generation, err := b.updateBaseline(ctx, func(spec *v1alpha1.SecurityBaselineSpec) {
		spec.Network.Policies = append(spec.Network.Policies, allowance("from-gateway", "gateway"))
	})
	if err != nil {
		return err
	}
	if err := b.clients.waitForReady(ctx, b.baseline.Name, generation, b.namespaces); err != nil {
		return err
	}
	took := time.Since(start)
	b.add(figure{Name: "fan_out_seconds", Description: "fan-out: from the addition of an allowance until the status reports it everywhere", Value: took.Seconds(), Unit: "s"})
	b.add(figure{
		Name: "fan_out_ratio", Description: "fan-out, relative to the floor of one policy for each namespace",
		Value: took.Seconds() / b.floor.onePolicy.Seconds(), Unit: "×", Goal: 1.25,
	})
	b.add(figure{
		Name: "fan_out_two_writes_ratio", Description: "fan-out, relative to the floor of one policy and one report update for each namespace",
		Value: took.Seconds() / b.floor.policyAndReport.Seconds(), Unit: "×",
	})
	return pause(ctx, settleDuration)
}

func allowance(name, from string) v1alpha1.NamedNetworkPolicy {
	return v1alpha1.NamedNetworkPolicy{Name: name, Spec: v1alpha1.NetworkPolicySpec{
		PolicyTypes: []v1alpha1.Direction{"Ingress"},
		Ingress: []v1alpha1.NetworkPolicyIngressRule{{From: []v1alpha1.NetworkPolicyPeer{{NamespaceSelector: &v1alpha1.LabelSelector{
			MatchLabels: map[string]v1alpha1.LabelValue{corev1.LabelMetadataName: v1alpha1.LabelValue(from)},
		}}}}},
	}}
}

// newNamespaces measures the time from the creation of a namespace until its last policy
// exists. It creates one namespace at a time.
func (b *bench) newNamespaces(ctx context.Context) error {
	version, err := b.clients.resourceVersion(ctx)
	if err != nil {
		return err
	}
	watched, err := b.clients.core.NetworkingV1().NetworkPolicies("").Watch(ctx, metav1.ListOptions{ResourceVersion: version})
	if err != nil {
		return err
	}
	defer watched.Stop()
	expected := len(b.floor.objects.policies) + 1 // including the allowance of the fan-out
	var took []time.Duration
	for i := range newNamespaceCount {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("new-%03d", i), Labels: map[string]string{stageLabel: governedStage}}}
		if _, err := b.clients.core.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			return err
		}
		start := time.Now()
		for created := 0; created < expected; {
			event, err := nextEvent(ctx, watched)
			if err != nil {
				return err
			}
			if policy, ok := event.Object.(*networkingv1.NetworkPolicy); ok && event.Type == watch.Added && policy.Namespace == namespace.Name {
				created++
			}
		}
		took = append(took, time.Since(start))
	}
	b.namespaces += newNamespaceCount
	b.add(figure{
		Name: "new_namespace_p50_ms", Description: "new namespaces: from the creation of a namespace to its last policy, p50",
		Value: percentile(took, .5), Unit: "ms", Goal: 50,
	})
	b.add(figure{Name: "new_namespace_p99_ms", Description: "new namespaces, p99", Value: percentile(took, .99), Unit: "ms"})
	return pause(ctx, settleDuration)
}

func bindings(roles ...string) *v1alpha1.RBAC {
	rbac := &v1alpha1.RBAC{}
	for _, role := range roles {
		rbac.RoleBindings = append(rbac.RoleBindings, v1alpha1.NamedRoleBinding{
			Name: role + "ers", RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: role}, Subjects: []v1alpha1.Subject{{Kind: rbacv1.GroupKind, Name: role + "ers"}},
		})
	}
	return rbac
}

// idle measures the requests and the CPU time of the operator while everything is
// compliant. The operator renews its lease every two seconds (PUT). POST requests are
// token reviews for the scraper, so they are not counted.
func (b *bench) idle(ctx context.Context) error {
	if err := pause(ctx, 20*time.Second); err != nil { // delayed evaluations
		return err
	}
	writes, stop, err := b.clients.countChanges(ctx)
	if err != nil {
		return err
	}
	defer stop()
	requests := func(method string) float64 {
		return b.scraper.sum(ctx, b.manager, "rest_client_requests_total", `method="`+method+`"`)
	}
	readsBefore := requests("GET")
	renewalsBefore := requests("PUT")
	secondsBefore := b.scraper.sum(ctx, b.manager, "process_cpu_seconds_total")
	if err := pause(ctx, idleDuration); err != nil {
		return err
	}
	seconds := b.scraper.sum(ctx, b.manager, "process_cpu_seconds_total") - secondsBefore
	reads := requests("GET") - readsBefore
	renewals := requests("PUT") - renewalsBefore
	b.add(figure{Name: "idle_reads", Description: "idle: reads in 60 s, each from a watch that restarts", Value: reads, Unit: ""})
	b.add(figure{Name: "idle_writes", Description: "idle: writes in 60 s, without the lease", Value: float64(writes.Load()), Unit: "", MustBeZero: true})
	b.add(figure{Name: "idle_renewals", Description: "idle: lease renewals in 60 s", Value: renewals, Unit: ""})
	b.add(figure{Name: "idle_cpu_seconds", Description: "idle: CPU seconds in 60 s", Value: seconds, Unit: "s", Goal: .3})
	now, _, err := residentMemory(b.manager.PID())
	b.add(figure{Name: "rss_mib", Description: fmt.Sprintf("memory with %d objects in each namespace", b.floor.objects.count()), Value: now, Unit: mebibytes})
	return err
}

// restart kills the operator and starts it again. It measures the time until everything
// is evaluated, and the writes.
func (b *bench) restart(ctx context.Context) error {
	writes, stop, err := b.clients.countChanges(ctx)
	if err != nil {
		return err
	}
	defer stop()
	namespaces, err := b.clients.core.CoreV1().Namespaces().List(ctx, metav1.ListOptions{})
	if err != nil {
		return err
	}
	if err := b.manager.Kill(); err != nil {
		return err
	}
	start := time.Now()
	if err := b.startManager(ctx); err != nil {
		return err
	}
	if err := b.scraper.waitForLeader(ctx, b.manager); err != nil {
		return err
	}
	leaseDuration := time.Since(start)
	if err := b.scraper.waitForReconciled(ctx, b.manager, len(namespaces.Items)); err != nil {
		return err
	}
	if err := b.scraper.waitForEvaluated(ctx, b.manager, b.baseline.Name); err != nil {
		return err
	}
	took := time.Since(start)
	if err := pause(ctx, settleDuration); err != nil {
		return err
	}
	_, peak, err := residentMemory(b.manager.PID())
	b.add(figure{Name: "restart_lease_seconds", Description: "restart: from kill -9 until the old lease expires", Value: leaseDuration.Seconds(), Unit: "s"})
	b.add(figure{Name: "restart_seconds", Description: "restart: from then until everything is evaluated", Value: (took - leaseDuration).Seconds(), Unit: "s"})
	b.add(figure{Name: "restart_writes", Description: "restart: writes", Value: float64(writes.Load()), Unit: "", MustBeZero: true})
	b.add(figure{Name: "restart_peak_mib", Description: "restart: peak memory", Value: peak, Unit: mebibytes})
	return err
}

// memory measures the memory with ten managed objects in each namespace.
func (b *bench) memory(ctx context.Context) error {
	generation, err := b.updateBaseline(ctx, func(spec *v1alpha1.SecurityBaselineSpec) {
		spec.RBAC = bindings("edit", "view")
		spec.Resources = &v1alpha1.Resources{
			LimitRange: &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{{
				Type: corev1.LimitTypeContainer, DefaultRequest: v1alpha1.LimitedResources{corev1.ResourceMemory: resource.MustParse("64Mi")},
			}}},
			Quota: &v1alpha1.ResourceQuotaSpec{Hard: corev1.ResourceList{corev1.ResourcePods: resource.MustParse("100")}},
		}
	})
	if err != nil {
		return err
	}
	if err := b.clients.waitForReady(ctx, b.baseline.Name, generation, b.namespaces); err != nil {
		return err
	}
	managed := metav1.ListOptions{LabelSelector: labels.Set{v1alpha1.BaselineLabel: b.baseline.Name}.String()}
	objects, err := b.clients.core.NetworkingV1().NetworkPolicies(namespaceName(0)).List(ctx, managed)
	if err != nil {
		return err
	}
	count := len(objects.Items) + 2 + 2 // RoleBindings, LimitRange and ResourceQuota
	// Measure the process that created the objects, then a new one, as after an upgrade.
	before, _, err := residentMemory(b.manager.PID())
	if err != nil {
		return err
	}
	if err := b.manager.Stop(); err != nil {
		return err
	}
	if err := b.startManager(ctx); err != nil {
		return err
	}
	if err := b.scraper.waitForEvaluated(ctx, b.manager, b.baseline.Name); err != nil {
		return err
	}
	if err := pause(ctx, startupDuration); err != nil {
		return err
	}
	fresh, peak, err := residentMemory(b.manager.PID())
	b.add(figure{
		Name: "memory_mib", Description: fmt.Sprintf("memory with %d objects in each namespace, half a minute after the start", count),
		Value: fresh, Unit: mebibytes, Goal: 150,
	})
	b.add(figure{Name: "memory_worked_mib", Description: "memory of the process that created these objects", Value: before, Unit: mebibytes})
	b.add(figure{Name: "memory_peak_mib", Description: "peak memory during the start", Value: peak, Unit: mebibytes})
	b.add(figure{Name: "memory_empty_mib", Description: "memory without governed namespaces", Value: b.emptyMemory, Unit: mebibytes})
	b.add(figure{
		Name: "memory_per_1000_mib", Description: "additional memory for each 1,000 namespaces with these objects",
		Value: (fresh - b.emptyMemory) / float64(b.namespaces) * 1000, Unit: mebibytes,
	})
	return err
}
