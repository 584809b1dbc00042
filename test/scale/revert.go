package main

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"sync/atomic"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// nextEvent returns the next event of a watch. It returns an error if the watch has
// ended.
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

// defaultDenyPolicy is the name of the policy that the phases change.
const defaultDenyPolicy = "security-baseline-default-deny"

// revertIdle measures how long a changed policy stays changed while the operator is idle.
func (b *bench) revertIdle(ctx context.Context) error {
	took, err := b.measureReverts(ctx, min(revertEdits, b.options.namespaces), 50*time.Millisecond)
	b.add(figure{Name: "revert_p50_ms", Description: "revert: from the response to a change until the operator reverts it, p50", Value: percentile(took, .5), Unit: "ms", Goal: 20})
	b.add(figure{Name: "revert_p99_ms", Description: "revert, p99", Value: percentile(took, .99), Unit: "ms", Goal: 100})
	return errors.Join(err, pause(ctx, settleDuration))
}

// revertBusy measures the same while every namespace gets another object.
func (b *bench) revertBusy(ctx context.Context) error {
	generation, err := b.updateBaseline(ctx, func(spec *v1alpha1.SecurityBaselineSpec) {
		spec.Network.Policies = append(spec.Network.Policies, allowance("from-mesh", "mesh"))
		spec.PodSecurity.Warn = "baseline"
		spec.RBAC = bindings("edit", "view")
	})
	if err != nil {
		return err
	}
	const metric = "securitybaseline_drift_revert_seconds"
	secondsBefore := b.scraper.sum(ctx, b.manager, metric+"_sum")
	countBefore := b.scraper.sum(ctx, b.manager, metric+"_count")
	// Few enough to be a small part of the work, spread over most of its duration.
	count := min(revertEdits, b.options.namespaces/10)
	took, err := b.measureReverts(ctx, count, b.floor.everything/time.Duration(2*max(count, 1)))
	seconds := b.scraper.sum(ctx, b.manager, metric+"_sum") - secondsBefore
	reverted := b.scraper.sum(ctx, b.manager, metric+"_count") - countBefore
	b.add(figure{Name: "revert_busy_p50_ms", Description: "revert during convergence, p50", Value: percentile(took, .5), Unit: "ms"})
	b.add(figure{Name: "revert_busy_p99_ms", Description: "revert during convergence, p99", Value: percentile(took, .99), Unit: "ms", Goal: 1000})
	b.add(figure{Name: "revert_busy_operator_ms", Description: "revert during convergence, part of the operator, average", Value: 1000 * seconds / max(reverted, 1), Unit: "ms"})
	if err != nil {
		return err
	}
	return errors.Join(b.clients.waitForReady(ctx, b.baseline.Name, generation, b.namespaces), pause(ctx, settleDuration))
}

// measureReverts opens count policies at random times, with an average pause of interval.
// It returns how long each stayed open.
func (b *bench) measureReverts(ctx context.Context, count int, interval time.Duration) ([]time.Duration, error) {
	version, err := b.clients.resourceVersion(ctx)
	if err != nil {
		return nil, err
	}
	watched, err := b.clients.core.NetworkingV1().NetworkPolicies("").Watch(ctx, metav1.ListOptions{
		ResourceVersion: version, FieldSelector: "metadata.name=" + defaultDenyPolicy,
	})
	if err != nil {
		return nil, err
	}
	defer watched.Stop()
	var reverted map[string]time.Time
	done := make(chan error, 1)
	go func() {
		var err error
		reverted, err = watchReverts(ctx, watched, count)
		done <- err
	}()
	answered, err := b.openPolicies(ctx, count, interval)
	if err != nil {
		return nil, err
	}
	if err := <-done; err != nil {
		return nil, err
	}
	took := make([]time.Duration, 0, count)
	for namespace, at := range reverted {
		// The watch may report the revert before the response to the change arrives.
		took = append(took, max(0, at.Sub(answered[namespace])))
	}
	return took, nil
}

// watchReverts watches until count policies were opened and reverted. It returns when
// each was reverted, by namespace.
func watchReverts(ctx context.Context, watched watch.Interface, count int) (map[string]time.Time, error) {
	reverted := map[string]time.Time{}
	opened := map[string]bool{}
	for {
		event, err := nextEvent(ctx, watched)
		now := time.Now()
		if err != nil {
			return nil, err
		}
		policy, ok := event.Object.(*networkingv1.NetworkPolicy)
		if !ok || event.Type != watch.Modified {
			continue
		}
		switch {
		case len(policy.Spec.Ingress) > 0:
			opened[policy.Namespace] = true
		case opened[policy.Namespace] && reverted[policy.Namespace].IsZero():
			reverted[policy.Namespace] = now
		}
		if len(reverted) == count {
			return reverted, nil
		}
	}
}

// openPolicies opens the policies of count namespaces at random times, with an average
// pause of interval. It returns when the API server answered each request, by namespace.
func (b *bench) openPolicies(ctx context.Context, count int, interval time.Duration) (map[string]time.Time, error) {
	var mutex sync.Mutex
	answered := map[string]time.Time{}
	var group sync.WaitGroup
	var failed atomic.Pointer[error]
	for _, i := range rand.Perm(b.options.namespaces)[:count] {
		if err := pause(ctx, time.Duration(rand.Int64N(int64(2*interval)))); err != nil {
			return nil, err
		}
		namespace := namespaceName(i)
		group.Go(func() {
			patch := []byte(`{"spec":{"ingress":[{}]}}`)
			_, err := b.clients.core.NetworkingV1().NetworkPolicies(namespace).Patch(ctx, defaultDenyPolicy, types.MergePatchType, patch, metav1.PatchOptions{})
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
	return answered, nil
}
