package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

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
		testutil.Equal(t, "the role", waitForObject(t, namespace.Name, "security-baseline-"+role, &rbacv1.RoleBinding{}).RoleRef.Name, role)
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
			testutil.CheckEqual("the message", current.Controls[2].Message, sentence+"\n"+missing),
			testutil.CheckEqual("the state of Network", testutil.StateOf(current, v1alpha1.ControlNetwork), v1alpha1.StateCompliant))
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
	testutil.Equal(t, "the role", binding.RoleRef.Name, "view")

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
	testutil.Equal(t, "bindings in the end", sets.List(granting), []string{"security-baseline-developers"})
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
	testutil.Equal(t, "the role", binding.RoleRef.Name, "edit")
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
		return testutil.CheckEqual("the message", current.Controls[2].Message, "RoleBinding/security-baseline-developers grants another role and cannot be replaced while it has the finalizers "+
			"[example.com/hold]; remove them")
	})
	names := sets.New[string]()
	for _, event := range events() {
		names.Insert(string(event.Type) + " " + event.Object.(client.Object).GetName())
	}
	// A watch begins with the existing objects.
	testutil.Equal(t, "events", sets.List(names), []string{"ADDED marker", "ADDED security-baseline-developers"})
	update(t, binding, func(b *rbacv1.RoleBinding) { b.Finalizers = nil })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "the role", waitForObject(t, namespace.Name, binding.Name, &rbacv1.RoleBinding{}).RoleRef.Name, "view")
}

func TestRoleBindings_ConflictWhenStandInIsForeign(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	foreign := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "security-baseline-developers:stand-in"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
	}
	env.Create(t, foreign)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateConflict, func(current *v1alpha1.BaselineReport) error {
		return testutil.CheckEqual("the message", current.Controls[2].Message, "RoleBinding/security-baseline-developers grants another role and cannot be replaced while "+
			"the RoleBinding security-baseline-developers:stand-in exists; delete that one")
	})
	testutil.Must(t, env.Admin.Delete(t.Context(), foreign))
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "the role", waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}).RoleRef.Name, "view")
}

func TestRoleBindings_ReplacementNotRetriedImmediatelyWhenDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	denyOperatorWritesAndWait(t, namespace.Name, admissionregistrationv1.Create, "rolebindings")
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateFailed)
	// The operator would write the report each time after it asked the API server.
	testutil.Never(t, 5*time.Second, func(ctx context.Context) error {
		later := &v1alpha1.BaselineReport{}
		if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(current), later); err != nil {
			return err
		}
		return testutil.CheckEqual("the report's version", later.ResourceVersion, current.ResourceVersion)
	})
	testutil.Equal(t, "the role", waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}).RoleRef.Name, "edit")
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

func TestRoleBindings_EscalatingForeignBindingsAreFindings(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "binder"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, Verbs: []string{"bind", "escalate"}},
	}}
	testutil.Must(t, env.Admin.Create(t.Context(), role))
	for _, name := range []string{"binder", "machines"} {
		subject := userSubject("jane")
		if name == "machines" {
			subject = rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace.Name, Name: "ci"}
		}
		testutil.Must(t, env.Admin.Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: name},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "binder"}, Subjects: []rbacv1.Subject{subject}}))
	}
	testutil.Must(t, env.Admin.Create(t.Context(), bindingsTo(namespace.Name, "editors", "edit", userSubject("joe"))["RoleBinding"]))
	baseline := env.NewBaseline(t, "b", defaultSpec())
	want := []string{"RoleBinding/binder is not managed by the operator and grants bind and escalate to User jane through Role binder; check whether they need it"}
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlRBAC, testutil.InState(v1alpha1.StateCompliant), func(control *v1alpha1.ControlReport) error {
		return testutil.CheckEqual("findings", control.Findings, want)
	})

	update(t, role, func(r *rbacv1.Role) { r.Rules[0].Verbs = []string{"get"} })
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlRBAC, func(control *v1alpha1.ControlReport) error {
		if len(control.Findings) > 0 {
			return fmt.Errorf("findings: got %q, want none", control.Findings)
		}
		return nil
	})
}
