package main

import (
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func TestInvariants_DetectViolations(t *testing.T) {
	deny := objectPrefix + defaultDeny
	for _, test := range []struct {
		name      string
		invariant string
		change    func(*simulation)
	}{
		{"default-deny policy deleted", "I1", func(v *simulation) { v.remove("NetworkPolicy", deny) }},
		{"default-deny policy deleted long after a deletion by the harness timed out", "I1", func(v *simulation) {
			v.recordDeletion(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)], v.now)
			v.now = v.now.Add(2 * deletionTimeout)
			v.remove("NetworkPolicy", deny)
		}},
		{"default-deny policy deleted after a deletion by the harness was rejected", "I1", func(v *simulation) {
			v.recordDeletion(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)], v.now)
			v.forgetDeletion(v.key("NetworkPolicy", deny), v.objects[v.key("NetworkPolicy", deny)])
			v.remove("NetworkPolicy", deny)
		}},
		{"unmanaged policy changed", "I2", func(v *simulation) { v.relabel("NetworkPolicy", "unmanaged", "owner", "changed") }},
		{"unmanaged namespace label removed", "I2", func(v *simulation) { v.relabel("Namespace", "", governedLabel+"-too", "") }},
		{"object without the name prefix created", "I2", func(v *simulation) { v.create("LimitRange", "limits") }},
		{"namespace label of the owner removed", "I2", func(v *simulation) {
			v.setOwnerLevel()
			v.relabel("Namespace", "", warnLabel, "")
		}},
		{"report deleted", "I4", func(v *simulation) { v.remove("BaselineReport", "security-baseline") }},
		{"report deleted while other baselines change", "I4", func(v *simulation) {
			v.set(key{kind: kindSecurityBaseline, name: trialBaseline}, newBaseline(trialBaseline))
			v.remove("BaselineReport", "security-baseline")
		}},
		{"drift recorded that did not happen", "I4", func(v *simulation) { v.recordDrift("NetworkPolicy/"+deny, 1) }},
		{"drift recorded twice", "I4", func(v *simulation) {
			v.editPolicy(deny)
			v.editPolicy("unmanaged")
			v.recordDrift("NetworkPolicy/"+deny, 2)
		}},
		{"recorded drift removed", "I4", func(v *simulation) {
			v.editPolicy(deny)
			v.recordDrift("NetworkPolicy/"+deny, 1)
			v.recordDrift("", 0)
		}},
		{"drift counted that did not happen", "I4", func(v *simulation) { v.setDriftsTotal(2) }},
		{"drift count decreased", "I4", func(v *simulation) {
			v.editPolicy(deny)
			v.setDriftsTotal(1)
			v.setDriftsTotal(0)
		}},
		{"level lowered", "I5", func(v *simulation) { v.relabel("Namespace", "", enforceLabel, "privileged") }},
		{"reached level lowered", "I5", func(v *simulation) {
			v.governByStrict()
			v.now = v.now.Add(time.Minute)
			v.set(key{kind: kindSecurityBaseline, name: trialBaseline}, newBaseline(trialBaseline))
			v.relabel("Namespace", "", enforceLabel, "baseline")
		}},
		{"level of the owner lowered", "I5", func(v *simulation) {
			v.setOwnerLevel()
			v.relabel("Namespace", "", enforceLabel, "baseline")
		}},
	} {
		t.Run(test.name, func(t *testing.T) {
			v := newSimulation(t)
			test.change(v)
			if len(v.violations) != 1 || v.violations[0][len("15:04:05.000 "):][:2] != test.invariant {
				t.Errorf("got violations %q, want one of %s", v.violations, test.invariant)
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
	v.relabel("Namespace", "", enforceLabel, "baseline") // within baselineDelay
	if len(v.violations) > 0 {
		t.Errorf("got violations of allowed changes: %q, want none", v.violations)
	}
}

func TestUnsettled_DescribesDifferences(t *testing.T) {
	if problem := newSettledSimulation(t).unsettled(time.Now()); problem != "" {
		t.Fatalf("got %q for a settled cluster, want no problem", problem)
	}
	for _, test := range []struct {
		want   string
		change func(*simulation)
	}{
		{"LimitRange/security-baseline-limits of baseline floor is missing", func(v *simulation) { delete(v.objects, v.key(kindLimitRange, objectPrefix+"limits")) }},
		{`got securitybaseline.io/baseline="strict", want "floor"`, func(v *simulation) {
			v.objects[v.key(kindRoleBinding, objectPrefix+"team")].GetLabels()[v1alpha1.BaselineLabel] = strictBaseline
		}},
		{"ServiceAccount/default of baseline floor got null, want false", func(v *simulation) {
			v.objects[v.key(kindServiceAccount, "default")].(*corev1.ServiceAccount).AutomountServiceAccountToken = nil
		}},
		{"NetworkPolicy/security-baseline-from-mesh is not expected", func(v *simulation) {
			v.objects[v.key(kindNetworkPolicy, objectPrefix+"from-mesh")] = v.objects[v.key(kindNetworkPolicy, objectPrefix+defaultDeny)]
		}},
		{`got pod-security.kubernetes.io/enforce="privileged", want "baseline"`, func(v *simulation) { v.objects[v.key(kindNamespace, "")].GetLabels()[enforceLabel] = "privileged" }},
		{"has no report", func(v *simulation) { delete(v.objects, v.key(kindBaselineReport, v1alpha1.ReportName)) }},
		{"the report is not based on baseline floor at generation 2", func(v *simulation) {
			v.floor().Generation, v.floor().Status.ObservedGeneration = 2, 2
		}},
		{"is Drifted", func(v *simulation) {
			v.objects[v.key(kindBaselineReport, v1alpha1.ReportName)].(*v1alpha1.BaselineReport).State = v1alpha1.StateDrifted
		}},
		{"got status of generation 1, want 0", func(v *simulation) { v.floor().Status.ObservedGeneration = 1 }},
		{"1 namespaces are pending", func(v *simulation) { v.floor().Status.Namespaces.Pending = 1 }},
		{"got 2 governed namespaces in the status, want 1", func(v *simulation) { v.floor().Status.Namespaces.Governed = 2 }},
		{"is not ready", func(v *simulation) { v.floor().Status.Conditions = nil }},
		{"is still being deleted", func(v *simulation) { v.floor().DeletionTimestamp = new(metav1.Now()) }},
	} {
		t.Run(test.want, func(t *testing.T) {
			v := newSettledSimulation(t)
			test.change(v)
			if problem := v.unsettled(time.Now()); !strings.Contains(problem, test.want) {
				t.Errorf("got %q, want it to contain %q", problem, test.want)
			}
		})
	}
}
