package health

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

type synced bool

func (s synced) WaitForCacheSync(ctx context.Context) bool {
	if !s {
		<-ctx.Done()
	}
	return bool(s)
}

func TestItIsReadyWhenTheCachesAreFilled(t *testing.T) {
	request := httptest.NewRequest("GET", "/readyz", nil)
	if err := Ready(synced(true))(request); err != nil {
		t.Error(err)
	}
	if err := Ready(synced(false))(request); err == nil {
		t.Error("ready with empty caches")
	}
}

func TestItIsLiveWhileItsLoopsMove(t *testing.T) {
	registry := prometheus.NewRegistry()
	running := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: longestRunning}, []string{"name"})
	registry.MustRegister(running)
	for _, test := range []struct {
		seconds float64
		live    bool
	}{{0, true}, {EvaluationTimeout.Seconds(), true}, {stuckAfter.Seconds() + 1, false}} {
		running.WithLabelValues("admission").Set(0)
		running.WithLabelValues("namespace").Set(test.seconds)
		if err := moving(registry); (err == nil) != test.live {
			t.Errorf("after %v s: %v", test.seconds, err)
		}
	}
}
