package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// bindingsTo returns bindings of both kinds to a ClusterRole.
func bindingsTo(namespace, name, role string, subjects ...rbacv1.Subject) map[string]client.Object {
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	return map[string]client.Object{
		"ClusterRoleBinding": &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref, Subjects: subjects},
		"RoleBinding":        &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: ref, Subjects: subjects},
	}
}

func userSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}
}

func groupSubject(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: name}
}

// TestClusterAdmin_RestrictedToAllowedSubjects governs the whole cluster, so it is not parallel.
func TestClusterAdmin_RestrictedToAllowedSubjects(t *testing.T) {
	test := testutil.Name(t)
	namespace := env.NewNamespace(t, "a", nil)
	excepted := env.NewNamespace(t, "excepted", nil)
	powerful := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: test + "-powerful"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
	}}
	env.Create(t, powerful)
	// The verb escalate grants the verbs that the role does not have.
	almost := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: test + "-almost"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "create", "update", "delete", "escalate"}},
	}}
	env.Create(t, almost)
	local := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "powerful"}, Rules: powerful.Rules}
	env.Create(t, local)
	before := bindingsTo(namespace.Name, test+"-before", "cluster-admin", userSubject("jane"), groupSubject("ops"))
	for _, binding := range before {
		env.Create(t, binding)
	}
	risky := bindingsTo(namespace.Name, test+"-risky", "system:controller:clusterrole-aggregation-controller", userSubject("joe"))["ClusterRoleBinding"]
	env.Create(t, risky)

	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Priority: 1000, Contact: "#platform", RBAC: &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{
		AllowedSubjects: []v1alpha1.Subject{{Kind: "User", Name: "root"}, {Kind: "Group", Name: "ops"}, {Kind: "ServiceAccount", Namespace: "flux", Name: "sync"}},
	}}, Exceptions: []v1alpha1.Exception{{
		Name: "lab", Namespaces: []string{excepted.Name}, Controls: []v1alpha1.ControlName{"RBAC"}, Reason: "a lab where all is allowed",
	}}})
	env.WaitForReady(t, baseline)
	probe := func(name, role string, subjects ...rbacv1.Subject) func(context.Context) error {
		return func(ctx context.Context) error {
			return dryRunCreate(ctx, env.Admin, bindingsTo(namespace.Name, test+"-"+name, role, subjects...)["ClusterRoleBinding"])
		}
	}
	waitForForbidden(t, probe("a", "cluster-admin", userSubject("mallory")), "ClusterRole cluster-admin grants all permissions, and User mallory is not among those who may be bound to it; "+
		"bind a narrower role, or add the subject to allowedSubjects: rule rbac.clusterAdmin of SecurityBaseline "+baseline.Name+"; contact #platform")
	waitForForbidden(t, probe("a", powerful.Name, userSubject("mallory")), "ClusterRole "+powerful.Name+" grants all permissions")
	waitForForbidden(t, probe("a", almost.Name, userSubject("mallory")), "ClusterRole "+almost.Name+" grants all permissions")

	account := func(namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
	}
	for _, c := range []struct {
		subject rbacv1.Subject
		allowed bool
	}{
		{userSubject("root"), true}, {groupSubject("ops"), true}, {account("flux", "sync"), true},
		{groupSubject("system:masters"), true}, {userSubject("system:kube-controller-manager"), true}, {userSubject("system:kube-scheduler"), true},
		{userSubject("system:eve"), false}, {userSubject("system:node:n1"), false}, {groupSubject("system:nodes"), false},
		{userSubject("ops"), false}, {groupSubject("root"), false}, {account("flux", "other"), false}, {account("other", "sync"), false},
		{groupSubject("system:authenticated"), false}, {groupSubject("system:serviceaccounts"), false}, {userSubject("system:anonymous"), false},
		{userSubject("system:serviceaccount:other:sync"), false}, {groupSubject("oidc:ops"), false},
	} {
		for kind, binding := range bindingsTo(namespace.Name, test+"-tried", "cluster-admin", userSubject("root"), c.subject) {
			t.Run(fmt.Sprintf("%s for %s %s/%s", kind, c.subject.Kind, c.subject.Namespace, c.subject.Name), func(t *testing.T) {
				err := dryRunCreate(t.Context(), env.Admin, binding)
				if !c.allowed {
					err = testutil.CheckForbidden(err, "ClusterRole cluster-admin grants all permissions, and "+c.subject.Kind+" ", c.subject.Name+" is not among")
				}
				testutil.Must(t, err)
			})
		}
	}
	t.Run("a Role with all verbs on all resources", func(t *testing.T) {
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "tried"},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: local.Name}, Subjects: []rbacv1.Subject{userSubject("mallory")}}
		waitForForbidden(t, func(ctx context.Context) error { return dryRunCreate(ctx, env.Admin, binding) }, "Role powerful grants all permissions, and User mallory")
	})
	t.Run("a role with fewer permissions", func(t *testing.T) {
		for _, binding := range bindingsTo(namespace.Name, test+"-tried", "edit", userSubject("mallory")) {
			testutil.Must(t, dryRunCreate(t.Context(), env.Admin, binding))
		}
	})
	t.Run("an excepted namespace", func(t *testing.T) {
		testutil.Must(t, dryRunCreate(t.Context(), env.Admin, bindingsTo(excepted.Name, "tried", "cluster-admin", userSubject("mallory"))["RoleBinding"]))
	})
	t.Run("existing subjects stay and new ones are denied", func(t *testing.T) {
		binding := before["RoleBinding"].(*rbacv1.RoleBinding)
		metav1.SetMetaDataLabel(&binding.ObjectMeta, "a", "b")
		testutil.Must(t, env.Admin.Update(t.Context(), binding))
		joined := binding.DeepCopy()
		joined.Subjects = append(joined.Subjects, userSubject("mallory"))
		testutil.Must(t, testutil.CheckForbidden(env.Admin.Update(t.Context(), joined), "User mallory is not among"))
	})
	t.Run("each existing binding is a violation", func(t *testing.T) {
		env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			for _, where := range []string{"", namespace.Name} {
				kind := "ClusterRoleBinding"
				if where != "" {
					kind = "RoleBinding"
				}
				want := v1alpha1.Violation{Namespace: where, Control: "RBAC", State: "Violating", Message: kind + "/" + test + "-before grants all permissions through ClusterRole cluster-admin " +
					"to User jane; delete it, bind a narrower role, or add the subjects to rbac.clusterAdmin.allowedSubjects"}
				found := false
				for _, violation := range status.Violations {
					found = found || violation == want
				}
				if !found {
					return fmt.Errorf("violations: got %+v, want %+v among them", status.Violations, want)
				}
			}
			return testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonViolationsFound)(status)
		})
		for _, violation := range baseline.Status.Violations {
			if strings.Contains(violation.Message, "ClusterRoleBinding/cluster-admin ") {
				t.Errorf("violations: got %q, want none of the binding that Kubernetes creates", violation.Message)
			}
		}
	})
	t.Run("the metrics count violations", func(t *testing.T) {
		testutil.WaitFor(t, func(ctx context.Context) error {
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil {
				return err
			}
			families, err := scrapeMetrics(ctx)
			if err != nil {
				return err
			}
			counted := findMetric(families, "securitybaseline_violations", map[string]string{"baseline": baseline.Name}).GetGauge().GetValue()
			if want := baseline.Status.ViolationsTotal; want < 2 || counted != float64(want) {
				return fmt.Errorf("counted violations: got %v, want %d as in the status", counted, want)
			}
			bindings := findMetric(families, "securitybaseline_cluster_admin_bindings", map[string]string{"baseline": baseline.Name}).GetGauge().GetValue()
			if status := baseline.Status.ClusterAdmin; status == nil || status.State != v1alpha1.StateViolating || status.ViolatingBindingsTotal < 2 || bindings != float64(status.ViolatingBindingsTotal) {
				return fmt.Errorf("counted bindings: got %v, want those of the status: %+v", bindings, status)
			}
			return nil
		})
	})
	t.Run("a ClusterRoleBinding to an escalating role is a finding", func(t *testing.T) {
		env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			for _, finding := range status.Findings {
				if strings.HasPrefix(finding, "ClusterRoleBinding/"+test+"-risky is not managed by the operator and grants escalate to User joe through ClusterRole ") {
					return nil
				}
			}
			return fmt.Errorf("findings: got %q, want one about ClusterRoleBinding/%s-risky", status.Findings, test)
		})
	})
	t.Run("a RoleBinding to an escalating role is a finding", func(t *testing.T) {
		env.Create(t, bindingsTo(namespace.Name, "risky", "system:controller:clusterrole-aggregation-controller", userSubject("joe"))["RoleBinding"])
		want := "namespace " + namespace.Name + ": RoleBinding/risky is not managed by the operator and grants escalate to User joe through ClusterRole "
		env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			if !slices.ContainsFunc(status.Findings, func(finding string) bool { return strings.HasPrefix(finding, want) }) {
				return fmt.Errorf("findings: got %q, want one with %q", status.Findings, want)
			}
			return nil
		})
	})
	t.Run("bindings of allowed subjects are no violations", func(t *testing.T) {
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.RBAC.ClusterAdmin.AllowedSubjects = append(b.Spec.RBAC.ClusterAdmin.AllowedSubjects, v1alpha1.Subject{Kind: "User", Name: "jane"})
		})
		env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			for _, violation := range status.Violations {
				if strings.Contains(violation.Message, "jane") {
					return fmt.Errorf("violations: got %q, want none of jane", violation.Message)
				}
			}
			return nil
		})
	})
	t.Run("a baseline of higher precedence governs it", func(t *testing.T) {
		first := env.NewBaseline(t, "first", v1alpha1.SecurityBaselineSpec{Priority: 2000, RBAC: &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{Action: v1alpha1.ActionWarn}}})
		env.WaitForReady(t, first)
		testutil.WaitFor(t, probe("warned", "cluster-admin", userSubject("mallory")))
		env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			if want := "rbac.clusterAdmin is governed by baseline " + first.Name + ", which has higher precedence"; !strings.Contains(strings.Join(status.Findings, "\n"), want) {
				return fmt.Errorf("findings: got %q, want one with %q", status.Findings, want)
			}
			return nil
		})
	})
}
