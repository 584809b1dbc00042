package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

func denyAllSpec() v1alpha1.SecurityBaselineSpec {
	return v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{
		DefaultDeny: []v1alpha1.Direction{v1alpha1.DirectionIngress, v1alpha1.DirectionEgress},
	}}
}

func TestPrecedence_HigherPriorityTakesControlOverInPlace(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	low := env.NewBaseline(t, "low", defaultSpec())
	env.WaitForReport(t, namespace.Name, low, v1alpha1.StateCompliant)
	uid := env.WaitForPolicy(t, namespace.Name, "default-deny").UID
	events := recordEvents(t, namespace.Name, &networkingv1.NetworkPolicyList{})

	spec := denyAllSpec()
	spec.Priority = 10
	high := env.NewBaseline(t, "high", spec)
	current := env.WaitForReport(t, namespace.Name, high, v1alpha1.StateCompliant)
	requireGoverningBaselines(t, current, map[v1alpha1.ControlName]string{"PodSecurity": low.Name, "Network": high.Name, "RBAC": low.Name})
	env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](high.Name))
	env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})

	env.WaitForStatus(t, low, func(status v1alpha1.SecurityBaselineStatus) error {
		for _, control := range status.Controls {
			if control.Name == v1alpha1.ControlNetwork && control.Overridden != 1 {
				return fmt.Errorf("control Network: got %+v, want 1 overridden", control)
			}
		}
		return nil
	})

	// After its deletion the other baseline governs again, whatever the deletionPolicy.
	testutil.Must(t, env.Admin.Delete(t.Context(), high))
	env.WaitForNotFound(t, "", high.Name, &v1alpha1.SecurityBaseline{})
	env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](low.Name))
	env.WaitForReport(t, namespace.Name, low, v1alpha1.StateCompliant, testutil.HasDrifts(0))

	for _, event := range events() {
		if deny, ok := event.Object.(*networkingv1.NetworkPolicy); ok && deny.Name == "security-baseline-default-deny" {
			if event.Type == watch.Deleted || deny.UID != uid {
				t.Errorf("default-deny: got %s of UID %s, want UID %s all the time", event.Type, deny.UID, uid)
			}
		}
	}
}

func requireGoverningBaselines(t *testing.T, current *v1alpha1.BaselineReport, want map[v1alpha1.ControlName]string) {
	t.Helper()
	got := map[v1alpha1.ControlName]string{}
	for _, control := range current.Controls {
		got[control.Name] = control.Baseline
	}
	testutil.Equal(t, "who governs", want, got)
}

func TestPrecedence_OldestBaselineGovernsAtEqualPriority(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	older := env.NewBaseline(t, "z", denyAllSpec())
	env.WaitForReport(t, namespace.Name, older, v1alpha1.StateCompliant)
	// Creation times have a precision of one second.
	testutil.WaitFor(t, func(context.Context) error {
		if metav1.Now().Unix() <= older.CreationTimestamp.Unix() {
			return errors.New("the clock shows the second in which the first baseline was created")
		}
		return nil
	})
	younger := env.NewBaseline(t, "a", denyAllSpec())
	current := env.WaitForReport(t, namespace.Name, younger, v1alpha1.StateCompliant)
	requireGoverningBaselines(t, current, map[v1alpha1.ControlName]string{"Network": older.Name})
	env.WaitForStatus(t, younger, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned),
		func(status v1alpha1.SecurityBaselineStatus) error {
			return testutil.CheckEqual("counts", v1alpha1.NamespaceCounts{StateCounts: v1alpha1.StateCounts{Overridden: 1}}, status.Namespaces)
		})
}

func TestBaselineDeletion_RetainKeepsManagedObjects(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "deletionPolicy", v1alpha1.DeletionRetain, baseline.Spec.DeletionPolicy)
	testutil.Equal(t, "finalizers", 0, len(baseline.Finalizers))
	before := managedParts(t, namespace.Name)

	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	env.WaitForNotFound(t, namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
	testutil.Equal(t, "the managed objects", before, managedParts(t, namespace.Name))
	uid := env.WaitForPolicy(t, namespace.Name, "default-deny").UID

	// Created again, it takes its objects over by their label, and prunes those that it
	// no longer declares.
	spec := defaultSpec()
	spec.Network.Policies = nil
	second := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, second, v1alpha1.StateCompliant, testutil.HasDrifts(0))
	testutil.Equal(t, "the same policy", uid, env.WaitForPolicy(t, namespace.Name, "default-deny").UID)
	env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
}

func TestBaselineDeletion_RemoveDeletesOnlyManagedObjects(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	other := env.NewNamespace(t, "b", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, other.Name, baseline, v1alpha1.StateCompliant)
	createForeignObjects(t, namespace.Name, "")
	theirs := waitForObject(t, namespace.Name, "theirs", &networkingv1.NetworkPolicy{})
	waitForObject(t, "", baseline.Name, baseline, func(b *v1alpha1.SecurityBaseline) error {
		if len(b.Finalizers) == 0 {
			return errors.New("finalizers: got none, want one")
		}
		return nil
	})

	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForNothingManaged(t, namespace.Name)
	testutil.Equal(t, "their policy", theirs, waitForObject(t, namespace.Name, "theirs", &networkingv1.NetworkPolicy{}))
	waitForObject(t, "", other.Name, other, func(n *corev1.Namespace) error {
		return testutil.CheckEqual("the labels, with the owner's", map[string]string{
			"test": testutil.Name(t), corev1.LabelMetadataName: other.Name, "pod-security.kubernetes.io/enforce": "restricted",
		}, n.Labels)
	})
}

// TestBaselineDeletion_RemoveLeavesNothingWhileApplying deletes baselines while the operator
// applies them.
func TestBaselineDeletion_RemoveLeavesNothingWhileApplying(t *testing.T) {
	t.Parallel()
	namespaces := make([]*corev1.Namespace, 0, 10)
	for i := range cap(namespaces) {
		namespaces = append(namespaces, env.NewNamespace(t, fmt.Sprint(i), nil))
	}
	for i := range 10 {
		spec := defaultSpec()
		if i%3 == 0 {
			spec.Network, spec.RBAC = nil, nil // labels only
		}
		spec.DeletionPolicy = v1alpha1.DeletionRemove
		spec.NamespaceSelector = testutil.Selector(t)
		baseline := &v1alpha1.SecurityBaseline{
			// The operator sets the same finalizer.
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", testutil.Name(t), i), Finalizers: []string{v1alpha1.Finalizer}},
			Spec:       spec,
		}
		testutil.Must(t, env.Admin.Create(t.Context(), baseline))
		if i%3 == 1 {
			env.WaitForPolicy(t, namespaces[i].Name, "default-deny")
		}
		testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
		env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
		for _, namespace := range namespaces {
			testutil.Equal(t, "what is left in "+namespace.Name, map[string]any{}, managedParts(t, namespace.Name))
		}
	}
}

func TestBaselineDeletion_CompletesWhileNamespaceTerminates(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	vanished := env.NewNamespace(t, "vanished", nil)
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, vanished.Name, baseline, v1alpha1.StateCompliant)
	// A finalizer of a managed NetworkPolicy keeps the namespace terminating.
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Finalizers = []string{"example.com/hold"}
	})
	testutil.Must(t, env.Admin.Delete(t.Context(), namespace))
	testutil.Must(t, env.Admin.Delete(t.Context(), vanished))
	env.WaitForNotFound(t, "", vanished.Name, &corev1.Namespace{})

	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForObject(t, "", namespace.Name, namespace)
	if namespace.DeletionTimestamp.IsZero() {
		t.Error("deletionTimestamp of the namespace: got none, want one")
	}
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) { p.Finalizers = nil })
	env.WaitForNotFound(t, "", namespace.Name, &corev1.Namespace{})
}

func TestBaselineDeletion_CompletesWhenObjectHasFinalizer(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	held := env.WaitForPolicy(t, namespace.Name, "default-deny")
	update(t, held, func(p *networkingv1.NetworkPolicy) { p.Finalizers = []string{"example.com/hold"} })
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	update(t, held, func(p *networkingv1.NetworkPolicy) { p.Finalizers = nil })
	waitForNothingManaged(t, namespace.Name)
}

// TestBaselineDeletion_KeepsForeignObjectsWithCopiedLabels has copied labels in a namespace
// that no baseline governed.
func TestBaselineDeletion_KeepsForeignObjectsWithCopiedLabels(t *testing.T) {
	t.Parallel()
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: testutil.Name(t) + "-other", Labels: map[string]string{v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): baseline.Name},
	}}
	env.Create(t, other)
	for name, labels := range map[string]map[string]string{
		"half": {v1alpha1.BaselineLabel: baseline.Name},
		"full": {v1alpha1.BaselineLabel: baseline.Name, v1alpha1.ControlLabel: "Network"},
	} {
		testutil.Must(t, env.Admin.Create(t.Context(), &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: other.Name, Name: name, Labels: labels},
		}))
	}
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned))
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForObject(t, other.Name, "half", &networkingv1.NetworkPolicy{})
	waitForObject(t, other.Name, "full", &networkingv1.NetworkPolicy{})
}

func TestBaselineDeletion_CompletesWhenRemovalIsDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	denyOperatorWrites(t, namespace.Name, admissionregistrationv1.Delete)

	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	env.WaitForPolicy(t, namespace.Name, "default-deny")
	// The removal of the labels is not denied.
	env.WaitForLabels(t, namespace.Name, map[string]string{v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): ""})
}

func TestBaselineDeletion_HandsOverWhenRemovalIsDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	low := env.NewBaseline(t, "low", denyAllSpec())
	spec := defaultSpec()
	spec.DeletionPolicy, spec.Priority = v1alpha1.DeletionRemove, 10
	high := env.NewBaseline(t, "high", spec)
	env.WaitForReport(t, namespace.Name, high, v1alpha1.StateCompliant)
	denyOperatorWrites(t, namespace.Name, admissionregistrationv1.Delete)

	testutil.Must(t, env.Admin.Delete(t.Context(), high))
	env.WaitForNotFound(t, "", high.Name, &v1alpha1.SecurityBaseline{})
	env.WaitForPolicy(t, namespace.Name, "from-ingress") // the removal was denied
	env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](low.Name))
}

// TestRoleBindings_BindUserFacingRolesByDefault binds the roles view, edit and admin.
func TestRoleBindings_BindUserFacingRolesByDefault(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := v1alpha1.SecurityBaselineSpec{RBAC: &v1alpha1.RBAC{}}
	for _, role := range []string{"view", "edit", "admin"} {
		spec.RBAC.RoleBindings = append(spec.RBAC.RoleBindings, v1alpha1.NamedRoleBinding{
			Name: role, RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: role}, Subjects: []v1alpha1.Subject{{Kind: "Group", Name: role + "ers"}},
		})
	}
	env.WaitForReport(t, namespace.Name, env.NewBaseline(t, "all", spec), v1alpha1.StateCompliant)
	for _, role := range []string{"view", "edit", "admin"} {
		testutil.Equal(t, "the role", role, waitForObject(t, namespace.Name, "security-baseline-"+role, &rbacv1.RoleBinding{}).RoleRef.Name)
	}
}

func TestRoleBindings_FailUntilOperatorMayBindRole(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-secrets"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}},
	}
	env.Create(t, role)
	spec := defaultSpec()
	spec.RBAC.RoleBindings = append(spec.RBAC.RoleBindings,
		v1alpha1.NamedRoleBinding{Name: "secrets", RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: role.Name},
			Subjects: []v1alpha1.Subject{{Kind: "User", Name: "u"}}},
		v1alpha1.NamedRoleBinding{Name: "missing", RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: role.Name + "-missing"},
			Subjects: []v1alpha1.Subject{{Kind: "User", Name: "u"}}})
	baseline := env.NewBaseline(t, "all", spec)

	waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}) // the other bindings are applied
	sentence := fmt.Sprintf("RoleBinding/security-baseline-secrets: the operator may not bind ClusterRole %q. "+
		"To allow it, create a ClusterRole with the label rbac.securitybaseline.io/aggregate-to-operator: \"true\" and the rule "+
		"{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [%s], verbs: [bind]}", role.Name, role.Name)
	missing := fmt.Sprintf("RoleBinding/security-baseline-missing: ClusterRole %q does not exist; create it, or correct roleRef", role.Name+"-missing")
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed, func(current *v1alpha1.BaselineReport) error {
		return errors.Join(
			testutil.CheckEqual("the message", sentence+"\n"+missing, current.Controls[2].Message),
			testutil.CheckEqual("the state of Network", v1alpha1.StateCompliant, testutil.StateOf(current, v1alpha1.ControlNetwork)))
	})
	env.WaitForStatus(t, baseline,
		testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWriteRejected),
		testutil.HasCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonWriteRejected))

	// The control recovers when the message is followed, without a change of the baseline.
	allow := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-allow", Labels: map[string]string{v1alpha1.AggregateLabel: "true"}},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"},
			ResourceNames: []string{role.Name}, Verbs: []string{"bind"}}},
	}
	env.Create(t, allow)
	created := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role.Name + "-missing"}}
	env.Create(t, created)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
	waitForObject(t, namespace.Name, "security-baseline-secrets", &rbacv1.RoleBinding{})
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated),
		func(status v1alpha1.SecurityBaselineStatus) error {
			for _, condition := range status.Conditions {
				if condition.Type == v1alpha1.ConditionStalled || condition.Type == v1alpha1.ConditionReconciling {
					return fmt.Errorf("conditions: got %s, want it to be absent", condition.Type)
				}
			}
			return nil
		})
}

func TestRoleBindings_ReplacedWithoutGapWhenRoleChanges(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	events := recordEvents(t, namespace.Name, &rbacv1.RoleBindingList{})

	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
	binding := waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	testutil.Equal(t, "the role", "view", binding.RoleRef.Name)

	granting := sets.New[string]()
	for _, event := range events() {
		binding, ok := event.Object.(*rbacv1.RoleBinding)
		if !ok || len(binding.Subjects) == 0 {
			continue
		}
		if event.Type == watch.Deleted {
			granting.Delete(binding.Name)
		} else {
			granting.Insert(binding.Name)
		}
		if granting.Len() == 0 {
			t.Error("RoleBindings with subjects: got none for a moment, want at least one all the time")
		}
	}
	testutil.Equal(t, "bindings in the end", []string{"security-baseline-developers"}, sets.List(granting))
}

func TestRoleBindings_KeptWhenNewRoleIsForbidden(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "system:node" })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed, func(current *v1alpha1.BaselineReport) error {
		return hasMessage(`may not bind ClusterRole "system:node"`)(&current.Controls[2])
	})
	binding := waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	testutil.Equal(t, "the role", "edit", binding.RoleRef.Name)
}

func TestRoleBindings_ConflictWhenBindingHasFinalizer(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	binding := waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	update(t, binding, func(b *rbacv1.RoleBinding) { b.Finalizers = []string{"example.com/hold"} })
	events := recordEvents(t, namespace.Name, &rbacv1.RoleBindingList{})
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateConflict, func(current *v1alpha1.BaselineReport) error {
		return testutil.CheckEqual("the message", "RoleBinding/security-baseline-developers grants another role, and cannot be replaced while it has the finalizers "+
			"[example.com/hold]; remove them", current.Controls[2].Message)
	})
	names := sets.New[string]()
	for _, event := range events() {
		names.Insert(string(event.Type) + " " + event.Object.(client.Object).GetName())
	}
	// A watch begins with the existing objects.
	testutil.Equal(t, "events", []string{"ADDED marker", "ADDED security-baseline-developers"}, sets.List(names))
	update(t, binding, func(b *rbacv1.RoleBinding) { b.Finalizers = nil })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "the role", "view", waitForObject(t, namespace.Name, binding.Name, &rbacv1.RoleBinding{}).RoleRef.Name)
}

func TestRoleBindings_ConflictWhenStandInIsForeign(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	theirs := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "security-baseline-developers:stand-in"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
	}
	env.Create(t, theirs)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateConflict, func(current *v1alpha1.BaselineReport) error {
		return testutil.CheckEqual("the message", "RoleBinding/security-baseline-developers grants another role, and cannot be replaced while there is "+
			"a RoleBinding security-baseline-developers:stand-in; delete that one", current.Controls[2].Message)
	})
	testutil.Must(t, env.Admin.Delete(t.Context(), theirs))
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "the role", "view", waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}).RoleRef.Name)
}

func TestRoleBindings_ReplacementNotRetriedImmediatelyWhenDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	denyOperatorWrites(t, namespace.Name, admissionregistrationv1.Create)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed)
	// The operator would write the report each time after it asked the API server.
	testutil.Never(t, 5*time.Second, func(ctx context.Context) error {
		later := &v1alpha1.BaselineReport{}
		if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(current), later); err != nil {
			return err
		}
		return testutil.CheckEqual("the report's version", current.ResourceVersion, later.ResourceVersion)
	})
	testutil.Equal(t, "the role", "edit", waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}).RoleRef.Name)
}

// TestManagedObjects_RestoredFromBackupArePruned restores an object with its labels, but with
// another field manager.
func TestManagedObjects_RestoredFromBackupArePruned(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.WaitFor(t, func(ctx context.Context) error {
		existing := &networkingv1.NetworkPolicy{}
		if err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "security-baseline-from-ingress"}, existing); err != nil {
			return err
		}
		testutil.Must(t, client.IgnoreNotFound(env.Admin.Delete(ctx, existing)))
		return env.Admin.Create(ctx, &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: existing.Name, Labels: existing.Labels}, Spec: existing.Spec,
		})
	})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
}

func TestDrift_RecordedWhenRevertIsDeniedAtFirst(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	allow := denyOperatorWrites(t, namespace.Name, admissionregistrationv1.Update)
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed)
	allow()
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, func(current *v1alpha1.BaselineReport) error {
		if len(current.Drifts) != 1 || current.Drifts[0].Manager != "admin" {
			return fmt.Errorf("drifts: got %+v, want one of the manager admin", current.Drifts)
		}
		return nil
	})
	env.WaitForPolicy(t, namespace.Name, "default-deny", isClosed)
}

func TestDrift_RecordedWhenBaselineChangesMeanwhile(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	allow := denyOperatorWrites(t, namespace.Name, admissionregistrationv1.Update)
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed)
	allow()
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, func(current *v1alpha1.BaselineReport) error {
		if len(current.Drifts) != 1 || current.Drifts[0].Object != "NetworkPolicy/security-baseline-default-deny" {
			return fmt.Errorf("drifts: got %+v, want one of default-deny", current.Drifts)
		}
		return nil
	})
}

func TestRoleBindings_RevertedWhenReplacedWithAnotherRole(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	binding := waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	// As kubectl replace --force does, with the labels. The operator may be faster.
	testutil.WaitFor(t, func(ctx context.Context) error {
		testutil.Must(t, client.IgnoreNotFound(env.Admin.Delete(ctx, binding.DeepCopy())))
		forged := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: binding.Name, Labels: binding.Labels},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   binding.Subjects,
		}
		return env.Admin.Create(ctx, forged)
	})
	testutil.WaitFor(t, func(ctx context.Context) error {
		if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(binding), binding); err != nil {
			return err
		}
		if binding.RoleRef.Name != "edit" {
			return fmt.Errorf("role: got %+v, want edit", binding.RoleRef)
		}
		return nil
	})
}
