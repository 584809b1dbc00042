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

// healIdle measures how long a changed policy stays changed while the operator is idle.
func (b *bench) healIdle(ctx context.Context) error {
	took, err := b.heal(ctx, min(healEdits, b.options.namespaces), 50*time.Millisecond)
	b.add(figure{Name: "heal_p50_ms", Description: "heal: from the response to a change until the operator reverts it, p50", Value: percentile(took, .5), Unit: "ms", Goal: 20})
	b.add(figure{Name: "heal_p99_ms", Description: "heal, p99", Value: percentile(took, .99), Unit: "ms", Goal: 100})
	return errors.Join(err, pause(ctx, settleDuration))
}

// healBusy measures the same while every namespace gets another object.
func (b *bench) healBusy(ctx context.Context) error {
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
	healedBefore := b.scraper.sum(ctx, b.manager, metric+"_count")
	// Few enough to be a small part of the work, spread over most of its duration.
	count := min(healEdits, b.options.namespaces/10)
	took, err := b.heal(ctx, count, b.floor.everything/time.Duration(2*max(count, 1)))
	seconds := b.scraper.sum(ctx, b.manager, metric+"_sum") - secondsBefore
	healed := b.scraper.sum(ctx, b.manager, metric+"_count") - healedBefore
	b.add(figure{Name: "heal_busy_p50_ms", Description: "heal during convergence, p50", Value: percentile(took, .5), Unit: "ms"})
	b.add(figure{Name: "heal_busy_p99_ms", Description: "heal during convergence, p99", Value: percentile(took, .99), Unit: "ms", Goal: 1000})
	b.add(figure{Name: "heal_busy_operator_ms", Description: "heal during convergence, part of the operator, average", Value: 1000 * seconds / max(healed, 1), Unit: "ms"})
	if err != nil {
		return err
	}
	return errors.Join(b.clients.waitUntilReady(ctx, b.baseline.Name, generation, b.namespaces), pause(ctx, settleDuration))
}

// heal opens count policies at random times, with an average pause of interval. It
// returns how long each stayed open.
func (b *bench) heal(ctx context.Context, count int, interval time.Duration) ([]time.Duration, error) {
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
		if err := pause(ctx, time.Duration(rand.Int64N(int64(2*interval)))); err != nil {
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
		// The watch may report the revert before the response to the change arrives.
		took = append(took, max(0, at.Sub(answered[namespace])))
	}
	return took, nil
}
