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
)

const (
	// syncGlance is how long a probe waits for the caches.
	syncGlance = 100 * time.Millisecond
	// longestRunning is controller-runtime's metric of how long the reconciliation
	// that runs longest has been running, by controller.
	longestRunning = metrics.WorkQueueSubsystem + "_" + metrics.LongestRunningProcessorKey
	// EvaluationTimeout is how long an evaluation may take: an API server that
	// does not answer must not occupy a worker for ever.
	EvaluationTimeout = 2 * time.Minute
	// stuckAfter is how long a reconciliation may run: twice as long as it is given
	// before it is cancelled.
	stuckAfter = 2 * EvaluationTimeout
)

// Syncer is a cache.Cache, as far as it is asked here.
type Syncer interface {
	WaitForCacheSync(ctx context.Context) bool
}

// Ready returns a check that fails until the caches are filled: before, an operator
// that is elected could do nothing.
func Ready(cache Syncer) healthz.Checker {
	return func(request *http.Request) error {
		ctx, cancel := context.WithTimeout(request.Context(), syncGlance)
		defer cancel()
		if !cache.WaitForCacheSync(ctx) {
			return errors.New("the caches are not filled yet")
		}
		return nil
	}
}

// Live is a check that fails where a reconciliation does not end although it was
// cancelled: only a restart would help.
func Live(*http.Request) error {
	return moving(metrics.Registry)
}

func moving(gatherer prometheus.Gatherer) error {
	families, err := gatherer.Gather()
	if err != nil {
		return fmt.Errorf("reading the metrics: %w", err)
	}
	for _, family := range families {
		if family.GetName() != longestRunning {
			continue
		}
		for _, metric := range family.GetMetric() {
			if running := metric.GetGauge().GetValue(); running > stuckAfter.Seconds() {
				return fmt.Errorf("a reconciliation has been running for %.0f s: %s", running, metric.GetLabel())
			}
		}
	}
	return nil
}
