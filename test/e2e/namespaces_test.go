package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// waitForNothingManaged waits until a namespace has no managed object or label and no report.
func waitForNothingManaged(t *testing.T, namespace string) {
	t.Helper()
	testutil.WaitFor(t, func(context.Context) error {
		return testutil.CheckEqual("what the operator manages", map[string]any{}, managedParts(t, namespace))
	})
	env.WaitForNotFound(t, namespace, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
}

func TestNamespaces_GovernedWhenCreatedAfterBaseline(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned))
	namespace := env.NewNamespace(t, "later", nil)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForPolicy(t, namespace.Name, "default-deny")
	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Compliant: 1}}
		if status.Namespaces != want {
			return fmt.Errorf("namespaces: got %+v, want %+v", status.Namespaces, want)
		}
		return testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated)(status)
	})
}

func TestNamespaces_ManagedObjectsRemovedWhenNoLongerSelected(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	createForeignObjects(t, namespace.Name, "")
	theirs := waitForObject(t, namespace.Name, "theirs", &networkingv1.NetworkPolicy{})

	update(t, namespace, func(n *corev1.Namespace) { n.Labels["test"] = "none" })
	waitForNothingManaged(t, namespace.Name)
	testutil.Equal(t, "their policy", theirs, waitForObject(t, namespace.Name, "theirs", &networkingv1.NetworkPolicy{}))
	waitForObject(t, namespace.Name, "theirs", &rbacv1.RoleBinding{})
	waitForObject(t, "", namespace.Name, namespace)
	testutil.Equal(t, "their label", "team-a", namespace.Labels["example.com/owner"])

	update(t, namespace, func(n *corev1.Namespace) { n.Labels["test"] = testutil.Name(t) })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForPolicy(t, namespace.Name, "default-deny")
}

func TestNamespaces_NotGovernedWhenExcluded(t *testing.T) {
	t.Parallel()
	excluded, governed := env.NewNamespace(t, "excluded", nil), env.NewNamespace(t, "governed", nil)
	spec := defaultSpec()
	spec.ExcludeNamespaces = []string{excluded.Name}
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, governed.Name, baseline, v1alpha1.StateCompliant)
	waitForNothingManaged(t, excluded.Name)

	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.ExcludeNamespaces = []string{governed.Name} })
	env.WaitForReport(t, excluded.Name, baseline, v1alpha1.StateCompliant)
	waitForNothingManaged(t, governed.Name)
}

// TestNamespaces_NotGovernedWhenProtected selects every namespace, also those of other tests,
// so it is not parallel.
func TestNamespaces_NotGovernedWhenProtected(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	baseline := &v1alpha1.SecurityBaseline{
		ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t)},
		Spec:       defaultSpec(),
	}
	baseline.Spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline.Spec.NamespaceSelector = v1alpha1.LabelSelector{}
	env.Create(t, baseline)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, metav1.NamespaceDefault, baseline, v1alpha1.StateCompliant)
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	for _, protected := range []string{"kube-system", "kube-public", "kube-node-lease", cluster.OperatorNamespace} {
		if testutil.CheckNotFound(env.Admin.Get(t.Context(), client.ObjectKey{Namespace: protected, Name: "security-baseline-default-deny"}, &networkingv1.NetworkPolicy{})) != nil {
			t.Errorf("%s: got a default-deny policy, want none", protected)
		}
	}
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForNothingManaged(t, metav1.NamespaceDefault)
	waitForNothingManaged(t, namespace.Name)
}

func TestNamespaces_ForeignOperatorLabelsKept(t *testing.T) {
	t.Parallel()
	// The namespace has the labels of a managed object.
	namespace := env.NewNamespace(t, "a", map[string]string{v1alpha1.BaselineLabel: "x", v1alpha1.ControlLabel: "Network"})
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	waitForObject(t, "", namespace.Name, namespace)
	testutil.Equal(t, "the owner's label", "x", namespace.Labels[v1alpha1.BaselineLabel])
}

func TestManagedObjects_PrunedWhenBaselineDropsThem(t *testing.T) {
	t.Parallel()
	namespaces := []*corev1.Namespace{env.NewNamespace(t, "a", nil), env.NewNamespace(t, "b", nil)}
	baseline := env.NewBaseline(t, "all", defaultSpec())
	for _, namespace := range namespaces {
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	}
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Network.Policies = nil
		b.Spec.Network.Allow.SameNamespace = false
		b.Spec.PodSecurity.Warn = ""
		b.Spec.RBAC.RoleBindings[0].Name = "engineers"
	})
	for _, namespace := range namespaces {
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
		env.WaitForNotFound(t, namespace.Name, "security-baseline-allow-same-namespace", &networkingv1.NetworkPolicy{})
		env.WaitForNotFound(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
		waitForObject(t, namespace.Name, "security-baseline-engineers", &rbacv1.RoleBinding{})
		env.WaitForPolicy(t, namespace.Name, "default-deny")
		env.WaitForPolicy(t, namespace.Name, "allow-dns")
		env.WaitForLabels(t, namespace.Name, map[string]string{
			"pod-security.kubernetes.io/warn": "", "pod-security.kubernetes.io/enforce": "baseline",
		})
	}

	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network, b.Spec.PodSecurity = nil, nil })
	for _, namespace := range namespaces {
		current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
		testutil.Equal(t, "controls", 1, len(current.Controls))
		testutil.WaitFor(t, func(context.Context) error {
			if left := managedParts(t, namespace.Name); len(left) != 1 {
				return fmt.Errorf("what the operator manages: got %v, want one part", left)
			}
			return nil
		})
	}
}

func TestPodSecurityLevel_StricterLevelIsKept(t *testing.T) {
	t.Parallel()
	const enforce, version = "pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/enforce-version"
	namespace := env.NewNamespace(t, "a", map[string]string{enforce: "restricted"})
	baseline := env.NewBaseline(t, "all", v1alpha1.SecurityBaselineSpec{
		PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline", Version: "v1.30"},
	})
	waitForLevel := func(t *testing.T, wantLevel, wantVersion string) {
		t.Helper()
		env.WaitForLabels(t, namespace.Name, map[string]string{enforce: wantLevel, version: wantVersion})
	}

	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	waitForLevel(t, "restricted", "")
	testutil.Equal(t, "findings", []string{"enforce: restricted is kept; it is stricter than baseline, which the baseline asks for"}, current.Controls[0].Findings)

	// Without the owner's level, the baseline's level applies.
	update(t, namespace, func(n *corev1.Namespace) { delete(n.Labels, enforce) })
	waitForLevel(t, "baseline", "v1.30")

	// A stricter level that the operator set is not kept.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "restricted" })
	waitForLevel(t, "restricted", "v1.30")
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "baseline" })
	waitForLevel(t, "baseline", "v1.30")

	// The owner sets a stricter level, and later a weaker one.
	update(t, namespace, func(n *corev1.Namespace) { n.Labels[enforce] = "restricted" })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, func(current *v1alpha1.BaselineReport) error {
		if got := len(current.Controls[0].Findings); got != 1 {
			return fmt.Errorf("findings: got %d, want 1: %+v", got, current.BaselineReportData)
		}
		return nil
	})
	waitForLevel(t, "restricted", "v1.30")
	update(t, namespace, func(n *corev1.Namespace) { n.Labels[enforce] = "privileged" })
	waitForLevel(t, "baseline", "v1.30")
}

func TestManagedObjects_ConflictWhenForeignObjectHasTheName(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	theirs := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "security-baseline-default-deny"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "public"}},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		},
	}
	testutil.Must(t, env.Admin.Create(t.Context(), theirs))
	baseline := env.NewBaseline(t, "all", defaultSpec())
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateConflict)
	testutil.Equal(t, "the state of Network", v1alpha1.StateConflict, testutil.StateOf(current, v1alpha1.ControlNetwork))
	testutil.Equal(t, "the state of RBAC", v1alpha1.StateCompliant, testutil.StateOf(current, v1alpha1.ControlRBAC))
	env.WaitForPolicy(t, namespace.Name, "allow-dns") // the other policies are applied

	want := []v1alpha1.Violation{{Namespace: namespace.Name, Control: "Network", State: "Conflict",
		Message: "NetworkPolicy/security-baseline-default-deny exists and was not made by the operator, so it is left alone; delete it, or make it again under another name"}}
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonObjectConflict),
		func(status v1alpha1.SecurityBaselineStatus) error {
			return testutil.CheckEqual("violations", want, status.Violations)
		})
	unchanged := env.WaitForPolicy(t, namespace.Name, "default-deny")
	testutil.Equal(t, "their policy", theirs.ResourceVersion, unchanged.ResourceVersion)

	// After its deletion the operator creates its own policy, which is no drift.
	testutil.Must(t, env.Admin.Delete(t.Context(), theirs))
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
	env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](baseline.Name))
}

func TestManagedObjects_ForeignCopyIsNotPruned(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	original := env.WaitForPolicy(t, namespace.Name, "default-deny")
	theirs := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "copy", Labels: original.Labels},
		Spec:       original.Spec,
	}
	testutil.Must(t, env.Admin.Create(t.Context(), theirs))
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network = nil })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForNotFound(t, namespace.Name, original.Name, &networkingv1.NetworkPolicy{})
	kept := waitForObject(t, namespace.Name, "copy", &networkingv1.NetworkPolicy{})
	testutil.Equal(t, "the copy", theirs.ResourceVersion, kept.ResourceVersion)
}

func TestReports_RewrittenWhenChangedOrDeleted(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	update(t, current.DeepCopy(), func(r *v1alpha1.BaselineReport) {
		r.State = v1alpha1.StateFailed
		r.Controls[0].State = v1alpha1.StateFailed
	})
	rewritten := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, func(rewritten *v1alpha1.BaselineReport) error {
		return testutil.CheckEqual("the report", current.BaselineReportData, rewritten.BaselineReportData)
	})

	testutil.Must(t, env.Admin.Delete(t.Context(), rewritten))
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
}

func TestRoleBindings_SubjectsFollowNamespaceLabel(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", map[string]string{"team": "payments"})
	baseline := env.NewBaseline(t, "all", v1alpha1.SecurityBaselineSpec{RBAC: &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{{
		Name:         "team",
		RoleRef:      v1alpha1.RoleRef{Kind: "ClusterRole", Name: "view"},
		SubjectsFrom: []v1alpha1.SubjectFrom{{Kind: "Group", Prefix: "oidc:", Label: "team"}},
	}}}})
	waitForSubject := func(want string) {
		t.Helper()
		testutil.WaitFor(t, func(ctx context.Context) error {
			binding := &rbacv1.RoleBinding{}
			if err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "security-baseline-team"}, binding); err != nil {
				return err
			}
			if binding.Subjects[0].Name != want {
				return fmt.Errorf("subjects: got %+v, want %s", binding.Subjects, want)
			}
			return nil
		})
	}
	waitForSubject("oidc:payments")
	update(t, namespace, func(n *corev1.Namespace) { n.Labels["team"] = "billing" })
	waitForSubject("oidc:billing")
	update(t, namespace, func(n *corev1.Namespace) { delete(n.Labels, "team") })
	env.WaitForNotFound(t, namespace.Name, "security-baseline-team", &rbacv1.RoleBinding{})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
}
