package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"

	authorizationv1 "k8s.io/api/authorization/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// bindClusterRole binds a ClusterRole to a user in the whole cluster.
func bindClusterRole(t *testing.T, role, name string) {
	t.Helper()
	env.Create(t, &rbacv1.ClusterRoleBinding{
		ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-" + role + "-" + name},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: role}, Subjects: []rbacv1.Subject{userSubject(name)},
	})
}

// TestEditorRole_GainsNoPermissions writes each section of a baseline as a user who has only the
// ClusterRole securitybaseline-editor.
func TestEditorRole_GainsNoPermissions(t *testing.T) {
	t.Parallel()
	bindClusterRole(t, "securitybaseline-editor", "editor")
	editor := env.ClientAs(t, "editor")
	namespace := env.NewNamespace(t, "a", map[string]string{"team": "editor"})
	testutil.WaitFor(t, func(ctx context.Context) error { return editor.List(ctx, &v1alpha1.SecurityBaselineList{}) })
	selector := testutil.Selector(t)
	const mayNot = ", so you cannot apply a baseline that binds it; request permission for the verb bind on this role, or have a user with that permission apply the baseline"

	binding := func(role v1alpha1.RoleRef) v1alpha1.NamedRoleBinding {
		return v1alpha1.NamedRoleBinding{Name: "mine", RoleRef: role, Subjects: []v1alpha1.Subject{{Kind: "User", Name: "editor"}}}
	}
	spec := func(change func(*v1alpha1.SecurityBaselineSpec)) *v1alpha1.SecurityBaseline {
		baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-tried"}, Spec: v1alpha1.SecurityBaselineSpec{NamespaceSelector: selector}}
		change(&baseline.Spec)
		return baseline
	}
	for _, test := range []struct {
		name string
		spec func(*v1alpha1.SecurityBaselineSpec)
		want string
	}{
		{"a ClusterRole", func(s *v1alpha1.SecurityBaselineSpec) {
			s.RBAC = &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{binding(v1alpha1.RoleRef{Kind: "ClusterRole", Name: "admin"})}}
		}, "rbac.roleBindings mine: you do not have permission to bind ClusterRole admin" + mayNot},
		{"a Role", func(s *v1alpha1.SecurityBaselineSpec) {
			s.RBAC = &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{binding(v1alpha1.RoleRef{Kind: "Role", Name: "secrets"})}}
		}, "rbac.roleBindings mine: you do not have permission to bind Role secrets" + mayNot},
		{"by a label", func(s *v1alpha1.SecurityBaselineSpec) {
			named := binding(v1alpha1.RoleRef{Kind: "ClusterRole", Name: "view"})
			named.Subjects = nil
			named.SubjectsFrom = []v1alpha1.SubjectFrom{{Kind: "User", Label: "team"}}
			s.RBAC = &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{named}}
		}, "you do not have permission to bind ClusterRole view"},
		{"in Audit mode", func(s *v1alpha1.SecurityBaselineSpec) {
			s.Mode = v1alpha1.ModeAudit
			s.RBAC = &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{binding(v1alpha1.RoleRef{Kind: "ClusterRole", Name: "admin"})}}
		}, "you do not have permission to bind ClusterRole admin"},
		{"the last of 24", func(s *v1alpha1.SecurityBaselineSpec) {
			s.RBAC = &v1alpha1.RBAC{}
			for i := range 24 {
				named := binding(v1alpha1.RoleRef{Kind: "ClusterRole", Name: "free"})
				named.Name += string(rune('a' + i))
				s.RBAC.RoleBindings = append(s.RBAC.RoleBindings, named)
			}
			s.RBAC.RoleBindings[23].RoleRef.Name = "admin"
		}, "rbac.roleBindings minex: you do not have permission to bind ClusterRole admin"},
	} {
		t.Run(test.name, func(t *testing.T) {
			if test.name == "the last of 24" {
				allowBind(t, "editor", "free")
				testutil.WaitFor(t, func(ctx context.Context) error {
					return dryRunCreate(ctx, editor, spec(func(s *v1alpha1.SecurityBaselineSpec) {
						s.RBAC = &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{binding(v1alpha1.RoleRef{Kind: "ClusterRole", Name: "free"})}}
					}))
				})
			}
			testutil.Must(t, testutil.CheckForbidden(dryRunCreate(t.Context(), editor, spec(test.spec)), test.want))
		})
	}

	t.Run("a baseline of a user who may bind the role", func(t *testing.T) {
		foreign := defaultSpec()
		foreign.NamespaceSelector = selector
		baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t)}, Spec: foreign}
		env.Create(t, baseline)
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		for name, mutate := range map[string]func(*v1alpha1.SecurityBaselineSpec){
			"a subject": func(s *v1alpha1.SecurityBaselineSpec) {
				s.RBAC.RoleBindings[0].Subjects = append(s.RBAC.RoleBindings[0].Subjects, v1alpha1.Subject{Kind: "User", Name: "editor"})
			},
			"a role":       func(s *v1alpha1.SecurityBaselineSpec) { s.RBAC.RoleBindings[0].RoleRef.Name = "admin" },
			"the selector": func(s *v1alpha1.SecurityBaselineSpec) { s.NamespaceSelector = v1alpha1.LabelSelector{} },
			"the priority": func(s *v1alpha1.SecurityBaselineSpec) { s.Priority++ },
		} {
			t.Run(name, func(t *testing.T) {
				waitForForbidden(t, func(ctx context.Context) error {
					if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil {
						return err
					}
					mutate(&baseline.Spec)
					return editor.Update(ctx, baseline)
				}, "you do not have permission to bind ClusterRole ")
			})
		}
		testutil.WaitFor(t, func(ctx context.Context) error {
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil {
				return err
			}
			metav1.SetMetaDataLabel(&baseline.ObjectMeta, "a", "b")
			return editor.Update(ctx, baseline)
		})
		status := baseline.DeepCopy()
		status.Status.Admission = &v1alpha1.AdmissionStatus{Operator: "editor"}
		testutil.Must(t, testutil.CheckForbidden(editor.Status().Update(t.Context(), status), "cannot update resource"))
	})

	all := everyKindSpec()
	all.Images = &v1alpha1.Images{AllowedRegistries: []string{"evil.io"}, Action: v1alpha1.ActionAudit}
	all.Workloads = &v1alpha1.Workloads{RequireLimits: true}
	all.Guard = &v1alpha1.Guard{Exempt: []v1alpha1.Subject{{Kind: "User", Name: "editor"}}, Action: v1alpha1.ActionAudit}
	before := permissionsOf(t, editor, namespace.Name)
	for name, section := range map[string]v1alpha1.SecurityBaselineSpec{
		"podSecurity":     {PodSecurity: &v1alpha1.PodSecurity{Enforce: "privileged"}},
		"network":         {Network: &v1alpha1.Network{DefaultDeny: all.Network.DefaultDeny, Policies: []v1alpha1.NamedNetworkPolicy{{Name: "open", Spec: v1alpha1.NetworkPolicySpec{Ingress: []v1alpha1.NetworkPolicyIngressRule{{}}}}}}},
		"serviceAccounts": {ServiceAccounts: all.ServiceAccounts},
		"resources":       {Resources: all.Resources},
		"images":          {Images: all.Images},
		"workloads":       {Workloads: all.Workloads},
		"guard":           {Guard: all.Guard},
		"rbac.clusterAdmin": {RBAC: &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{
			AllowedSubjects: []v1alpha1.Subject{{Kind: "User", Name: "editor"}}, Action: v1alpha1.ActionAudit,
		}}},
		"exceptions": {PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted"}, Exceptions: []v1alpha1.Exception{{
			Name: "mine", Namespaces: []string{namespace.Name}, Controls: []v1alpha1.ControlName{"PodSecurity", "Guard", "RBAC"}, Reason: "because I say so",
		}}},
	} {
		t.Run("the section "+name, func(t *testing.T) {
			section.NamespaceSelector = selector
			section.Priority = 10
			baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t)}, Spec: section}
			testutil.Must(t, editor.Create(t.Context(), baseline))
			t.Cleanup(func() { env.Delete(t, baseline) })
			env.WaitForReady(t, baseline)
			testutil.Equal(t, "the permissions of the user", permissionsOf(t, editor, namespace.Name), before)
			for kind, object := range podsAndWorkloads(namespace.Name, baselinePod()) {
				if err := testutil.CheckForbidden(dryRunCreate(t.Context(), editor, object), "cannot create resource"); err != nil {
					t.Errorf("%s: %v", kind, err)
				}
			}
			for _, binding := range bindingsTo(namespace.Name, "mine", "cluster-admin", userSubject("editor")) {
				testutil.Must(t, testutil.CheckForbidden(dryRunCreate(t.Context(), editor, binding), "cannot create resource"))
			}
			testutil.Must(t, testutil.CheckForbidden(editor.Update(t.Context(), namespace, client.DryRunAll), "cannot update resource"))
		})
	}
}

// permissionsOf returns the permissions of a user in a namespace and in kube-system.
func permissionsOf(t *testing.T, user client.Client, namespace string) string {
	t.Helper()
	var rules []string
	for _, name := range []string{namespace, metav1.NamespaceSystem} {
		review := &authorizationv1.SelfSubjectRulesReview{Spec: authorizationv1.SelfSubjectRulesReviewSpec{Namespace: name}}
		testutil.Must(t, user.Create(t.Context(), review))
		for _, rule := range review.Status.ResourceRules {
			rules = append(rules, fmt.Sprint(name, rule))
		}
	}
	slices.Sort(rules)
	return strings.Join(rules, "\n")
}

// allowBind allows a user to bind a ClusterRole.
func allowBind(t *testing.T, name, role string) {
	t.Helper()
	env.Create(t, &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-" + role}, Rules: []rbacv1.PolicyRule{
		{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"}, ResourceNames: []string{role}, Verbs: []string{"bind"}},
	}})
	bindClusterRole(t, testutil.Name(t)+"-"+role, name)
}
