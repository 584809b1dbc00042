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

// What goes wrong here is little of what make chaos does, in the same mixes each time, and
// it may take longer until all is as desired: other tests run beside it, on any machine.
func TestTheInvariantsHold(t *testing.T) {
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
		t.Logf("the end of the operators' log (%v):\n%s", err, strings.Join(lines[max(0, len(lines)-200):], "\n"))
	}
}

func TestAFaultThatIsNoneIsNamed(t *testing.T) {
	err := runHarness(t.Context(), options{faultNames: []string{"kill", "gremlins"}})
	if err == nil || err.Error() != "there is no fault gremlins; there are: "+joinNames(faults) {
		t.Error(err)
	}
}

func TestFaultsWithStorageAreNotMixed(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 0))
	all := 0
	for range 1000 {
		storage := 0
		mix := pickMix(random, faults)
		for _, f := range mix {
			if f.needsStorage {
				storage++
			}
		}
		all += storage
		if storage > 1 || len(mix) < 2 || len(mix) > maxFaultsInMix {
			t.Fatalf("mixed: %s", joinNames(mix))
		}
	}
	if all == 0 {
		t.Error("they are never in a mix")
	}
}
