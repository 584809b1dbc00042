package main

import (
	"os"
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

// What goes wrong here is little of what make chaos does, in the same mixes each time.
func TestTheInvariantsHold(t *testing.T) {
	err := run(t.Context(), settings{
		seed: 1, alone: 3 * time.Second, mixed: 30 * time.Second, namespaces: 20,
		faults: []string{"kill", "freeze", "errors", "lost", "permissions", "recreate", "crds", "priorities", "clock"},
		dir:    t.TempDir(), out: t.Output(),
	})
	if err != nil {
		t.Error(err)
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
	for _, test := range []struct {
		name      string
		invariant string
		change    func(*violating)
	}{
		{"the default-deny policy goes", "I1", func(v *violating) { v.remove("NetworkPolicy", prefix+"default-deny") }},
		{"somebody's policy changes", "I2", func(v *violating) { v.relabel("NetworkPolicy", "their-own", "theirs", "changed") }},
		{"a label of the namespace that is not the operator's goes", "I2", func(v *violating) { v.relabel("Namespace", "", governedLabel+"-too", "") }},
		{"an object under another name is made", "I2", func(v *violating) { v.create("LimitRange", "limits") }},
		{"a report goes", "I4", func(v *violating) { v.remove("BaselineReport", "security-baseline") }},
		{"a drift is recorded that was none", "I4", func(v *violating) { v.record("NetworkPolicy/" + prefix + "default-deny") }},
		{"the level drops", "I5", func(v *violating) { v.relabel("Namespace", "", enforceLabel, "privileged") }},
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
	v.relabel("NetworkPolicy", prefix+"default-deny", "securitybaseline.io/baseline", "strict")
	v.relabel("Namespace", "", enforceLabel, "restricted")
	if len(v.violations) > 0 {
		t.Errorf("what the operator may do is a violation: %q", v.violations)
	}
}
