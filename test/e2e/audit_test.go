package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/report"
)

func inAudit(spec v1alpha1.SecurityBaselineSpec) v1alpha1.SecurityBaselineSpec {
	spec.Mode = v1alpha1.ModeAudit
	return spec
}

// entry returns what a report says of a control of a baseline, at its present
// generation.
func entry(t *testing.T, namespace string, baseline *v1alpha1.SecurityBaseline, control v1alpha1.ControlName, check func(*v1alpha1.ControlReport) error) *v1alpha1.ControlReport {
	t.Helper()
	var found *v1alpha1.ControlReport
	eventually(t, func(ctx context.Context) error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil {
			return err
		}
		current := &v1alpha1.BaselineReport{}
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.ReportName}, current); err != nil {
			return err
		}
		if !slices.Contains(current.ObservedBaselines, v1alpha1.ObservedBaseline{Name: baseline.Name, Generation: baseline.Generation}) {
			return fmt.Errorf("the report is about %v", current.ObservedBaselines)
		}
		if found = report.FindControl(current.BaselineReportData, control, baseline.Name); found == nil {
			return fmt.Errorf("no %s of %s in %+v", control, baseline.Name, current.Controls)
		}
		if err := check(found); err != nil {
			return fmt.Errorf("%w: %+v", err, found)
		}
		return nil
	})
	return found
}

func inState(state v1alpha1.State) func(*v1alpha1.ControlReport) error {
	return func(control *v1alpha1.ControlReport) error {
		if control.State != state {
			return fmt.Errorf("not %s", state)
		}
		return nil
	}
}

func foretold(object string, action v1alpha1.ChangeAction, fields ...v1alpha1.FieldDifference) v1alpha1.Change {
	return v1alpha1.Change{Object: object, Action: action, Fields: fields}
}

// A user goes from Audit by way of reading to Enforce, and nothing happens but
// what was said.
func TestFromAuditToEnforceWithoutASurprise(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", map[string]string{"pod-security.kubernetes.io/warn": "baseline"})
	deploy(t, namespace.Name, privilegedPod())
	// What an earlier baseline left.
	earlier := newBaseline(t, "earlier", v1alpha1.SecurityBaselineSpec{
		Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, Policies: []v1alpha1.NamedNetworkPolicy{{Name: "legacy"}}},
		RBAC: &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{{
			Name: "developers", RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: "view"}, Subjects: []v1alpha1.Subject{{Kind: "Group", Name: "developers"}},
		}}},
	})
	evaluated(t, namespace.Name, earlier, v1alpha1.StateCompliant)
	must(t, admin.Delete(t.Context(), earlier))
	absent(t, namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
	before := everyPart(t, namespace.Name)

	baseline := newBaseline(t, "all", inAudit(everything()))
	podSecurity := entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateDrifted))
	network := entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateDrifted))
	rbac := entry(t, namespace.Name, baseline, v1alpha1.ControlRBAC, inState(v1alpha1.StateDrifted))

	equal(t, "what Enforce would change of the labels", []v1alpha1.Change{foretold("Namespace/"+namespace.Name, v1alpha1.ChangeConfigure,
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/audit", Expected: "restricted"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/audit-version", Expected: "latest"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/enforce", Expected: "baseline"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/enforce-version", Expected: "latest"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/warn", Expected: "restricted", Actual: "baseline"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/warn-version", Expected: "latest"},
		v1alpha1.FieldDifference{Path: "metadata.labels.podsecurity.securitybaseline.io/baseline", Expected: baseline.Name},
	)}, podSecurity.Changes)
	equal(t, "what Enforce would change of the policies", []v1alpha1.Change{
		foretold("NetworkPolicy/security-baseline-default-deny", v1alpha1.ChangeConfigure,
			v1alpha1.FieldDifference{Path: "spec.policyTypes", Expected: `["Egress"]`}),
		foretold("NetworkPolicy/security-baseline-allow-dns", v1alpha1.ChangeCreate),
		foretold("NetworkPolicy/security-baseline-allow-same-namespace", v1alpha1.ChangeCreate),
		foretold("NetworkPolicy/security-baseline-from-ingress", v1alpha1.ChangeCreate),
		foretold("NetworkPolicy/security-baseline-legacy", v1alpha1.ChangeRemove),
	}, network.Changes)
	equal(t, "in a sentence", "Enforce would create NetworkPolicy/security-baseline-allow-dns and 2 more, "+
		"configure NetworkPolicy/security-baseline-default-deny, remove NetworkPolicy/security-baseline-legacy", network.Message)
	equal(t, "what Enforce would change of the bindings", []v1alpha1.Change{
		foretold("RoleBinding/security-baseline-developers", v1alpha1.ChangeReplace, v1alpha1.FieldDifference{
			Path:   "roleRef",
			Expected: `{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"edit"}`,
			Actual:  `{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}`,
		}),
	}, rbac.Changes)
	violating(t, podSecurity.PodSecurity, "baseline:latest", "host namespaces, privileged")

	ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Drifted: 1}}
		if status.Namespaces != want || status.ViolatingPodsTotal != 3 || status.ViolationsTotal != 3 {
			return fmt.Errorf("%+v", status)
		}
		return nil
	})
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	ready(t, baseline, hasCondition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonDriftDetected))
	ready(t, baseline, hasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonDriftDetected))
	equal(t, "what is in the namespace", before, everyPart(t, namespace.Name))

	// It was read, and is wanted.
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeEnforce })
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateViolating)
	equal(t, "drifts of a change that was asked for", int64(0), current.Summary.DriftsTotal)
	after := everyPart(t, namespace.Name)
	for _, control := range []*v1alpha1.ControlReport{podSecurity, network, rbac} {
		for _, said := range control.Changes {
			_, was := before[said.Object]
			_, is := after[said.Object]
			if was != (said.Action != v1alpha1.ChangeCreate) || is != (said.Action != v1alpha1.ChangeRemove) {
				t.Errorf("%+v: before %t, after %t", said, was, is)
			}
			delete(before, said.Object)
			delete(after, said.Object)
		}
	}
	equal(t, "what was not foretold", before, after)
	violating(t, entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating)).PodSecurity, "baseline:latest", "host namespaces, privileged")
}

// everyPart returns everything in a namespace that the operator could change, by
// what a report calls it, the report itself left out.
func everyPart(t *testing.T, namespace string) map[string]string {
	t.Helper()
	parts := map[string]string{}
	var policies networkingv1.NetworkPolicyList
	var bindings rbacv1.RoleBindingList
	must(t, admin.List(t.Context(), &policies, client.InNamespace(namespace)))
	must(t, admin.List(t.Context(), &bindings, client.InNamespace(namespace)))
	for _, policy := range policies.Items {
		parts["NetworkPolicy/"+policy.Name] = policy.ResourceVersion
	}
	for _, binding := range bindings.Items {
		parts["RoleBinding/"+binding.Name] = binding.ResourceVersion
	}
	parts["Namespace/"+namespace] = get(t, "", namespace, &corev1.Namespace{}).ResourceVersion
	return parts
}

// violating checks that a report says that the three pods of a Deployment, and no
// others, violate a level.
func violating(t *testing.T, pods *v1alpha1.PodSecurityReport, level, reasons string) {
	t.Helper()
	if pods == nil || pods.Level != level || len(pods.Violations) != 1 || pods.Incomplete != "" {
		t.Fatalf("%+v", pods)
	}
	violation := pods.Violations[0]
	if !strings.HasPrefix(violation.Pods, "web-") || !strings.HasSuffix(violation.Pods, "(and 2 other pods)") || violation.Reasons != reasons {
		t.Errorf("%+v", violation)
	}
}

func TestAStricterBaselineIsTriedInAuditBesideTheCurrentOne(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	current := newBaseline(t, "current", everything())
	evaluated(t, namespace.Name, current, v1alpha1.StateCompliant)
	before := operatorParts(t, namespace.Name)

	strict := inAudit(everything())
	strict.Priority = 10
	strict.PodSecurity.Enforce = "restricted"
	strict.Network.Policies = nil
	strict.RBAC = nil
	stricter := newBaseline(t, "stricter", strict)
	wouldChange := entry(t, namespace.Name, stricter, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateDrifted))
	equal(t, "the labels that would change", []v1alpha1.Change{foretold("Namespace/"+namespace.Name, v1alpha1.ChangeConfigure,
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/enforce", Expected: "restricted", Actual: "baseline"})}, wouldChange.Changes)
	wouldChange = entry(t, namespace.Name, stricter, v1alpha1.ControlNetwork, inState(v1alpha1.StateDrifted))
	equal(t, "the policies that would change",
		[]v1alpha1.Change{foretold("NetworkPolicy/security-baseline-from-ingress", v1alpha1.ChangeRemove)}, wouldChange.Changes)
	equal(t, "findings", []string{"in Enforce mode, it would take this control over from baseline " + current.Name}, wouldChange.Findings)

	// The current one protects as ever, and both are in the report.
	summary := evaluated(t, namespace.Name, current, v1alpha1.StateCompliant)
	equal(t, "controls", "3/3", summary.Summary.Controls)
	equal(t, "baselines", current.Name+","+stricter.Name, summary.Summary.Baselines)
	equal(t, "what is in place", before, operatorParts(t, namespace.Name))
	must(t, admin.Delete(t.Context(), policy(t, namespace.Name, "default-deny")))
	policy(t, namespace.Name, "default-deny")
	ready(t, current, hasCondition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonAllCompliant))
	ready(t, stricter, hasCondition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonDriftDetected))

	// One of lower precedence says so.
	change(t, stricter, func(b *v1alpha1.SecurityBaseline) { b.Spec.Priority = -1 })
	entry(t, namespace.Name, stricter, v1alpha1.ControlNetwork, func(control *v1alpha1.ControlReport) error {
		want := "in Enforce mode, nothing would change here: baseline " + current.Name + " has precedence; raise spec.priority to take this control over"
		if !slices.Contains(control.Findings, want) {
			return fmt.Errorf("no finding %q", want)
		}
		if want := "But for baseline " + current.Name + ", which has precedence, Enforce would remove"; !strings.HasPrefix(control.Message, want) {
			return fmt.Errorf("the message is not %q", want)
		}
		return nil
	})
}

func TestSwitchingToAuditLeavesWhatIsInPlaceAndReports(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	before := everyPart(t, namespace.Name)

	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeAudit })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "what is in place", before, everyPart(t, namespace.Name))

	change(t, policy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	})
	must(t, admin.Delete(t.Context(), get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})))
	opened := v1alpha1.FieldDifference{Path: "spec.ingress", Actual: "[{}]"}
	network := entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateDrifted))
	equal(t, "what Enforce would do", []v1alpha1.Change{foretold("NetworkPolicy/security-baseline-default-deny", v1alpha1.ChangeConfigure, opened)}, network.Changes)
	rbac := entry(t, namespace.Name, baseline, v1alpha1.ControlRBAC, inState(v1alpha1.StateDrifted))
	equal(t, "what Enforce would do", []v1alpha1.Change{foretold("RoleBinding/security-baseline-developers", v1alpha1.ChangeCreate)}, rbac.Changes)

	// Who did it is recorded, once.
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateDrifted)
	drifts := map[string]v1alpha1.Drift{}
	for _, drift := range current.Drifts {
		drift.DetectionTime, drift.ChangeTime = metav1.Time{}, nil
		drifts[drift.Object] = drift
	}
	equal(t, "drifts", map[string]v1alpha1.Drift{
		"NetworkPolicy/security-baseline-default-deny": {Control: "Network", Baseline: baseline.Name, Object: "NetworkPolicy/security-baseline-default-deny",
			Fields: []v1alpha1.FieldDifference{opened}, Manager: "admin", Operation: "Update", Action: v1alpha1.DriftReported},
		"RoleBinding/security-baseline-developers": {Control: "RBAC", Baseline: baseline.Name, Object: "RoleBinding/security-baseline-developers",
			Operation: "Delete", Action: v1alpha1.DriftReported},
	}, drifts)
	equal(t, "how many", int64(2), current.Summary.DriftsTotal)
	equal(t, "rules of the policy", 1, len(policy(t, namespace.Name, "default-deny").Spec.Ingress))

	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeEnforce })
	current = evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "rules of the policy", 0, len(policy(t, namespace.Name, "default-deny").Spec.Ingress))
	get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	equal(t, "how many", int64(2), current.Summary.DriftsTotal)
}

// What the operator itself changes for another baseline is nobody's drift.
func TestATakeoverIsNoDriftFromTheBaselineInAudit(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	low := newBaseline(t, "low", denyAll())
	spec := everything()
	spec.Priority = 10
	high := newBaseline(t, "high", spec)
	evaluated(t, namespace.Name, high, v1alpha1.StateCompliant)
	change(t, high, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeAudit })
	entry(t, namespace.Name, high, v1alpha1.ControlNetwork, inState(v1alpha1.StateDrifted))
	equal(t, "who governs", low.Name, policy(t, namespace.Name, "default-deny").Labels[v1alpha1.BaselineLabel])
	touch(t, namespace.Name)
	current := evaluated(t, namespace.Name, low, v1alpha1.StateCompliant)
	equal(t, "drifts", int64(0), current.Summary.DriftsTotal)
}

func TestAuditFindsWhatWouldBeRefused(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	theirs := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "security-baseline-default-deny"}}
	must(t, admin.Create(t.Context(), theirs))
	spec := inAudit(everything())
	spec.RBAC.RoleBindings[0].RoleRef.Name = "system:node"
	baseline := newBaseline(t, "all", spec)

	rbac := entry(t, namespace.Name, baseline, v1alpha1.ControlRBAC, inState(v1alpha1.StateFailed))
	if !strings.Contains(rbac.Message, `the operator may not bind ClusterRole "system:node". To allow it, create a ClusterRole`) {
		t.Error(rbac.Message)
	}
	network := entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateConflict))
	if !strings.Contains(network.Message, "NetworkPolicy/security-baseline-default-deny exists and was not made by the operator") {
		t.Error(network.Message)
	}
	equal(t, "what else would be made", 3, len(network.Changes))
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWriteRejected))
	equal(t, "what is in the namespace", map[string]string{
		"NetworkPolicy/security-baseline-default-deny": theirs.ResourceVersion,
		"Namespace/" + namespace.Name:                  namespace.ResourceVersion,
	}, everyPart(t, namespace.Name))
}

// What a baseline gave before it was in Audit mode goes with it if it says so.
func TestDeletingABaselineInAuditModeRemovesWhatItGave(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	spec := everything()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := newBaseline(t, "all", spec)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeAudit })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	must(t, admin.Delete(t.Context(), baseline))
	absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	bare(t, namespace.Name)
}
