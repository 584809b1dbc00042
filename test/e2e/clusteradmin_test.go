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
)

// granting returns bindings of both kinds that grant a ClusterRole.
func granting(namespace, name, role string, subjects ...rbacv1.Subject) map[string]client.Object {
	ref := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}
	return map[string]client.Object{
		"ClusterRoleBinding": &rbacv1.ClusterRoleBinding{ObjectMeta: metav1.ObjectMeta{Name: name}, RoleRef: ref, Subjects: subjects},
		"RoleBinding":        &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: name}, RoleRef: ref, Subjects: subjects},
	}
}

func user(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: name}
}

func group(name string) rbacv1.Subject {
	return rbacv1.Subject{Kind: "Group", APIGroup: rbacv1.GroupName, Name: name}
}

// It governs the whole cluster, so it runs alone.
func TestClusterAdmin(t *testing.T) {
	test := suffix(t)
	namespace := newNamespace(t, "a", nil)
	excepted := newNamespace(t, "excepted", nil)
	powerful := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: test + "-powerful"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"*"}},
	}}
	create(t, powerful)
	// By escalate one obtains the verbs that it leaves out.
	almost := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: test + "-almost"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{"*"}, Resources: []string{"*"}, Verbs: []string{"get", "list", "create", "update", "delete", "escalate"}},
	}}
	create(t, almost)
	local := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "powerful"}, Rules: powerful.Rules}
	create(t, local)
	before := granting(namespace.Name, test+"-before", "cluster-admin", user("jane"), group("ops"))
	for _, binding := range before {
		create(t, binding)
	}
	risky := granting(namespace.Name, test+"-risky", "system:controller:clusterrole-aggregation-controller", user("joe"))["ClusterRoleBinding"]
	create(t, risky)

	baseline := newBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Priority: 1000, Contact: "#platform", RBAC: &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{
		AllowedSubjects: []v1alpha1.Subject{{Kind: "User", Name: "root"}, {Kind: "Group", Name: "ops"}, {Kind: "ServiceAccount", Namespace: "flux", Name: "sync"}},
	}}, Exceptions: []v1alpha1.Exception{{
		Name: "lab", Namespaces: []string{excepted.Name}, Controls: []v1alpha1.ControlName{"RBAC"}, Reason: "a lab where all is allowed",
	}}})
	inPlace(t, baseline)
	probe := func(name, role string, subjects ...rbacv1.Subject) func(context.Context) error {
		return func(ctx context.Context) error {
			return tried(ctx, admin, granting(namespace.Name, test+"-"+name, role, subjects...)["ClusterRoleBinding"])
		}
	}
	heeded(t, probe("a", "cluster-admin", user("mallory")), "ClusterRole cluster-admin may do everything, and User mallory is not among those who may be bound to it; "+
		"bind a narrower role, or add them to allowedSubjects: rule rbac.clusterAdmin of SecurityBaseline "+baseline.Name+"; ask #platform")
	heeded(t, probe("a", powerful.Name, user("mallory")), "ClusterRole "+powerful.Name+" may do everything")
	heeded(t, probe("a", almost.Name, user("mallory")), "ClusterRole "+almost.Name+" may do everything")

	account := func(namespace, name string) rbacv1.Subject {
		return rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace, Name: name}
	}
	for _, c := range []struct {
		subject rbacv1.Subject
		allowed bool
	}{
		{user("root"), true}, {group("ops"), true}, {account("flux", "sync"), true},
		{group("system:masters"), true}, {user("system:kube-controller-manager"), true}, {user("system:kube-scheduler"), true},
		{user("system:eve"), false}, {user("system:node:n1"), false}, {group("system:nodes"), false},
		{user("ops"), false}, {group("root"), false}, {account("flux", "other"), false}, {account("other", "sync"), false},
		{group("system:authenticated"), false}, {group("system:serviceaccounts"), false}, {user("system:anonymous"), false},
		{user("system:serviceaccount:other:sync"), false}, {group("oidc:ops"), false},
	} {
		for kind, binding := range granting(namespace.Name, test+"-tried", "cluster-admin", user("root"), c.subject) {
			t.Run(fmt.Sprintf("%s for %s %s/%s", kind, c.subject.Kind, c.subject.Namespace, c.subject.Name), func(t *testing.T) {
				err := tried(t.Context(), admin, binding)
				if !c.allowed {
					err = refusedWith(err, "ClusterRole cluster-admin may do everything, and "+c.subject.Kind+" ", c.subject.Name+" is not among")
				}
				must(t, err)
			})
		}
	}
	t.Run("a Role with all verbs on all resources", func(t *testing.T) {
		binding := &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "tried"},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: local.Name}, Subjects: []rbacv1.Subject{user("mallory")}}
		heeded(t, func(ctx context.Context) error { return tried(ctx, admin, binding) }, "Role powerful may do everything, and User mallory")
	})
	t.Run("another role", func(t *testing.T) {
		for _, binding := range granting(namespace.Name, test+"-tried", "edit", user("mallory")) {
			must(t, tried(t.Context(), admin, binding))
		}
	})
	t.Run("in a namespace that is excepted", func(t *testing.T) {
		must(t, tried(t.Context(), admin, granting(excepted.Name, "tried", "cluster-admin", user("mallory"))["RoleBinding"]))
	})
	t.Run("who was bound before may stay, and nobody joins them", func(t *testing.T) {
		binding := before["RoleBinding"].(*rbacv1.RoleBinding)
		metav1.SetMetaDataLabel(&binding.ObjectMeta, "a", "b")
		must(t, admin.Update(t.Context(), binding))
		joined := binding.DeepCopy()
		joined.Subjects = append(joined.Subjects, user("mallory"))
		must(t, refusedWith(admin.Update(t.Context(), joined), "User mallory is not among"))
	})
	t.Run("and is a violation, for each binding", func(t *testing.T) {
		ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			for _, where := range []string{"", namespace.Name} {
				kind := "ClusterRoleBinding"
				if where != "" {
					kind = "RoleBinding"
				}
				want := v1alpha1.Violation{Namespace: where, Control: "RBAC", State: "Violating", Message: kind + "/" + test + "-before grants everything, by ClusterRole cluster-admin, " +
					"to User jane; delete it or bind a narrower role, or add them to rbac.clusterAdmin.allowedSubjects"}
				found := false
				for _, violation := range status.Violations {
					found = found || violation == want
				}
				if !found {
					return fmt.Errorf("%+v is not in %+v", want, status.Violations)
				}
			}
			return hasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonViolationsFound)(status)
		})
		for _, violation := range baseline.Status.Violations {
			if strings.Contains(violation.Message, "ClusterRoleBinding/cluster-admin ") {
				t.Errorf("Kubernetes' own binding is reported: %s", violation.Message)
			}
		}
	})
	t.Run("which is counted", func(t *testing.T) {
		eventually(t, func(ctx context.Context) error {
			if err := admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil {
				return err
			}
			families, err := scrape(ctx)
			if err != nil {
				return err
			}
			counted := sample(families, "securitybaseline_violations", map[string]string{"baseline": baseline.Name}).GetGauge().GetValue()
			if want := baseline.Status.ViolationsTotal; want < 2 || counted != float64(want) {
				return fmt.Errorf("%v counted, %d in the status", counted, want)
			}
			bindings := sample(families, "securitybaseline_cluster_admin_bindings", map[string]string{"baseline": baseline.Name}).GetGauge().GetValue()
			if status := baseline.Status.ClusterAdmin; status == nil || status.State != v1alpha1.StateViolating || status.ViolatingBindingsTotal < 2 || bindings != float64(status.ViolatingBindingsTotal) {
				return fmt.Errorf("%v bindings counted, the status is %+v", bindings, status)
			}
			return nil
		})
	})
	t.Run("other roles by which one obtains more are findings", func(t *testing.T) {
		ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			for _, finding := range status.Findings {
				if strings.HasPrefix(finding, "ClusterRoleBinding/"+test+"-risky, which the operator did not make, grants escalate to User joe by ClusterRole ") {
					return nil
				}
			}
			return fmt.Errorf("findings %q", status.Findings)
		})
	})
	t.Run("RoleBindings too, where no report speaks of them", func(t *testing.T) {
		create(t, granting(namespace.Name, "risky", "system:controller:clusterrole-aggregation-controller", user("joe"))["RoleBinding"])
		want := "namespace " + namespace.Name + ": RoleBinding/risky, which the operator did not make, grants escalate to User joe by ClusterRole "
		ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			if !slices.ContainsFunc(status.Findings, func(finding string) bool { return strings.HasPrefix(finding, want) }) {
				return fmt.Errorf("findings %q", status.Findings)
			}
			return nil
		})
	})
	t.Run("allowed, they are none", func(t *testing.T) {
		change(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.RBAC.ClusterAdmin.AllowedSubjects = append(b.Spec.RBAC.ClusterAdmin.AllowedSubjects, v1alpha1.Subject{Kind: "User", Name: "jane"})
		})
		ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			for _, violation := range status.Violations {
				if strings.Contains(violation.Message, "jane") {
					return fmt.Errorf("still %s", violation.Message)
				}
			}
			return nil
		})
	})
	t.Run("another baseline with precedence governs it", func(t *testing.T) {
		first := newBaseline(t, "first", v1alpha1.SecurityBaselineSpec{Priority: 2000, RBAC: &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{Action: v1alpha1.ActionWarn}}})
		inPlace(t, first)
		eventually(t, probe("warned", "cluster-admin", user("mallory")))
		ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
			if want := "rbac.clusterAdmin is governed by baseline " + first.Name + ", which has precedence"; !strings.Contains(strings.Join(status.Findings, "\n"), want) {
				return fmt.Errorf("findings %q", status.Findings)
			}
			return nil
		})
	})
}

func TestRoleBindingsOfOthersByWhichSomebodyObtainsMoreAreFindings(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	role := &rbacv1.Role{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "binder"}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"roles"}, Verbs: []string{"bind", "escalate"}},
	}}
	must(t, admin.Create(t.Context(), role))
	for _, name := range []string{"binder", "machines"} {
		subject := user("jane")
		if name == "machines" {
			subject = rbacv1.Subject{Kind: "ServiceAccount", Namespace: namespace.Name, Name: "ci"}
		}
		must(t, admin.Create(t.Context(), &rbacv1.RoleBinding{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: name},
			RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: "binder"}, Subjects: []rbacv1.Subject{subject}}))
	}
	must(t, admin.Create(t.Context(), granting(namespace.Name, "editors", "edit", user("joe"))["RoleBinding"]))
	baseline := newBaseline(t, "b", everything())
	want := []string{"RoleBinding/binder, which the operator did not make, grants bind and escalate to User jane by Role binder; see whether they need it"}
	found := entry(t, namespace.Name, baseline, v1alpha1.ControlRBAC, inState(v1alpha1.StateCompliant))
	equal(t, "findings", want, found.Findings)

	change(t, role, func(r *rbacv1.Role) { r.Rules[0].Verbs = []string{"get"} })
	entry(t, namespace.Name, baseline, v1alpha1.ControlRBAC, func(control *v1alpha1.ControlReport) error {
		if len(control.Findings) > 0 {
			return fmt.Errorf("findings %q", control.Findings)
		}
		return nil
	})
}
