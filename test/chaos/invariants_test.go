package main

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

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

func TestWhatIsNotAsDesiredIsSeen(t *testing.T) {
	if problem := newSettledSimulation(t).unsettled(time.Now()); problem != "" {
		t.Fatalf("everything is as desired, but: %s", problem)
	}
	for _, test := range []struct {
		want   string
		change func(*simulation)
	}{
		{"LimitRange/security-baseline-limits of baseline floor is missing", func(v *simulation) { delete(v.objects, v.key(kindLimitRange, objectPrefix+"limits")) }},
		{`has securitybaseline.io/baseline="strict", not "floor"`, func(v *simulation) {
			v.objects[v.key(kindRoleBinding, objectPrefix+"team")].GetLabels()[v1alpha1.BaselineLabel] = strictBaseline
		}},
		{"ServiceAccount/default of baseline floor is null, not false", func(v *simulation) {
			v.objects[v.key(kindServiceAccount, "default")].(*corev1.ServiceAccount).AutomountServiceAccountToken = nil
		}},
		{"NetworkPolicy/security-baseline-from-mesh is left over", func(v *simulation) {
			v.objects[v.key(kindNetworkPolicy, objectPrefix+"from-mesh")] = v.objects[v.key(kindNetworkPolicy, objectPrefix+defaultDeny)]
		}},
		{`has pod-security.kubernetes.io/enforce="privileged", not "baseline"`, func(v *simulation) { v.objects[v.key(kindNamespace, "")].GetLabels()[enforceLabel] = "privileged" }},
		{"has no report", func(v *simulation) { delete(v.objects, v.key(kindBaselineReport, v1alpha1.ReportName)) }},
		{"its report is not of baseline floor at generation 2", func(v *simulation) {
			v.floor().Generation, v.floor().Status.ObservedGeneration = 2, 2
		}},
		{"is Drifted", func(v *simulation) {
			v.objects[v.key(kindBaselineReport, v1alpha1.ReportName)].(*v1alpha1.BaselineReport).State = v1alpha1.StateDrifted
		}},
		{"its status is of generation 1, not 0", func(v *simulation) { v.floor().Status.ObservedGeneration = 1 }},
		{"1 namespaces are pending", func(v *simulation) { v.floor().Status.Namespaces.Pending = 1 }},
		{"it says that it governs 2 namespaces, not 1", func(v *simulation) { v.floor().Status.Namespaces.Governed = 2 }},
		{"is not ready", func(v *simulation) { v.floor().Status.Conditions = nil }},
		{"is still being deleted", func(v *simulation) { v.floor().DeletionTimestamp = new(metav1.Now()) }},
	} {
		t.Run(test.want, func(t *testing.T) {
			v := newSettledSimulation(t)
			test.change(v)
			if problem := v.unsettled(time.Now()); !strings.Contains(problem, test.want) {
				t.Errorf("it says: %s", problem)
			}
		})
	}
}
