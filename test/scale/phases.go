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

// converge measures from the baseline's creation to Ready with every namespace
// compliant.
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
	if err := b.clients.waitUntilReady(ctx, b.baseline.Name, 1, b.namespaces); err != nil {
		return err
	}
	took := time.Since(start)
	b.add(figure{Name: "converge_seconds", Description: "converge: from apply to Ready, everything compliant", Value: took.Seconds(), Unit: "s"})
	b.add(figure{Name: "converge_ratio", Description: "converge, to the floor", Value: took.Seconds() / b.floor.everything.Seconds(), Unit: "×", Goal: 1.25})
	b.add(figure{Name: "converge_burdened_ratio", Description: "converge, to the floor with the dry run and the watches", Value: took.Seconds() / b.floor.withRequests.Seconds(), Unit: "×"})
	return pause(ctx, settleDuration)
}

// fanOut measures from a new allowance to its being everywhere.
func (b *bench) fanOut(ctx context.Context) error {
	start := time.Now()
	generation, err := b.updateBaseline(ctx, func(spec *v1alpha1.SecurityBaselineSpec) {
		spec.Network.Policies = append(spec.Network.Policies, allowance("from-gateway", "gateway"))
	})
	if err != nil {
		return err
	}
	if err := b.clients.waitUntilReady(ctx, b.baseline.Name, generation, b.namespaces); err != nil {
		return err
	}
	took := time.Since(start)
	b.add(figure{Name: "fan_out_seconds", Description: "fan-out: an allowance more, until it is everywhere and the status says so", Value: took.Seconds(), Unit: "s"})
	b.add(figure{Name: "fan_out_ratio", Description: "fan-out, to the floor of one write for each", Value: took.Seconds() / b.floor.onePolicy.Seconds(), Unit: "×", Goal: 1.25})
	b.add(figure{Name: "fan_out_both_ratio", Description: "fan-out, to the floor of the two writes for each that it takes", Value: took.Seconds() / b.floor.policyAndReport.Seconds(), Unit: "×"})
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

// born measures from a namespace's creation to the last of its policies, each made
// when the one before is done.
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
	expected := len(b.floor.objects.policies) + 1 // the fan-out's
	var took []time.Duration
	for i := range newNamespaceCount {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("born-%03d", i), Labels: map[string]string{stageLabel: governedStage}}}
		if _, err := b.clients.core.CoreV1().Namespaces().Create(ctx, namespace, metav1.CreateOptions{}); err != nil {
			return err
		}
		start := time.Now()
		for seen := 0; seen < expected; {
			event, err := nextEvent(ctx, watched)
			if err != nil {
				return err
			}
			if policy, ok := event.Object.(*networkingv1.NetworkPolicy); ok && event.Type == watch.Added && policy.Namespace == namespace.Name {
				seen++
			}
		}
		took = append(took, time.Since(start))
	}
	b.namespaces += newNamespaceCount
	b.add(figure{Name: "born_p50_ms", Description: "born: from a namespace's creation to its last policy, p50", Value: percentile(took, .5), Unit: "ms", Goal: 50})
	b.add(figure{Name: "born_p99_ms", Description: "born, p99", Value: percentile(took, .99), Unit: "ms"})
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

// idle counts what the operator asks of the API server, and the CPU that it takes,
// with everything compliant. Of the lease there is an update every two seconds; reviews,
// which are POST, are of who scrapes.
func (b *bench) idle(ctx context.Context) error {
	if err := pause(ctx, 20*time.Second); err != nil { // what is looked at again
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
	reads, renewals, used := requests("GET"), requests("PUT"), b.scraper.sum(ctx, b.manager, "process_cpu_seconds_total")
	if err := pause(ctx, idleDuration); err != nil {
		return err
	}
	seconds := b.scraper.sum(ctx, b.manager, "process_cpu_seconds_total") - used
	reads, renewals = requests("GET")-reads, requests("PUT")-renewals
	b.add(figure{Name: "idle_reads", Description: "idle: reads in 60 s, each of a watch that ended and is begun again", Value: reads, Unit: ""})
	b.add(figure{Name: "idle_writes", Description: "idle: writes in 60 s, but for the lease", Value: float64(writes.Load()), Unit: "", Zero: true})
	b.add(figure{Name: "idle_renewals", Description: "idle: renewals of the lease in 60 s", Value: renewals, Unit: ""})
	b.add(figure{Name: "idle_cpu_seconds", Description: "idle: CPU seconds in a minute", Value: seconds, Unit: "s", Goal: .3})
	now, _, err := residentMemory(b.manager.PID())
	b.add(figure{Name: "rss_mib", Description: fmt.Sprintf("memory with %d objects a namespace", b.floor.objects.count()), Value: now, Unit: mebibytes})
	return err
}

// restart kills the operator and starts it again: how long until it has evaluated
// everything, and what it writes.
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
	if err := b.scraper.waitUntilLeader(ctx, b.manager); err != nil {
		return err
	}
	led := time.Since(start)
	if err := b.scraper.waitUntilReconciled(ctx, b.manager, len(namespaces.Items)); err != nil {
		return err
	}
	if err := b.scraper.waitUntilEvaluated(ctx, b.manager, b.baseline.Name); err != nil {
		return err
	}
	took := time.Since(start)
	if err := pause(ctx, settleDuration); err != nil {
		return err
	}
	_, peak, err := residentMemory(b.manager.PID())
	b.add(figure{Name: "restart_lease_seconds", Description: "restart: from kill -9 and start until the lease of the one that was killed is over", Value: led.Seconds(), Unit: "s"})
	b.add(figure{Name: "restart_seconds", Description: "restart: from then until everything is evaluated", Value: (took - led).Seconds(), Unit: "s"})
	b.add(figure{Name: "restart_writes", Description: "restart: writes", Value: float64(writes.Load()), Unit: "", Zero: true})
	b.add(figure{Name: "restart_peak_mib", Description: "restart: peak memory", Value: peak, Unit: mebibytes})
	return err
}

// memory measures it with ten managed objects in each namespace.
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
	if err := b.clients.waitUntilReady(ctx, b.baseline.Name, generation, b.namespaces); err != nil {
		return err
	}
	ours := metav1.ListOptions{LabelSelector: labels.Set{v1alpha1.BaselineLabel: b.baseline.Name}.String()}
	objects, err := b.clients.core.NetworkingV1().NetworkPolicies(namespaceName(0)).List(ctx, ours)
	if err != nil {
		return err
	}
	count := len(objects.Items) + 2 + 2 // RoleBindings, LimitRange and ResourceQuota
	// A fresh process, as after an upgrade, and the one that did it all.
	worked, _, err := residentMemory(b.manager.PID())
	if err != nil {
		return err
	}
	if err := b.manager.Stop(); err != nil {
		return err
	}
	if err := b.startManager(ctx); err != nil {
		return err
	}
	if err := b.scraper.waitUntilEvaluated(ctx, b.manager, b.baseline.Name); err != nil {
		return err
	}
	if err := pause(ctx, startupDuration); err != nil {
		return err
	}
	fresh, peak, err := residentMemory(b.manager.PID())
	b.add(figure{Name: "memory_mib", Description: fmt.Sprintf("memory with %d objects a namespace, half a minute after a start", count), Value: fresh, Unit: mebibytes, Goal: 150})
	b.add(figure{Name: "memory_worked_mib", Description: "memory of the process that put them in place", Value: worked, Unit: mebibytes})
	b.add(figure{Name: "memory_peak_mib", Description: "memory at its peak while starting", Value: peak, Unit: mebibytes})
	b.add(figure{Name: "memory_empty_mib", Description: "memory with no namespace to govern", Value: b.emptyMemory, Unit: mebibytes})
	b.add(figure{Name: "memory_per_1000_mib", Description: "memory more for each 1,000 namespaces with as many objects", Value: (fresh - b.emptyMemory) / float64(b.namespaces) * 1000, Unit: mebibytes})
	return err
}
