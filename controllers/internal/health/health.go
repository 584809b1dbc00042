// Package health holds the probes of the operator. controller-runtime serves probes but has none
// that notices a reconcile that hangs; nor does its workqueue, for which
// https://github.com/kubernetes/kubernetes/issues/60601 asks.
package health

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	"sigs.k8s.io/controller-runtime/pkg/metrics"

	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
)

const (
	// syncTimeout is how long a probe waits for the caches.
	syncTimeout = 100 * time.Millisecond
	// longestRunning is controller-runtime's metric of the age of the oldest running reconcile, by
	// controller.
	longestRunning = metrics.WorkQueueSubsystem + "_" + metrics.LongestRunningProcessorKey
	// stuckAfter is how long a reconcile may run. It is canceled after half of that.
	stuckAfter = 2 * reconcilers.Timeout
)

// CacheSyncer is the part of a cache.Cache that the readiness probe needs.
type CacheSyncer interface {
	WaitForCacheSync(ctx context.Context) bool
}

// Ready returns a check that fails until the caches are synced. Until then, an operator can do
// nothing even if it is the leader.
func Ready(cache CacheSyncer) healthz.Checker {
	return func(request *http.Request) error {
		ctx, cancel := context.WithTimeout(request.Context(), syncTimeout)
		defer cancel()
		if !cache.WaitForCacheSync(ctx) {
			return errors.New("caches are not synced yet")
		}
		return nil
	}
}

// Live is a check that fails if a reconcile does not end although it was canceled. Only a restart
// helps then.
func Live(*http.Request) error {
	return checkStuckReconciles(metrics.Registry)
}

func checkStuckReconciles(gatherer prometheus.Gatherer) error {
	families, err := gatherer.Gather()
	if err != nil {
		return fmt.Errorf("reading the metrics: %w", err)
	}
	for _, family := range families {
		if family.GetName() != longestRunning {
			continue
		}
		for _, metric := range family.GetMetric() {
			if seconds := metric.GetGauge().GetValue(); seconds > stuckAfter.Seconds() {
				return fmt.Errorf("a reconcile has been running for %.0f s: %s", seconds, metric.GetLabel())
			}
		}
	}
	return nil
}
