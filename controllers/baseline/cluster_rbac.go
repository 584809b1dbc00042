package baseline

import (
	"context"
	"fmt"
	"slices"
	"time"

	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/precedence"
	"github.com/securitybaseline/operator/controllers/report"
)

// maxPrivilegedRoles is how many roles with all verbs on all resources status.admission lists.
const maxPrivilegedRoles = 200

// checkClusterRBAC finds bindings in the whole cluster that grant all permissions, or that allow
// privilege escalation.
func (r *Reconciler) checkClusterRBAC(
	ctx context.Context, baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, selected []string, findings *report.ClusterFindings, now time.Time,
) error {
	if baseline.Spec.RBAC == nil {
		return nil
	}
	bindings, rules, err := r.readBindings(ctx)
	if err != nil {
		return err
	}
	// In a namespace that an exception takes out of RBAC, no binding is checked.
	bindings = slices.DeleteFunc(bindings, func(b binding) bool {
		return precedence.ActiveException(baseline, b.namespace, v1alpha1.ControlRBAC, now) != nil
	})
	if shouldCheckClusterAdmin(baseline, baselines, findings) {
		recordPrivilegedRoles(rules, findings)
		bindings = checkClusterAdmin(bindings, rules, baseline.Spec.RBAC.ClusterAdmin, findings)
	}
	selectedSet := sets.New(selected...)
	for i := range bindings {
		b := &bindings[i]
		prefix := ""
		if b.namespace != "" {
			// If the baseline has roleBindings, the report of the namespace has the finding.
			if len(baseline.Spec.RBAC.RoleBindings) > 0 || !selectedSet.Has(b.namespace) || b.isDeclaredBy(baselines) {
				continue
			}
			prefix = "namespace " + b.namespace + ": "
		}
		if finding := controls.EscalationFinding(b.id, b.roleRef, b.subjects, rules[b.role], b.namespace != ""); finding != "" {
			findings.Findings = append(findings.Findings, prefix+finding)
		}
	}
	slices.Sort(findings.Findings)
	return nil
}

// shouldCheckClusterAdmin reports whether a baseline governs rbac.clusterAdmin, or audits it. A
// finding names the governing baseline if it is another one.
func shouldCheckClusterAdmin(baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, findings *report.ClusterFindings) bool {
	if baseline.Spec.RBAC.ClusterAdmin == nil {
		return false
	}
	governing := precedence.ClusterAdminBaseline(baselines)
	if baseline.Spec.IsAudit() || governing != nil && governing.Name == baseline.Name {
		return true
	}
	if governing != nil {
		findings.Findings = append(findings.Findings, fmt.Sprintf("rbac.clusterAdmin is governed by baseline %s, which has higher precedence", governing.Name))
	}
	return false
}

// checkClusterAdmin sets status.clusterAdmin and adds its violations. It returns the bindings that
// do not grant all permissions.
func checkClusterAdmin(bindings []binding, rules map[string][]rbacv1.PolicyRule, allowed *v1alpha1.ClusterAdmin, findings *report.ClusterFindings) []binding {
	grantsAll := func(b binding) bool { return controls.HasAllPermissions(rules[b.role]) }
	granting := slices.DeleteFunc(slices.Clone(bindings), func(b binding) bool { return !grantsAll(b) })
	violations := clusterAdminViolations(granting, allowed)
	findings.Violations = append(findings.Violations, violations...)
	findings.ClusterAdmin = &v1alpha1.ClusterAdminStatus{State: v1alpha1.StateCompliant, ViolatingBindingsTotal: int32(len(violations))}
	if len(violations) > 0 {
		findings.ClusterAdmin.State = v1alpha1.StateViolating
	}
	return slices.DeleteFunc(bindings, grantsAll)
}

// clusterAdminViolations returns a violation for each binding that grants all permissions to a
// subject that is not allowed to have them.
func clusterAdminViolations(bindings []binding, allowed *v1alpha1.ClusterAdmin) []v1alpha1.Violation {
	var violations []v1alpha1.Violation
	for i := range bindings {
		b := &bindings[i]
		if message := controls.ClusterAdminViolation(b.id, b.roleRef, b.subjects, allowed); message != "" {
			violations = append(violations, v1alpha1.Violation{
				Namespace: b.namespace, Control: v1alpha1.ControlRBAC, State: v1alpha1.StateViolating, Message: message,
			})
		}
	}
	return violations
}

// recordPrivilegedRoles lists in status.admission the roles that grant all permissions.
func recordPrivilegedRoles(rules map[string][]rbacv1.PolicyRule, findings *report.ClusterFindings) {
	var privileged []string
	for role, granted := range rules {
		if controls.HasAllPermissions(granted) {
			privileged = append(privileged, role)
		}
	}
	slices.Sort(privileged)
	findings.Admission.PrivilegedRoles = privileged[:min(len(privileged), maxPrivilegedRoles)]
	if omitted := len(privileged) - maxPrivilegedRoles; omitted > 0 {
		findings.Findings = append(findings.Findings, fmt.Sprintf(
			"too many roles with all verbs on all resources: admission does not know %d of them, so new bindings to these are reported, not denied", omitted))
	}
}

// binding is a RoleBinding or a ClusterRoleBinding.
type binding struct {
	// id is Kind/name.
	id string
	// namespace is empty for a ClusterRoleBinding.
	namespace string
	roleRef   rbacv1.RoleRef
	subjects  []rbacv1.Subject
	// role is the name of a ClusterRole, or namespace/name of a Role.
	role string
	// baselineLabel is the baseline that the binding's label names.
	baselineLabel string
}

// isDeclaredBy reports whether a baseline declares the binding. The label alone is no proof, since
// any client can set it.
func (b *binding) isDeclaredBy(baselines []v1alpha1.SecurityBaseline) bool {
	return slices.ContainsFunc(baselines, func(baseline v1alpha1.SecurityBaseline) bool {
		return baseline.Name == b.baselineLabel && baseline.Spec.RBAC != nil &&
			slices.ContainsFunc(baseline.Spec.RBAC.RoleBindings, func(declared v1alpha1.NamedRoleBinding) bool {
				return b.id == "RoleBinding/"+v1alpha1.ObjectNamePrefix+declared.Name
			})
	})
}

// readBindings returns every binding in the cluster, and the rules of every role by binding.role.
func (r *Reconciler) readBindings(ctx context.Context) ([]binding, map[string][]rbacv1.PolicyRule, error) {
	var clusterRoles rbacv1.ClusterRoleList
	var roles rbacv1.RoleList
	var clusterRoleBindings rbacv1.ClusterRoleBindingList
	var roleBindings rbacv1.RoleBindingList
	for _, list := range []client.ObjectList{&clusterRoles, &roles, &clusterRoleBindings, &roleBindings} {
		if err := r.Client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
			return nil, nil, fmt.Errorf("listing roles and bindings: %w", err)
		}
	}
	rules := map[string][]rbacv1.PolicyRule{}
	for i := range clusterRoles.Items {
		rules[clusterRoles.Items[i].Name] = clusterRoles.Items[i].Rules
	}
	for i := range roles.Items {
		rules[roles.Items[i].Namespace+"/"+roles.Items[i].Name] = roles.Items[i].Rules
	}
	bindings := make([]binding, 0, len(clusterRoleBindings.Items)+len(roleBindings.Items))
	for i := range clusterRoleBindings.Items {
		item := &clusterRoleBindings.Items[i]
		bindings = append(bindings, binding{id: "ClusterRoleBinding/" + item.Name, roleRef: item.RoleRef, subjects: item.Subjects, role: item.RoleRef.Name})
	}
	for i := range roleBindings.Items {
		item := &roleBindings.Items[i]
		role := item.RoleRef.Name
		if item.RoleRef.Kind == "Role" {
			role = item.Namespace + "/" + role
		}
		bindings = append(bindings, binding{
			id: "RoleBinding/" + item.Name, namespace: item.Namespace, roleRef: item.RoleRef, subjects: item.Subjects, role: role,
			baselineLabel: item.Labels[v1alpha1.BaselineLabel],
		})
	}
	return bindings, rules, nil
}
