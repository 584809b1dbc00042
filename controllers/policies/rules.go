package policies

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// rule is an admission policy of a control, and what its bindings match.
type rule struct {
	controls.AdmissionPolicy
	control v1alpha1.ControlName

	// enforced returns what a baseline's binding matches in Enforce mode.
	enforced scope

	// audited returns what a baseline's binding matches in Audit mode. It is nil if the
	// policy has no Audit variant.
	audited scope
}

// isClusterWide reports whether only the baseline of highest precedence has a binding.
func (r *rule) isClusterWide() bool { return r.Scope == controls.ScopeCluster }

// scope returns which requests a binding of a baseline matches. An Enforce binding can match
// the labels that the operator sets on namespaces. An Audit binding matches the namespaces
// that the baseline selects, because a baseline in Audit mode sets no labels.
type scope func(*v1alpha1.SecurityBaseline, Cluster) admissionregistrationv1.MatchResources

// rules returns the admission policies of all controls.
func rules() []rule {
	var all []rule
	for i := range controls.All {
		control := &controls.All[i]
		for _, policy := range control.Policies {
			all = append(all, newRule(control.Name, policy))
		}
	}
	return all
}

func newRule(control v1alpha1.ControlName, policy controls.AdmissionPolicy) rule {
	r := rule{AdmissionPolicy: policy, control: control}
	switch policy.Scope {
	case controls.ScopeInsideNamespaces:
		r.enforced = insideGovernedNamespaces(control)
		r.audited = insideSelectedNamespaces
	case controls.ScopeNamespaces:
		r.enforced = governedNamespaces(control)
		r.audited = selectedNamespaces
	case controls.ScopeUntilDefaultDeny:
		r.enforced = insideNamespacesWithoutDefaultDeny(control)
	case controls.ScopeCluster:
		r.enforced = wholeCluster
		r.audited = wholeCluster
	}
	return r
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
func insideNamespacesWithoutDefaultDeny(control v1alpha1.ControlName) scope {
	return func(baseline *v1alpha1.SecurityBaseline, _ Cluster) admissionregistrationv1.MatchResources {
		selector := governedBy(baseline, control)
		selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: v1alpha1.DefaultDenyReadyLabel, Operator: metav1.LabelSelectorOpDoesNotExist}}
		return admissionregistrationv1.MatchResources{NamespaceSelector: selector}
	}
}

// governedNamespaces matches the namespaces themselves in which the baseline governs the
// control.
func governedNamespaces(control v1alpha1.ControlName) scope {
	return func(baseline *v1alpha1.SecurityBaseline, _ Cluster) admissionregistrationv1.MatchResources {
		return admissionregistrationv1.MatchResources{ObjectSelector: governedBy(baseline, control)}
	}
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
func (r *rule) binding(baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, cluster Cluster) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	action := r.Action(&baseline.Spec)
	switch {
	case action == "":
		return nil
	case baseline.Spec.IsAudit() && r.audited == nil:
		return nil
	case baseline.Spec.IsAudit():
		return validatingBinding(baseline, auditPrefix+r.Name, r.control, r.audited(baseline, cluster),
			admissionregistrationv1.Warn, admissionregistrationv1.Audit)
	case r.isClusterWide() && precedence.ClusterAdminBaseline(baselines) != baseline:
		return nil
	}
	return validatingBinding(baseline, r.Name, r.control, r.enforced(baseline, cluster), admissionregistrationv1.ValidationAction(action))
}
