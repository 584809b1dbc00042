package health

import (
	"context"
	"net/http/httptest"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
)

type fakeCache struct{ synced bool }

func (c fakeCache) WaitForCacheSync(ctx context.Context) bool {
	if !c.synced {
		<-ctx.Done()
	}
	return c.synced
}

func TestReady_FailsUntilCachesAreSynced(t *testing.T) {
	request := httptest.NewRequest("GET", "/readyz", nil)
	if err := Ready(fakeCache{synced: true})(request); err != nil {
		t.Errorf("with synced caches: got %v, want no error", err)
	}
	if err := Ready(fakeCache{synced: false})(request); err == nil {
		t.Error("with unsynced caches: got no error, want one")
	}
}

func TestCheckStuckReconciles_FailsWhenOneRunsTooLong(t *testing.T) {
	registry := prometheus.NewRegistry()
	running := prometheus.NewGaugeVec(prometheus.GaugeOpts{Name: longestRunning}, []string{"name"})
	registry.MustRegister(running)
	for _, test := range []struct {
		seconds float64
		want    bool
	}{
		{seconds: 0, want: true},
		{seconds: reconcilers.Timeout.Seconds(), want: true},
		{seconds: stuckAfter.Seconds() + 1, want: false},
	} {
		running.WithLabelValues("admission").Set(0)
		running.WithLabelValues("namespace").Set(test.seconds)
		if err := checkStuckReconciles(registry); (err == nil) != test.want {
			t.Errorf("after %v s: got error %v, want success %t", test.seconds, err, test.want)
		}
	}
}
