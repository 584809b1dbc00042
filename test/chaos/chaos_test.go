package main

import (
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"

	"github.com/securitybaseline/operator/test/cluster"
)

func TestMain(m *testing.M) {
	cluster.Main()
	runAsOperator()
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// The test is a short make chaos with a fixed seed. Settling may take longer, because other
// tests may run at the same time.
func TestInvariants_HoldUnderFaults(t *testing.T) {
	dir := t.TempDir()
	err := runHarness(t.Context(), options{
		seed: 1, aloneFor: 3 * time.Second, mixedFor: 30 * time.Second, namespaces: 20, settleTimeout: 3 * defaultSettleTimeout,
		faultNames: []string{"kill", "freeze", "errors", "lost", "permissions", "recreate", "crds", "priorities", "clock"},
		dir:        dir, out: t.Output(),
	})
	if err != nil {
		t.Error(err)
		log, err := os.ReadFile(filepath.Join(dir, "operator.log"))
		lines := strings.Split(string(log), "\n")
		t.Logf("end of the operators' log (%v):\n%s", err, strings.Join(lines[max(0, len(lines)-200):], "\n"))
	}
}

func TestFaultsNamed_RejectsUnknownFault(t *testing.T) {
	err := runHarness(t.Context(), options{faultNames: []string{"kill", "gremlins"}})
	if err == nil || err.Error() != `unknown fault "gremlins"; the faults are: `+joinNames(faults) {
		t.Errorf("got error %v, want unknown fault", err)
	}
}

func TestPickMix_HasAtMostOneStorageFault(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	total := 0
	for range 1000 {
		storage := 0
		mix := pickMix(random, faults)
		for _, f := range mix {
			if f.needsStorage {
				storage++
			}
		}
		total += storage
		if storage > 1 || len(mix) < 2 || len(mix) > maxFaultsInMix {
			t.Fatalf("got mix %s with %d storage faults, want 2 to %d faults and at most one storage fault", joinNames(mix), storage, maxFaultsInMix)
		}
	}
	if total == 0 {
		t.Error("got no storage fault in 1,000 mixes, want some")
	}
}
