package policies

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// rule is a ValidatingAdmissionPolicy that a baseline can enable.
type rule struct {
	// policy is the name of the policy without the domain.
	policy string

	// control is the control that the policy is part of.
	control v1alpha1.ControlName

	// action returns what happens to a request that violates the policy, or "" if the
	// baseline does not enable it.
	action func(*v1alpha1.SecurityBaselineSpec) v1alpha1.Action

	// enforced returns what the baseline's binding matches in Enforce mode.
	enforced scope

	// audited returns what the baseline's binding matches in Audit mode. It is nil if the
	// policy has no Audit variant.
	audited scope

	// clusterWide reports whether only the baseline of highest precedence has a binding.
	clusterWide bool
}

// scope returns which requests a binding of a baseline matches. An Enforce binding can match
// the labels that the operator sets on namespaces. An Audit binding matches the namespaces
// that the baseline selects, because a baseline in Audit mode sets no labels.
type scope func(*v1alpha1.SecurityBaseline, Cluster) admissionregistrationv1.MatchResources

// rules lists the rules in the order of their bindings.
var rules = []rule{
	{
		policy:   "images",
		control:  v1alpha1.ControlImages,
		action:   imagesAction,
		enforced: insideGovernedNamespaces(v1alpha1.ControlImages),
		audited:  insideSelectedNamespaces,
	},
	{
		policy:   "workloads",
		control:  v1alpha1.ControlWorkloads,
		action:   workloadsAction,
		enforced: insideGovernedNamespaces(v1alpha1.ControlWorkloads),
		audited:  insideSelectedNamespaces,
	},
	{
		// In Audit mode no default-deny policy is created that pods could wait for.
		policy:   "wait-for-default-deny",
		control:  v1alpha1.ControlNetwork,
		action:   waitForDefaultDenyAction,
		enforced: insideNamespacesWithoutDefaultDeny,
	},
	{
		policy:   "protect-managed-objects",
		control:  v1alpha1.ControlGuard,
		action:   guardAction,
		enforced: insideGovernedNamespaces(v1alpha1.ControlGuard),
		audited:  insideSelectedNamespaces,
	},
	{
		policy:   "protect-namespace-labels",
		control:  v1alpha1.ControlGuard,
		action:   guardAction,
		enforced: governedNamespaces,
		audited:  selectedNamespaces,
	},
	{
		policy:      "restrict-cluster-admin",
		control:     v1alpha1.ControlRBAC,
		action:      clusterAdminAction,
		enforced:    wholeCluster,
		audited:     wholeCluster,
		clusterWide: true,
	},
}

func imagesAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Images == nil {
		return ""
	}
	return orDeny(spec.Images.Action)
}

func workloadsAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Workloads == nil {
		return ""
	}
	return orDeny(spec.Workloads.Action)
}

func waitForDefaultDenyAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Network == nil || !spec.Network.WaitForDefaultDeny {
		return ""
	}
	return v1alpha1.ActionDeny
}

func guardAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Guard == nil {
		return ""
	}
	return orDeny(spec.Guard.Action)
}

func clusterAdminAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.RBAC == nil || spec.RBAC.ClusterAdmin == nil {
		return ""
	}
	return orDeny(spec.RBAC.ClusterAdmin.Action)
}

// orDeny returns the action, or the CRD's default for baselines that did not pass through an
// API server.
func orDeny(action v1alpha1.Action) v1alpha1.Action {
	if action == "" {
		return v1alpha1.ActionDeny
	}
	return action
}

// insideGovernedNamespaces matches objects in the namespaces in which the baseline governs
// the control.
func insideGovernedNamespaces(control v1alpha1.ControlName) scope {
	return func(baseline *v1alpha1.SecurityBaseline, _ Cluster) admissionregistrationv1.MatchResources {
		return admissionregistrationv1.MatchResources{NamespaceSelector: governedBy(baseline, control)}
	}
}

// insideNamespacesWithoutDefaultDeny matches objects in governed namespaces whose
// default-deny policy does not exist yet.
func insideNamespacesWithoutDefaultDeny(baseline *v1alpha1.SecurityBaseline, _ Cluster) admissionregistrationv1.MatchResources {
	selector := governedBy(baseline, v1alpha1.ControlNetwork)
	selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: v1alpha1.DefaultDenyReadyLabel, Operator: metav1.LabelSelectorOpDoesNotExist}}
	return admissionregistrationv1.MatchResources{NamespaceSelector: selector}
}

// governedNamespaces matches the namespaces themselves in which the baseline governs Guard.
func governedNamespaces(baseline *v1alpha1.SecurityBaseline, _ Cluster) admissionregistrationv1.MatchResources {
	return admissionregistrationv1.MatchResources{ObjectSelector: governedBy(baseline, v1alpha1.ControlGuard)}
}

// insideSelectedNamespaces matches objects in the namespaces that the baseline selects.
func insideSelectedNamespaces(baseline *v1alpha1.SecurityBaseline, cluster Cluster) admissionregistrationv1.MatchResources {
	selector := baseline.Spec.NamespaceSelector.ToUpstream().DeepCopy()
	selector.MatchExpressions = append(selector.MatchExpressions, unprotected(cluster.Protected)...)
	return admissionregistrationv1.MatchResources{NamespaceSelector: selector}
}

// selectedNamespaces matches the namespaces themselves that the baseline selects.
func selectedNamespaces(baseline *v1alpha1.SecurityBaseline, cluster Cluster) admissionregistrationv1.MatchResources {
	return admissionregistrationv1.MatchResources{
		ObjectSelector:    baseline.Spec.NamespaceSelector.ToUpstream(),
		NamespaceSelector: &metav1.LabelSelector{MatchExpressions: unprotected(cluster.Protected)},
	}
}

// wholeCluster matches everything that the policy matches.
func wholeCluster(*v1alpha1.SecurityBaseline, Cluster) admissionregistrationv1.MatchResources {
	return admissionregistrationv1.MatchResources{}
}

// governedBy selects the namespaces in which the baseline governs the control.
func governedBy(baseline *v1alpha1.SecurityBaseline, control v1alpha1.ControlName) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.GoverningBaselineLabel(control): baseline.Name}}
}

// unprotected requires that a namespace is not protected.
func unprotected(protected sets.Set[string]) []metav1.LabelSelectorRequirement {
	return []metav1.LabelSelectorRequirement{{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: sets.List(protected),
	}}
}

// binding returns the baseline's binding of the rule's policy, or nil if it needs none.
func (r rule) binding(baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, cluster Cluster) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	action := r.action(&baseline.Spec)
	switch {
	case action == "":
		return nil
	case baseline.Spec.IsAudit() && r.audited == nil:
		return nil
	case baseline.Spec.IsAudit():
		return validatingBinding(baseline, auditPrefix+r.policy, r.control, r.audited(baseline, cluster),
			admissionregistrationv1.Warn, admissionregistrationv1.Audit)
	case r.clusterWide && precedence.ClusterAdminBaseline(baselines) != baseline:
		return nil
	}
	return validatingBinding(baseline, r.policy, r.control, r.enforced(baseline, cluster), admissionregistrationv1.ValidationAction(action))
}
