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

// The watcher must see what it is there to see.
func TestViolationsAreSeen(t *testing.T) {
	deny := objectPrefix + defaultDeny
	for _, test := range []struct {
		name      string
		invariant string
		change    func(*simulation)
	}{
		{"the default-deny policy goes", "I1", func(v *simulation) { v.remove("NetworkPolicy", deny) }},
		{"it goes, long after somebody's deletion of it came to nothing", "I1", func(v *simulation) {
			v.recordDeletion(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)], v.now)
			v.now = v.now.Add(2 * deletionTimeout)
			v.remove("NetworkPolicy", deny)
		}},
		{"it goes, just after somebody's deletion of it was refused", "I1", func(v *simulation) {
			v.recordDeletion(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)], v.now)
			v.forgetDeletion(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)])
			v.remove("NetworkPolicy", deny)
		}},
		{"somebody's policy changes", "I2", func(v *simulation) { v.relabel("NetworkPolicy", "their-own", "theirs", "changed") }},
		{"a label of the namespace that is not the operator's goes", "I2", func(v *simulation) { v.relabel("Namespace", "", governedLabel+"-too", "") }},
		{"an object under another name is made", "I2", func(v *simulation) { v.create("LimitRange", "limits") }},
		{"a label of the namespace that its owner set goes", "I2", func(v *simulation) {
			v.setOwnerLevel()
			v.relabel("Namespace", "", warnLabel, "")
		}},
		{"a report goes", "I4", func(v *simulation) { v.remove("BaselineReport", "security-baseline") }},
		{"a report goes while other baselines come and go", "I4", func(v *simulation) {
			v.set(key{kindSecurityBaseline, "", trialBaseline}, newBaseline(trialBaseline))
			v.remove("BaselineReport", "security-baseline")
		}},
		{"a drift is recorded that was none", "I4", func(v *simulation) { v.recordDrift("NetworkPolicy/"+deny, 1) }},
		{"a drift is recorded twice", "I4", func(v *simulation) {
			v.editPolicy(deny)
			v.editPolicy("their-own")
			v.recordDrift("NetworkPolicy/"+deny, 2)
		}},
		{"the record of a drift goes", "I4", func(v *simulation) {
			v.editPolicy(deny)
			v.recordDrift("NetworkPolicy/"+deny, 1)
			v.recordDrift("", 0)
		}},
		{"drifts are counted that were none", "I4", func(v *simulation) { v.setDriftsTotal(2) }},
		{"drifts are counted no more", "I4", func(v *simulation) {
			v.editPolicy(deny)
			v.setDriftsTotal(1)
			v.setDriftsTotal(0)
		}},
		{"the level drops", "I5", func(v *simulation) { v.relabel("Namespace", "", enforceLabel, "privileged") }},
		{"a level that was reached drops", "I5", func(v *simulation) {
			v.governByStrict()
			v.now = v.now.Add(time.Minute)
			v.set(key{kindSecurityBaseline, "", trialBaseline}, newBaseline(trialBaseline))
			v.relabel("Namespace", "", enforceLabel, "baseline")
		}},
		{"the level that the owner set drops", "I5", func(v *simulation) {
			v.setOwnerLevel()
			v.relabel("Namespace", "", enforceLabel, "baseline")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newSimulation(t)
			test.change(v)
			if len(v.violations) != 1 || v.violations[0][len("15:04:05.000 "):][:2] != test.invariant {
				t.Errorf("violations: %q", v.violations)
			}
		})
	}
	v := newSimulation(t)
	v.relabel("NetworkPolicy", deny, "securitybaseline.io/baseline", "strict")
	v.relabel("Namespace", "", enforceLabel, "restricted")
	v.editPolicy(deny)
	v.recordDrift("NetworkPolicy/"+deny, 1)
	v.recordDeletion(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)], v.now)
	v.remove("NetworkPolicy", deny)
	v.governByStrict()
	v.relabel("Namespace", "", enforceLabel, "baseline") // not known yet
	if len(v.violations) > 0 {
		t.Errorf("what the operator may do is a violation: %q", v.violations)
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
