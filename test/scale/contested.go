package main

import (
	"context"
	"errors"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/watch"
)

const (
	// contestDuration is how long a writer keeps changing one policy back.
	contestDuration = time.Minute
	// contestInterval is the pause of the writer between two changes.
	contestInterval = 50 * time.Millisecond
)

// contested measures how long a policy stays open while another writer opens it
// continuously. The operator reverts it at most once a second.
func (b *bench) contested(ctx context.Context) error {
	policies := b.clients.core.NetworkingV1().NetworkPolicies(namespaceName(0))
	watched, err := policies.Watch(ctx, metav1.ListOptions{FieldSelector: "metadata.name=" + defaultDenyPolicy})
	if err != nil {
		return err
	}
	defer watched.Stop()
	contest, cancel := context.WithTimeout(ctx, contestDuration)
	defer cancel()
	failed := make(chan error, 1)
	go func() {
		for contest.Err() == nil {
			_, err := policies.Patch(contest, defaultDenyPolicy, types.MergePatchType, []byte(`{"spec":{"ingress":[{}]}}`), metav1.PatchOptions{FieldManager: "contest"})
			if err != nil && contest.Err() == nil {
				failed <- err
				return
			}
			_ = pause(contest, contestInterval)
		}
		failed <- nil
	}()

	openFor, reverts, err := openPeriods(contest, watched)
	if err != nil {
		return err
	}
	var total time.Duration
	for _, d := range openFor {
		total += d
	}
	b.add(figure{Name: "contested_reverts", Description: "contested: reverts in 60 s while a writer changes a policy 20 times a second", Value: float64(reverts)})
	b.add(figure{Name: "contested_p50_ms", Description: "contested: from a change until the operator reverts it, p50", Value: percentile(openFor, .5), Unit: "ms"})
	b.add(figure{Name: "contested_max_ms", Description: "contested, maximum", Value: percentile(openFor, 1), Unit: "ms"})
	b.add(figure{
		Name: "contested_open_percent", Description: "contested: share of the time that the policy is open",
		Value: 100 * total.Seconds() / contestDuration.Seconds(), Unit: "%",
	})
	return errors.Join(<-failed, ctx.Err(), pause(ctx, settleDuration))
}

// openPeriods watches a policy until the context is done. It returns how long it was open
// each time, and how often it was closed again.
func openPeriods(ctx context.Context, watched watch.Interface) (openFor []time.Duration, reverts int, err error) {
	var opened time.Time
	for {
		event, err := nextEvent(ctx, watched)
		if ctx.Err() != nil {
			break
		}
		if err != nil {
			return nil, 0, err
		}
		policy, ok := event.Object.(*networkingv1.NetworkPolicy)
		if !ok {
			continue
		}
		switch isOpen := len(policy.Spec.Ingress) > 0; {
		case isOpen && opened.IsZero():
			opened = time.Now()
		case !isOpen && !opened.IsZero():
			openFor = append(openFor, time.Since(opened))
			reverts++
			opened = time.Time{}
		}
	}
	if !opened.IsZero() { // still open at the end
		openFor = append(openFor, time.Since(opened))
	}
	return openFor, reverts, nil
}
