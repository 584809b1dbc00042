package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
)

const (
	// phaseTimeout is how long one phase may take.
	phaseTimeout = 20 * time.Minute
	// edits are how many policies are widened to see them healed.
	healEdits = 500
	// births are how many namespaces are made to see them hardened.
	newNamespaceCount = 200
	// idleFor is how long the operator is watched doing nothing.
	idleDuration = time.Minute
	// settle is how long things may go on after a phase.
	settleDuration = 3 * time.Second
	// started is when a process has given back what only its start needs.
	startupDuration = 30 * time.Second
	// mebibytes are the unit of memory.
	mebibytes = "MiB"
)

// bench measures the operator on a control plane, phase by phase.
type bench struct {
	options options
	floor   *floor

	cluster      *cluster.Cluster
	clients      *clients
	scraper      *scraper
	executable   string
	log          string
	manager      *cluster.Manager
	pprofAddress string
	baseline     *v1alpha1.SecurityBaseline
	namespaces   int
	// empty is the memory of an operator with nothing to do, in MiB.
	emptyMemory float64

	figures []figure
}

// measureOperator returns what was measured, also if a phase failed.
func measureOperator(ctx context.Context, s options, floor *floor, executable, log string) (figures []figure, err error) {
	local, err := cluster.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = local.Stop() }()
	if err := local.Install(ctx); err != nil {
		return nil, err
	}
	b := &bench{options: s, floor: floor, cluster: local, executable: executable, log: log, namespaces: s.namespaces}
	if b.clients, err = newClients(local); err != nil {
		return nil, err
	}
	if b.scraper, err = newScraper(ctx, b.clients); err != nil {
		return nil, err
	}
	if b.baseline, err = starterBaseline(); err != nil {
		return nil, err
	}
	if err := b.startIdle(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = b.manager.Stop() }()
	for _, phase := range []struct {
		name string
		run  func(ctx context.Context) error
	}{
		{"converge", b.converge}, {"fan-out", b.fanOut}, {"born", b.newNamespaces}, {"heal", b.healIdle}, {"idle", b.idle}, {"restart", b.restart},
		{"heal while converging", b.healBusy}, {"memory", b.memory},
	} {
		if s.phases != "" && !slices.Contains(strings.Split(s.phases, ","), phase.name) {
			continue
		}
		start := time.Now()
		limited, cancel := context.WithTimeout(ctx, phaseTimeout)
		err := b.withProfiles(limited, phase.name, phase.run)
		cancel()
		if err != nil {
			return b.figures, fmt.Errorf("%s: %w", phase.name, err)
		}
		fmt.Printf("%s: done in %s\n", phase.name, time.Since(start).Round(time.Millisecond))
	}
	return b.figures, nil
}

func (b *bench) add(f figure) { b.figures = append(b.figures, f) }

// launch starts the operator, which outlives the phase.
func (b *bench) startManager(ctx context.Context) (err error) {
	flags := []string{"--leader-elect"} // as it is shipped
	if b.options.profiles != "" {
		if b.pprofAddress, err = cluster.FreeAddress(); err != nil {
			return err
		}
		flags = append(flags, "--pprof-bind-address="+b.pprofAddress)
	}
	b.manager, err = b.cluster.StartManager(context.WithoutCancel(ctx), b.executable, b.log, flags...)
	return err
}

// start starts it and waits until it has done what there is to do, which is nothing.
func (b *bench) startIdle(ctx context.Context) error {
	if err := b.startManager(ctx); err != nil {
		return err
	}
	if err := b.scraper.waitUntilLeader(ctx, b.manager); err != nil {
		return err
	}
	if err := pause(ctx, startupDuration); err != nil {
		return err
	}
	empty, _, err := residentMemory(b.manager.PID())
	b.emptyMemory = empty
	return err
}

// update changes the baseline and returns its generation.
func (b *bench) updateBaseline(ctx context.Context, change func(*v1alpha1.SecurityBaselineSpec)) (int64, error) {
	for {
		if err := b.clients.custom.Get(ctx, client.ObjectKeyFromObject(b.baseline), b.baseline); err != nil {
			return 0, err
		}
		change(&b.baseline.Spec)
		if err := b.clients.custom.Update(ctx, b.baseline); !apierrors.IsConflict(err) {
			return b.baseline.Generation, err
		}
	}
}

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

func nextEvent(ctx context.Context, watched watch.Interface) (watch.Event, error) {
	select {
	case <-ctx.Done():
		return watch.Event{}, ctx.Err()
	case event, open := <-watched.ResultChan():
		if !open {
			return event, errors.New("the watch has ended")
		}
		return event, nil
	}
}

func (b *bench) healIdle(ctx context.Context) error {
	took, err := b.heal(ctx, min(healEdits, b.options.namespaces), 50*time.Millisecond)
	b.add(figure{Name: "heal_p50_ms", Description: "heal: from the answer of a foreign write to the healing one, p50", Value: percentile(took, .5), Unit: "ms", Goal: 20})
	b.add(figure{Name: "heal_p99_ms", Description: "heal, p99", Value: percentile(took, .99), Unit: "ms", Goal: 100})
	return errors.Join(err, pause(ctx, settleDuration))
}

// healBusy measures the same while every namespace gets an object more.
func (b *bench) healBusy(ctx context.Context) error {
	generation, err := b.updateBaseline(ctx, func(spec *v1alpha1.SecurityBaselineSpec) {
		spec.Network.Policies = append(spec.Network.Policies, allowance("from-mesh", "mesh"))
		spec.PodSecurity.Warn = "baseline"
		spec.RBAC = bindings("edit", "view")
	})
	if err != nil {
		return err
	}
	const healing = "securitybaseline_drift_healing_seconds"
	seconds, count := b.scraper.sum(ctx, b.manager, healing+"_sum"), b.scraper.sum(ctx, b.manager, healing+"_count")
	// So many that they are a small part of the work, while most of it lasts.
	widened := min(healEdits, b.options.namespaces/10)
	took, err := b.heal(ctx, widened, b.floor.everything/time.Duration(2*max(widened, 1)))
	seconds, count = b.scraper.sum(ctx, b.manager, healing+"_sum")-seconds, b.scraper.sum(ctx, b.manager, healing+"_count")-count
	b.add(figure{Name: "heal_busy_p50_ms", Description: "heal while every namespace converges, p50", Value: percentile(took, .5), Unit: "ms"})
	b.add(figure{Name: "heal_busy_p99_ms", Description: "heal while every namespace converges, p99", Value: percentile(took, .99), Unit: "ms", Goal: 1000})
	b.add(figure{Name: "heal_busy_noticed_ms", Description: "of that, on average, since the operator noticed", Value: 1000 * seconds / max(count, 1), Unit: "ms"})
	if err != nil {
		return err
	}
	return errors.Join(b.clients.waitUntilReady(ctx, b.baseline.Name, generation, b.namespaces), pause(ctx, settleDuration))
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

// heal widens so many policies at random moments, each so long after the one before
// on average, and returns how long each stayed so.
func (b *bench) heal(ctx context.Context, count int, every time.Duration) ([]time.Duration, error) {
	const name = "security-baseline-default-deny"
	version, err := b.clients.resourceVersion(ctx)
	if err != nil {
		return nil, err
	}
	watched, err := b.clients.core.NetworkingV1().NetworkPolicies("").Watch(ctx, metav1.ListOptions{
		ResourceVersion: version, FieldSelector: "metadata.name=" + name,
	})
	if err != nil {
		return nil, err
	}
	defer watched.Stop()
	var mutex sync.Mutex
	answered := map[string]time.Time{}
	healed := map[string]time.Time{}
	widened := map[string]bool{}
	done := make(chan error, 1)
	go func() {
		for {
			event, err := nextEvent(ctx, watched)
			now := time.Now()
			if err != nil {
				done <- err
				return
			}
			policy, ok := event.Object.(*networkingv1.NetworkPolicy)
			if !ok || event.Type != watch.Modified {
				continue
			}
			mutex.Lock()
			switch {
			case len(policy.Spec.Ingress) > 0:
				widened[policy.Namespace] = true
			case widened[policy.Namespace] && healed[policy.Namespace].IsZero():
				healed[policy.Namespace] = now
			}
			finished := len(healed) == count
			mutex.Unlock()
			if finished {
				done <- nil
				return
			}
		}
	}()
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	for _, i := range rand.Perm(b.options.namespaces)[:count] {
		if err := pause(ctx, time.Duration(rand.Int64N(int64(2*every)))); err != nil {
			return nil, err
		}
		namespace := namespaceName(i)
		group.Go(func() {
			patch := []byte(`{"spec":{"ingress":[{}]}}`)
			_, err := b.clients.core.NetworkingV1().NetworkPolicies(namespace).Patch(ctx, name, types.MergePatchType, patch, metav1.PatchOptions{})
			now := time.Now()
			if err != nil {
				failed.Store(&err)
			}
			mutex.Lock()
			answered[namespace] = now
			mutex.Unlock()
		})
	}
	group.Wait()
	if err := failed.Load(); err != nil {
		return nil, *err
	}
	if err := <-done; err != nil {
		return nil, err
	}
	took := make([]time.Duration, 0, count)
	for namespace, at := range healed {
		// The sight of the healing may come before the foreign write's answer.
		took = append(took, max(0, at.Sub(answered[namespace])))
	}
	return took, nil
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

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}
