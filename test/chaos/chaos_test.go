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
	operatorMain()
	ctrl.SetLogger(logr.Discard())
	klog.SetLogger(logr.Discard())
	os.Exit(m.Run())
}

// What goes wrong here is little of what make chaos does, in the same mixes each time, and
// it may take longer until all is as desired: other tests run beside it, on any machine.
func TestTheInvariantsHold(t *testing.T) {
	dir := t.TempDir()
	err := run(t.Context(), settings{
		seed: 1, alone: 3 * time.Second, mixed: 30 * time.Second, namespaces: 20, within: 3 * settleWithin,
		faults: []string{"kill", "freeze", "errors", "lost", "permissions", "recreate", "crds", "priorities", "clock"},
		dir:    dir, out: t.Output(),
	})
	if err != nil {
		t.Error(err)
		log, err := os.ReadFile(filepath.Join(dir, "operator.log"))
		lines := strings.Split(string(log), "\n")
		t.Logf("the end of the operators' log (%v):\n%s", err, strings.Join(lines[max(0, len(lines)-200):], "\n"))
	}
}

func TestAFaultThatIsNoneIsNamed(t *testing.T) {
	err := run(t.Context(), settings{faults: []string{"kill", "gremlins"}})
	if err == nil || err.Error() != "there is no fault gremlins; there are: "+names(faults) {
		t.Error(err)
	}
}

// The watcher must see what it is there to see.
func TestViolationsAreSeen(t *testing.T) {
	deny := prefix + defaultDeny
	for _, test := range []struct {
		name      string
		invariant string
		change    func(*violating)
	}{
		{"the default-deny policy goes", "I1", func(v *violating) { v.remove("NetworkPolicy", deny) }},
		{"it goes, long after somebody's deletion of it came to nothing", "I1", func(v *violating) {
			v.deletes(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)], v.now)
			v.now = v.now.Add(2 * doneWithin)
			v.remove("NetworkPolicy", deny)
		}},
		{"it goes, just after somebody's deletion of it was refused", "I1", func(v *violating) {
			v.deletes(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)], v.now)
			v.deletesNot(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)])
			v.remove("NetworkPolicy", deny)
		}},
		{"somebody's policy changes", "I2", func(v *violating) { v.relabel("NetworkPolicy", "their-own", "theirs", "changed") }},
		{"a label of the namespace that is not the operator's goes", "I2", func(v *violating) { v.relabel("Namespace", "", governedLabel+"-too", "") }},
		{"an object under another name is made", "I2", func(v *violating) { v.create("LimitRange", "limits") }},
		{"a label of the namespace that its owner set goes", "I2", func(v *violating) {
			v.own()
			v.relabel("Namespace", "", warnLabel, "")
		}},
		{"a report goes", "I4", func(v *violating) { v.remove("BaselineReport", "security-baseline") }},
		{"a report goes while other baselines come and go", "I4", func(v *violating) {
			v.do(key{kindSecurityBaseline, "", trialBaseline}, baseline(trialBaseline))
			v.remove("BaselineReport", "security-baseline")
		}},
		{"a drift is recorded that was none", "I4", func(v *violating) { v.record("NetworkPolicy/"+deny, 1) }},
		{"a drift is recorded twice", "I4", func(v *violating) {
			v.edits(deny)
			v.edits("their-own")
			v.record("NetworkPolicy/"+deny, 2)
		}},
		{"the record of a drift goes", "I4", func(v *violating) {
			v.edits(deny)
			v.record("NetworkPolicy/"+deny, 1)
			v.record("", 0)
		}},
		{"drifts are counted that were none", "I4", func(v *violating) { v.count(2) }},
		{"drifts are counted no more", "I4", func(v *violating) {
			v.edits(deny)
			v.count(1)
			v.count(0)
		}},
		{"the level drops", "I5", func(v *violating) { v.relabel("Namespace", "", enforceLabel, "privileged") }},
		{"a level that was reached drops", "I5", func(v *violating) {
			v.strict()
			v.now = v.now.Add(time.Minute)
			v.do(key{kindSecurityBaseline, "", trialBaseline}, baseline(trialBaseline))
			v.relabel("Namespace", "", enforceLabel, "baseline")
		}},
		{"the level that the owner set drops", "I5", func(v *violating) {
			v.own()
			v.relabel("Namespace", "", enforceLabel, "baseline")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newViolating(t)
			test.change(v)
			if len(v.violations) != 1 || v.violations[0][len("15:04:05.000 "):][:2] != test.invariant {
				t.Errorf("violations: %q", v.violations)
			}
		})
	}
	v := newViolating(t)
	v.relabel("NetworkPolicy", deny, "securitybaseline.io/baseline", "strict")
	v.relabel("Namespace", "", enforceLabel, "restricted")
	v.edits(deny)
	v.record("NetworkPolicy/"+deny, 1)
	v.deletes(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)], v.now)
	v.remove("NetworkPolicy", deny)
	v.strict()
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
		mix := mixed(random, faults)
		for _, f := range mix {
			if f.storage {
				storage++
			}
		}
		all += storage
		if storage > 1 || len(mix) < 2 || len(mix) > together {
			t.Fatalf("mixed: %s", names(mix))
		}
	}
	if all == 0 {
		t.Error("they are never in a mix")
	}
}
