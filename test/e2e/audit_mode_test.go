package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

func inAuditMode(spec v1alpha1.SecurityBaselineSpec) v1alpha1.SecurityBaselineSpec {
	spec.Mode = v1alpha1.ModeAudit
	return spec
}

func plannedChange(object string, action v1alpha1.ChangeAction, fields ...v1alpha1.FieldDifference) v1alpha1.Change {
	return v1alpha1.Change{Object: object, Action: action, Fields: fields}
}

// TestAuditMode_ReportsWhatEnforceChanges reads the report in Audit mode, switches to
// Enforce, and checks that nothing changes but what the report said.
func TestAuditMode_ReportsWhatEnforceChanges(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", map[string]string{"pod-security.kubernetes.io/warn": "baseline"})
	createDeployment(t, namespace.Name, privilegedPod())
	// An earlier baseline leaves objects behind.
	earlier := env.NewBaseline(t, "earlier", v1alpha1.SecurityBaselineSpec{
		Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, Policies: []v1alpha1.NamedNetworkPolicy{{Name: "legacy"}}},
		RBAC: &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{{
			Name: "developers", RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: "view"}, Subjects: []v1alpha1.Subject{{Kind: "Group", Name: "developers"}},
		}}},
	})
	env.WaitForReport(t, namespace.Name, earlier, v1alpha1.StateCompliant)
	testutil.Must(t, env.Admin.Delete(t.Context(), earlier))
	env.WaitForNotFound(t, namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
	before := resourceVersions(t, namespace.Name)

	baseline := env.NewBaseline(t, "all", inAuditMode(defaultSpec()))
	podSecurity := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity,
		testutil.InState(v1alpha1.StateDrifted), hasPodViolations("baseline:latest", "host namespaces, privileged"))
	network := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateDrifted))
	rbac := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlRBAC, testutil.InState(v1alpha1.StateDrifted))

	testutil.Equal(t, "what Enforce would change of the labels", podSecurity.Changes, []v1alpha1.Change{plannedChange("Namespace/"+namespace.Name, v1alpha1.ChangeConfigure,
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/audit", Expected: "restricted"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/audit-version", Expected: "latest"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/enforce", Expected: "baseline"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/enforce-version", Expected: "latest"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/warn", Expected: "restricted", Actual: "baseline"},
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/warn-version", Expected: "latest"},
		v1alpha1.FieldDifference{Path: "metadata.labels.podsecurity.securitybaseline.io/baseline", Expected: baseline.Name},
	)})
	testutil.Equal(t, "what Enforce would change of the policies", network.Changes, []v1alpha1.Change{
		plannedChange("NetworkPolicy/security-baseline-default-deny", v1alpha1.ChangeConfigure,
			v1alpha1.FieldDifference{Path: "spec.policyTypes", Expected: `["Egress"]`}),
		plannedChange("NetworkPolicy/security-baseline-allow-dns", v1alpha1.ChangeCreate),
		plannedChange("NetworkPolicy/security-baseline-allow-same-namespace", v1alpha1.ChangeCreate),
		plannedChange("NetworkPolicy/security-baseline-from-ingress", v1alpha1.ChangeCreate),
		plannedChange("NetworkPolicy/security-baseline-legacy", v1alpha1.ChangeRemove),
	})
	testutil.Equal(t, "in a sentence", network.Message, "Enforce would create NetworkPolicy/security-baseline-allow-dns and 2 more, "+
		"configure NetworkPolicy/security-baseline-default-deny, remove NetworkPolicy/security-baseline-legacy")
	testutil.Equal(t, "what Enforce would change of the bindings", rbac.Changes, []v1alpha1.Change{
		plannedChange("RoleBinding/security-baseline-developers", v1alpha1.ChangeReplace, v1alpha1.FieldDifference{
			Path:     "roleRef",
			Expected: `{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"edit"}`,
			Actual:   `{"apiGroup":"rbac.authorization.k8s.io","kind":"ClusterRole","name":"view"}`,
		}),
	})

	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Drifted: 1}}
		if status.Namespaces != want || status.ViolatingPodsTotal != 3 || status.ViolationsTotal != 3 {
			return fmt.Errorf("got %+v, %d violating pods and %d violations, want %+v, 3 and 3",
				status.Namespaces, status.ViolatingPodsTotal, status.ViolationsTotal, want)
		}
		return nil
	},
		testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated),
		testutil.HasCondition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonDriftDetected),
		testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonDriftDetected))
	testutil.Equal(t, "what is in the namespace", resourceVersions(t, namespace.Name), before)

	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeEnforce })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateViolating, testutil.HasDrifts(0))
	after := resourceVersions(t, namespace.Name)
	for _, control := range []*v1alpha1.ControlReport{podSecurity, network, rbac} {
		for _, change := range control.Changes {
			_, existed := before[change.Object]
			_, exists := after[change.Object]
			if existed != (change.Action != v1alpha1.ChangeCreate) || exists != (change.Action != v1alpha1.ChangeRemove) {
				t.Errorf("%s: got existence before=%t and after=%t, want what %+v says", change.Object, existed, exists, change)
			}
			delete(before, change.Object)
			delete(after, change.Object)
		}
	}
	testutil.Equal(t, "what the report did not name", after, before)
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity,
		testutil.InState(v1alpha1.StateViolating), hasPodViolations("baseline:latest", "host namespaces, privileged"))
}

// resourceVersions returns the versions of the namespace and of the objects in it that the
// operator could change, without the report, by the names that a report uses.
func resourceVersions(t *testing.T, namespace string) map[string]string {
	t.Helper()
	parts := map[string]string{}
	var policies networkingv1.NetworkPolicyList
	var bindings rbacv1.RoleBindingList
	testutil.Must(t, env.Admin.List(t.Context(), &policies, client.InNamespace(namespace)))
	testutil.Must(t, env.Admin.List(t.Context(), &bindings, client.InNamespace(namespace)))
	for _, policy := range policies.Items {
		parts["NetworkPolicy/"+policy.Name] = policy.ResourceVersion
	}
	for _, binding := range bindings.Items {
		parts["RoleBinding/"+binding.Name] = binding.ResourceVersion
	}
	parts["Namespace/"+namespace] = readObject(t, "", namespace, &corev1.Namespace{}).ResourceVersion
	return parts
}

// neverDrifts fails the test if the report of a namespace has a drift within a few seconds.
func neverDrifts(t *testing.T, namespace string) {
	t.Helper()
	testutil.Never(t, 2*time.Second, func(ctx context.Context) error {
		current := &v1alpha1.BaselineReport{}
		if err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.ReportName}, current); err != nil {
			return err
		}
		return testutil.HasDrifts(0)(current)
	})
}

func TestAuditMode_LeavesGoverningBaselineInForce(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	current := env.NewBaseline(t, "current", defaultSpec())
	env.WaitForReport(t, namespace.Name, current, v1alpha1.StateCompliant)
	before := managedParts(t, namespace.Name)

	strict := inAuditMode(defaultSpec())
	strict.Priority = 10
	strict.PodSecurity.Enforce = "restricted"
	strict.Network.Policies = nil
	strict.RBAC = nil
	stricter := env.NewBaseline(t, "stricter", strict)
	wouldChange := env.WaitForControl(t, namespace.Name, stricter, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "the labels that would change", wouldChange.Changes, []v1alpha1.Change{plannedChange("Namespace/"+namespace.Name, v1alpha1.ChangeConfigure,
		v1alpha1.FieldDifference{Path: "metadata.labels.pod-security.kubernetes.io/enforce", Expected: "restricted", Actual: "baseline"})})
	wouldChange = env.WaitForControl(t, namespace.Name, stricter, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "the policies that would change",
		wouldChange.Changes, []v1alpha1.Change{plannedChange("NetworkPolicy/security-baseline-from-ingress", v1alpha1.ChangeRemove)})
	testutil.Equal(t, "findings", wouldChange.Findings, []string{"in Enforce mode, this baseline would govern this control instead of baseline " + current.Name})

	// The current baseline stays in force, and the report observes both.
	summary := env.WaitForReport(t, namespace.Name, current, v1alpha1.StateCompliant)
	testutil.Equal(t, "controls", summary.Summary.CompliantControls, "3/3")
	testutil.Equal(t, "baselines", summary.Summary.Baselines, current.Name+","+stricter.Name)
	testutil.Equal(t, "what is in place", managedParts(t, namespace.Name), before)
	testutil.Must(t, env.Admin.Delete(t.Context(), env.WaitForPolicy(t, namespace.Name, "default-deny")))
	env.WaitForPolicy(t, namespace.Name, "default-deny")
	env.WaitForStatus(t, current, testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonAllCompliant))
	env.WaitForStatus(t, stricter, testutil.HasCondition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonDriftDetected))

	// A baseline of lower precedence reports that.
	update(t, stricter, func(b *v1alpha1.SecurityBaseline) { b.Spec.Priority = -1 })
	env.WaitForControl(t, namespace.Name, stricter, v1alpha1.ControlNetwork, func(control *v1alpha1.ControlReport) error {
		want := "in Enforce mode, nothing would change here: baseline " + current.Name + " has higher precedence; raise spec.priority to govern this control"
		if !slices.Contains(control.Findings, want) {
			return fmt.Errorf("findings: got %q, want %q among them", control.Findings, want)
		}
		if want := "If baseline " + current.Name + " did not have higher precedence, Enforce would remove"; !strings.HasPrefix(control.Message, want) {
			return fmt.Errorf("message: got %q, want one that begins with %q", control.Message, want)
		}
		return nil
	})
}

func TestAuditMode_ReportsDriftAndKeepsObjectsAfterEnforce(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	before := resourceVersions(t, namespace.Name)

	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeAudit })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "what is in place", resourceVersions(t, namespace.Name), before)

	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	})
	testutil.Must(t, env.Admin.Delete(t.Context(), waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})))
	opened := v1alpha1.FieldDifference{Path: "spec.ingress", Actual: "[{}]"}
	network := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "what Enforce would do", network.Changes, []v1alpha1.Change{plannedChange("NetworkPolicy/security-baseline-default-deny", v1alpha1.ChangeConfigure, opened)})
	rbac := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlRBAC, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "what Enforce would do", rbac.Changes, []v1alpha1.Change{plannedChange("RoleBinding/security-baseline-developers", v1alpha1.ChangeCreate)})

	// The field managers are recorded, once.
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateDrifted, testutil.HasDrifts(2))
	drifts := map[string]v1alpha1.Drift{}
	for _, drift := range current.Drifts {
		drift.DetectionTime = metav1.Time{}
		drift.ChangeTime = nil
		drifts[drift.Object] = drift
	}
	testutil.Equal(t, "drifts", drifts, map[string]v1alpha1.Drift{
		"NetworkPolicy/security-baseline-default-deny": {Control: "Network", Baseline: baseline.Name, Object: "NetworkPolicy/security-baseline-default-deny",
			Fields: []v1alpha1.FieldDifference{opened}, Manager: "admin", Operation: "Update", Action: v1alpha1.DriftReported},
		"RoleBinding/security-baseline-developers": {Control: "RBAC", Baseline: baseline.Name, Object: "RoleBinding/security-baseline-developers",
			Operation: "Delete", Action: v1alpha1.DriftReported},
	})
	testutil.Equal(t, "rules of the policy", len(env.WaitForPolicy(t, namespace.Name, "default-deny").Spec.Ingress), 1)

	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeEnforce })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(2))
	env.WaitForPolicy(t, namespace.Name, "default-deny", isClosed)
	waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
}

// TestAuditMode_ReportsNoDriftWhenAnotherBaselineTakesOver switches the governing baseline to
// Audit mode: what the operator then writes for the other baseline is no drift.
func TestAuditMode_ReportsNoDriftWhenAnotherBaselineTakesOver(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	low := env.NewBaseline(t, "low", denyAllSpec())
	spec := defaultSpec()
	spec.Priority = 10
	high := env.NewBaseline(t, "high", spec)
	env.WaitForReport(t, namespace.Name, high, v1alpha1.StateCompliant)
	update(t, high, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeAudit })
	env.WaitForControl(t, namespace.Name, high, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateDrifted))
	env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](low.Name))
	waitAndTriggerEvaluation(t, namespace.Name)
	env.WaitForReport(t, namespace.Name, low, v1alpha1.StateCompliant, testutil.HasDrifts(0))
	neverDrifts(t, namespace.Name)
}

func TestAuditMode_ReportsForbiddenBindingsAndConflicts(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	foreign := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "security-baseline-default-deny"}}
	testutil.Must(t, env.Admin.Create(t.Context(), foreign))
	spec := inAuditMode(defaultSpec())
	spec.RBAC.RoleBindings[0].RoleRef.Name = "system:node"
	baseline := env.NewBaseline(t, "all", spec)

	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlRBAC, testutil.InState(v1alpha1.StateFailed),
		hasMessage(`the operator may not bind ClusterRole "system:node". To allow it, create a ClusterRole`))
	network := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateConflict),
		hasMessage("NetworkPolicy/security-baseline-default-deny exists but is not managed by the operator"))
	testutil.Equal(t, "the other changes", len(network.Changes), 3)
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWriteRejected))
	testutil.Equal(t, "what is in the namespace", resourceVersions(t, namespace.Name), map[string]string{
		"NetworkPolicy/security-baseline-default-deny": foreign.ResourceVersion,
		"Namespace/" + namespace.Name:                  namespace.ResourceVersion,
	})
}

// TestAuditMode_RemovesManagedObjectsWhenBaselineIsDeleted has deletionPolicy Remove, and
// objects that the operator applied before Audit mode.
func TestAuditMode_RemovesManagedObjectsWhenBaselineIsDeleted(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Mode = v1alpha1.ModeAudit })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForNothingManaged(t, namespace.Name)
}
