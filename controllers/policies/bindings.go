package policies

import (
	"slices"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// ShouldLabelNewNamespaces reports whether a baseline labels new namespaces.
func ShouldLabelNewNamespaces(spec *v1alpha1.SecurityBaselineSpec) bool {
	return !spec.IsAudit() && len(controlsAtCreation(spec)) > 0
}

// controlsAtCreation returns the controls for which a baseline labels new namespaces.
func controlsAtCreation(spec *v1alpha1.SecurityBaselineSpec) []v1alpha1.ControlName {
	var names []v1alpha1.ControlName
	for i := range controls.All {
		if shouldLabel := controls.All[i].ShouldLabelNewNamespaces; shouldLabel != nil && shouldLabel(spec) {
			names = append(names, controls.All[i].Name)
		}
	}
	return names
}

// creationBinding returns the binding by which a baseline labels new namespaces, or nil if
// it does not.
func creationBinding(baseline *v1alpha1.SecurityBaseline, cluster Cluster) *admissionregistrationv1.MutatingAdmissionPolicyBinding {
	if !cluster.IsMutatingServed || !ShouldLabelNewNamespaces(&baseline.Spec) {
		return nil
	}
	return &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: bindingMeta(baseline, labelNewNamespaces, controlsAtCreation(&baseline.Spec)[0]),
		Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{
			PolicyName: labelNewNamespaces + Domain,
			ParamRef:   paramRef(baseline),
			MatchResources: &admissionregistrationv1.MatchResources{
				ObjectSelector: withoutName(baseline.Spec.NamespaceSelector.ToUpstream()),
			},
		},
	}
}

// withoutName returns a selector without its requirements for the name label. If a namespace
// is created with generateName, this label contains what the request set, so the policy
// compares the name itself.
func withoutName(selector *metav1.LabelSelector) *metav1.LabelSelector {
	remaining := selector.DeepCopy()
	delete(remaining.MatchLabels, corev1.LabelMetadataName)
	remaining.MatchExpressions = slices.DeleteFunc(remaining.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		return r.Key == corev1.LabelMetadataName
	})
	return remaining
}

func validatingBinding(
	baseline *v1alpha1.SecurityBaseline, policy string, control v1alpha1.ControlName,
	match admissionregistrationv1.MatchResources, actions ...admissionregistrationv1.ValidationAction,
) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: bindingMeta(baseline, policy, control),
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName:        policy + Domain,
			ParamRef:          paramRef(baseline),
			MatchResources:    &match,
			ValidationActions: actions,
		},
	}
}

func bindingMeta(baseline *v1alpha1.SecurityBaseline, policy string, control v1alpha1.ControlName) metav1.ObjectMeta {
	return metav1.ObjectMeta{
		Name:   baseline.Name + "." + policy + Domain,
		Labels: map[string]string{v1alpha1.BaselineLabel: baseline.Name, v1alpha1.ControlLabel: string(control)},
	}
}

// paramRef makes a baseline the parameter of a policy. If the baseline was deleted, the
// policy allows everything.
func paramRef(baseline *v1alpha1.SecurityBaseline) *admissionregistrationv1.ParamRef {
	return &admissionregistrationv1.ParamRef{Name: baseline.Name, ParameterNotFoundAction: new(admissionregistrationv1.AllowAction)}
}
