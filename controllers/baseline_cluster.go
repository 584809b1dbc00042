package controllers

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/policies"
	"github.com/securitybaseline/operator/controllers/precedence"
	"github.com/securitybaseline/operator/controllers/report"
)

// maxPowerfulRoles is how many roles with all verbs on all resources admission
// knows of.
const maxPowerfulRoles = 200

// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles;clusterrolebindings;roles,verbs=list;watch

// cluster finds out what a baseline's status says of the cluster as a whole.
// selected are the namespaces that the baseline selects.
func (r *baselineReconciler) cluster(ctx context.Context, baseline *v1alpha1.SecurityBaseline, selected []string, now time.Time) (report.ClusterFindings, error) {
	var cluster report.ClusterFindings
	var baselines v1alpha1.SecurityBaselineList
	if err := r.client.List(ctx, &baselines, client.UnsafeDisableDeepCopy); err != nil {
		return cluster, fmt.Errorf("listing SecurityBaselines: %w", err)
	}
	operator, err := r.identity(ctx)
	if err != nil {
		return cluster, err
	}
	cluster.Admission = &v1alpha1.AdmissionStatus{Operator: operator}
	for i := range baseline.Spec.Exceptions {
		if baseline.Spec.Exceptions[i].IsActive(now) {
			cluster.Admission.Exceptions = append(cluster.Admission.Exceptions, baseline.Spec.Exceptions[i].Name)
		}
	}
	if baseline.Spec.Guard != nil {
		guarded, left := precedence.SelectingLabels(baselines.Items)
		cluster.Admission.GuardedLabels = guarded
		if left > 0 {
			cluster.Findings = append(cluster.Findings, fmt.Sprintf("baselines select by %d more labels than the guard can protect", left))
		}
	}
	if policies.LabelsNewNamespaces(&baseline.Spec) {
		preceding, left := precedence.HigherPrecedence(baseline, baselines.Items)
		cluster.Admission.HigherPrecedence = preceding
		if left > 0 {
			cluster.Findings = append(cluster.Findings, fmt.Sprintf(
				"%d more baselines have precedence than admission can know of: where they govern, a new namespace is born with labels of this one", left))
		}
		cluster.Admission.ProtectedNamespaces = sets.List(r.protected)
	}
	if err := r.power(ctx, baseline, baselines.Items, selected, &cluster, now); err != nil {
		return cluster, err
	}
	return cluster, r.standing(ctx, baseline, baselines.Items, &cluster)
}

// power finds out who holds all power, or more than was meant.
func (r *baselineReconciler) power(
	ctx context.Context, baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, selected []string, cluster *report.ClusterFindings, now time.Time,
) error {
	if baseline.Spec.RBAC == nil {
		return nil
	}
	bindings, rules, err := r.bindings(ctx)
	if err != nil {
		return err
	}
	// Where an exception takes RBAC out of a namespace, its bindings are nobody's.
	bindings = slices.DeleteFunc(bindings, func(b binding) bool {
		return precedence.ActiveException(baseline, b.namespace, v1alpha1.ControlRBAC, now) != nil
	})
	if judges(baseline, baselines, cluster) {
		tellPowerful(rules, cluster)
		allPowerful := func(b binding) bool { return controls.GrantsAll(rules[b.role]) }
		violations := holders(slices.DeleteFunc(slices.Clone(bindings), func(b binding) bool { return !allPowerful(b) }), baseline.Spec.RBAC.ClusterAdmin)
		bindings = slices.DeleteFunc(bindings, allPowerful)
		cluster.Violations = append(cluster.Violations, violations...)
		cluster.ClusterAdmin = &v1alpha1.ClusterAdminStatus{State: v1alpha1.StateCompliant, ViolatingBindingsTotal: int32(len(violations))}
		if len(violations) > 0 {
			cluster.ClusterAdmin.State = v1alpha1.StateViolating
		}
	}
	namespaces := sets.New(selected...)
	for _, binding := range bindings {
		where := ""
		if binding.namespace != "" {
			// Where the baseline binds roles, the namespace's report says it.
			if len(baseline.Spec.RBAC.RoleBindings) > 0 || !namespaces.Has(binding.namespace) || binding.givenBy(baselines) {
				continue
			}
			where = "namespace " + binding.namespace + ": "
		}
		if risk := controls.EscalationFinding(binding.id, binding.roleRef, binding.subjects, rules[binding.role], binding.namespace != ""); risk != "" {
			cluster.Findings = append(cluster.Findings, where+risk)
		}
	}
	slices.Sort(cluster.Findings)
	return nil
}

// judges says whether a baseline governs rbac.clusterAdmin or audits it, and notes
// which one governs it if not.
func judges(baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, cluster *report.ClusterFindings) bool {
	if baseline.Spec.RBAC.ClusterAdmin == nil {
		return false
	}
	governing := precedence.ClusterAdminBaseline(baselines)
	if baseline.Spec.IsAudit() || governing != nil && governing.Name == baseline.Name {
		return true
	}
	if governing != nil {
		cluster.Findings = append(cluster.Findings, fmt.Sprintf("rbac.clusterAdmin is governed by baseline %s, which has precedence", governing.Name))
	}
	return false
}

// tellPowerful notes for admission which roles may do everything.
func tellPowerful(rules map[string][]rbacv1.PolicyRule, cluster *report.ClusterFindings) {
	var powerful []string
	for role, granted := range rules {
		if controls.GrantsAll(granted) {
			powerful = append(powerful, role)
		}
	}
	slices.Sort(powerful)
	cluster.Admission.PrivilegedRoles = powerful[:min(len(powerful), maxPowerfulRoles)]
	if left := len(powerful) - maxPowerfulRoles; left > 0 {
		cluster.Findings = append(cluster.Findings, fmt.Sprintf(
			"%d more roles than admission can know of have all verbs on all resources: new bindings to them are reported, not refused", left))
	}
}

// holders returns a violation for each binding that grants everything to somebody
// who is not allowed to hold it.
func holders(bindings []binding, allowed *v1alpha1.ClusterAdmin) []v1alpha1.Violation {
	var violations []v1alpha1.Violation
	for _, binding := range bindings {
		if message := controls.ClusterAdminViolation(binding.id, binding.roleRef, binding.subjects, allowed); message != "" {
			violations = append(violations, v1alpha1.Violation{
				Namespace: binding.namespace, Control: v1alpha1.ControlRBAC, State: v1alpha1.StateViolating, Message: message,
			})
		}
	}
	return violations
}

// binding is a RoleBinding or a ClusterRoleBinding.
type binding struct {
	id, namespace string
	roleRef       rbacv1.RoleRef
	subjects      []rbacv1.Subject
	// role is the role's name or, of a Role, namespace/name.
	role string
	// label is the baseline that gave it, as its label says.
	label string
}

// givenBy says whether it is one that a baseline asks for. A label alone could be
// anybody's.
func (b *binding) givenBy(baselines []v1alpha1.SecurityBaseline) bool {
	return slices.ContainsFunc(baselines, func(baseline v1alpha1.SecurityBaseline) bool {
		return baseline.Name == b.label && baseline.Spec.RBAC != nil &&
			slices.ContainsFunc(baseline.Spec.RBAC.RoleBindings, func(wanted v1alpha1.NamedRoleBinding) bool {
				return b.id == "RoleBinding/"+v1alpha1.ObjectNamePrefix+wanted.Name
			})
	})
}

// bindings returns every binding in the cluster, and the rules of every role.
func (r *baselineReconciler) bindings(ctx context.Context) ([]binding, map[string][]rbacv1.PolicyRule, error) {
	var clusterRoles rbacv1.ClusterRoleList
	var roles rbacv1.RoleList
	var clusterRoleBindings rbacv1.ClusterRoleBindingList
	var roleBindings rbacv1.RoleBindingList
	for _, list := range []client.ObjectList{&clusterRoles, &roles, &clusterRoleBindings, &roleBindings} {
		if err := r.client.List(ctx, list, client.UnsafeDisableDeepCopy); err != nil {
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
	var bindings []binding
	for i := range clusterRoleBindings.Items {
		b := &clusterRoleBindings.Items[i]
		bindings = append(bindings, binding{id: "ClusterRoleBinding/" + b.Name, roleRef: b.RoleRef, subjects: b.Subjects, role: b.RoleRef.Name})
	}
	for i := range roleBindings.Items {
		b := &roleBindings.Items[i]
		role := b.RoleRef.Name
		if b.RoleRef.Kind == "Role" {
			role = b.Namespace + "/" + role
		}
		bindings = append(bindings, binding{
			id: "RoleBinding/" + b.Name, namespace: b.Namespace, roleRef: b.RoleRef, subjects: b.Subjects, role: role,
			label: b.Labels[v1alpha1.BaselineLabel],
		})
	}
	return bindings, rules, nil
}

// standing finds out whether the admission policies and bindings are in place
// that a baseline needs.
func (r *baselineReconciler) standing(ctx context.Context, baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, cluster *report.ClusterFindings) error {
	have, err := admissionObjects(ctx, r.client, r.mutating)
	if err != nil {
		return err
	}
	var waiting []string
	for _, want := range policies.Objects(baselines, policies.Cluster{Protected: r.protected, Mutating: r.mutating}) {
		control, id := want.UsedBy(baseline.Name), admissionID(want.Object)
		if found := have[id]; control == "" || found != nil && asNeeded(found, want.Object) {
			continue
		}
		waiting = append(waiting, id)
		if why := r.refusals.of(id); why != nil {
			if control == v1alpha1.ControlRBAC && cluster.ClusterAdmin != nil {
				cluster.ClusterAdmin.State = v1alpha1.StateFailed
			}
			cluster.Violations = append(cluster.Violations, v1alpha1.Violation{
				Control: control, State: v1alpha1.StateFailed, Message: fmt.Sprintf("%s: %v", id, why),
			})
		}
	}
	if len(waiting) > 0 {
		cluster.Pending = "not in place yet: " + strings.Join(waiting, ", ")
	}
	cluster.NewNamespacesHardened = r.born(baseline, cluster.Pending)
	return nil
}

// born returns the condition NewNamespacesHardened, or nil.
func (r *baselineReconciler) born(baseline *v1alpha1.SecurityBaseline, waiting string) *metav1.Condition {
	condition := func(status metav1.ConditionStatus, reason, message string) *metav1.Condition {
		return &metav1.Condition{Status: status, Reason: reason, Message: message}
	}
	switch {
	case !policies.LabelsNewNamespaces(&baseline.Spec):
		return nil
	case !r.mutating && baseline.Spec.Network != nil && baseline.Spec.Network.WaitForDefaultDeny:
		return condition(metav1.ConditionFalse, v1alpha1.ReasonMutatingAdmissionUnavailable, "the API server has no MutatingAdmissionPolicy v1, which Kubernetes 1.36 has: "+
			"a new namespace gets its labels a moment after its creation, and network.waitForDefaultDeny keeps no pod waiting")
	case !r.mutating:
		return condition(metav1.ConditionFalse, v1alpha1.ReasonMutatingAdmissionUnavailable, "the API server has no MutatingAdmissionPolicy v1, which Kubernetes 1.36 has: "+
			"a new namespace gets its labels a moment after its creation")
	case waiting != "":
		return condition(metav1.ConditionFalse, v1alpha1.ReasonPolicyNotReady, waiting)
	}
	return condition(metav1.ConditionTrue, v1alpha1.ReasonPolicyReady, "a new namespace that the baseline selects gets its labels at its creation")
}

// identity returns a function that asks the API server once who the operator is.
func identity(writer client.Client) func(context.Context) (string, error) {
	var mutex sync.Mutex
	var name string
	return func(ctx context.Context) (string, error) {
		mutex.Lock()
		defer mutex.Unlock()
		if name != "" {
			return name, nil
		}
		review := &authenticationv1.SelfSubjectReview{}
		if err := writer.Create(ctx, review); err != nil {
			return "", fmt.Errorf("asking who the operator is: %w", err)
		}
		name = review.Status.UserInfo.Username
		return name, nil
	}
}
