// Package policies renders the admission policies and bindings that baselines need.
//
// It is pure. The policies are the YAML files in config/policies and the same for all
// baselines: they read the SecurityBaseline, which is their parameter. Everything else that
// differs between baselines is in the bindings.
package policies

import (
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// Domain is the suffix of the names of all policies and bindings.
var Domain = "." + v1alpha1.GroupVersion.Group

const (
	// requireBindPermission names the policy and the binding that are part of the
	// installation. They are needed without any baseline.
	requireBindPermission = "require-bind-permission"

	// labelNewNamespaces names the MutatingAdmissionPolicy that labels new namespaces.
	labelNewNamespaces = "label-new-namespaces"

	// auditPrefix begins the names of the policies and bindings for Audit mode.
	auditPrefix = "audit."
)

// Cluster describes the cluster that the policies are for.
type Cluster struct {
	// Protected are the namespaces that no baseline governs.
	Protected sets.Set[string]

	// IsMutatingServed reports whether the API server serves MutatingAdmissionPolicy v1.
	IsMutatingServed bool

	// Owner is the CRD of SecurityBaselines. It owns the policies and bindings, because
	// without the CRD they would reject every request that they match.
	Owner metav1.OwnerReference
}

// Needed is a policy or a binding that must exist.
type Needed struct {
	controls.Object

	// Uses lists the baselines that need the object. It is empty for the objects of the
	// installation.
	Uses []Use
}

// Use is a baseline that needs a policy or a binding, and the control it needs it for.
type Use struct {
	Baseline *v1alpha1.SecurityBaseline
	Control  v1alpha1.ControlName
}

// UsedBy returns the control that the named baseline needs the object for, or "" if the
// baseline does not need it.
func (n Needed) UsedBy(baseline string) v1alpha1.ControlName {
	for _, use := range n.Uses {
		if use.Baseline.Name == baseline {
			return use.Control
		}
	}
	return ""
}

// Objects returns the policies that the baselines need, followed by the bindings. The
// defaults of the API server are set, so that they do not look like differences.
func Objects(baselines []v1alpha1.SecurityBaseline, cluster Cluster) []Needed {
	bindings := bindingsFor(baselines, cluster)
	uses := map[string][]Use{requireBindPermission + Domain: nil}
	for _, binding := range bindings {
		policy := policyName(binding.Object)
		uses[policy] = append(uses[policy], binding.Uses...)
	}
	needed := make([]Needed, 0, len(uses)+len(bindings))
	for _, object := range policiesNamed(sets.KeySet(uses)) {
		needed = append(needed, Needed{Object: object, Uses: uses[object.GetName()]})
	}
	needed = append(needed, bindings...)
	for _, object := range needed {
		setOwner(object.Object, cluster.Owner)
		setDefaults(object.Object)
	}
	return needed
}

// bindingsFor returns the bindings that the baselines need.
func bindingsFor(baselines []v1alpha1.SecurityBaseline, cluster Cluster) []Needed {
	var bindings []Needed
	for i := range baselines {
		baseline := &baselines[i]
		if !canBind(baseline, cluster) {
			continue
		}
		for _, r := range rules() {
			if binding := r.binding(baseline, baselines, cluster); binding != nil {
				bindings = append(bindings, Needed{Object: binding, Uses: []Use{{Baseline: baseline, Control: r.control}}})
			}
		}
		if binding := creationBinding(baseline, cluster); binding != nil {
			control := controlsAtCreation(&baseline.Spec)[0]
			bindings = append(bindings, Needed{Object: binding, Uses: []Use{{Baseline: baseline, Control: control}}})
		}
	}
	return bindings
}

// canBind reports whether a baseline can have bindings. A baseline cannot if it is being
// deleted, if its selector is invalid or if it still lacks the finalizer that
// deletionPolicy Remove requires.
func canBind(baseline *v1alpha1.SecurityBaseline, cluster Cluster) bool {
	_, err := precedence.NamespaceMatcher(baseline, cluster.Protected)
	return err == nil && baseline.DeletionTimestamp.IsZero() && !precedence.IsMissingFinalizer(baseline)
}

// policyName returns the name of the policy that a binding refers to.
func policyName(binding controls.Object) string {
	switch binding := binding.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		return binding.Spec.PolicyName
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		return binding.Spec.PolicyName
	}
	return ""
}

// setOwner makes the CRD the owner of an object and labels the object as managed by the
// operator. It leaves the objects of the installation unchanged, because they belong to the
// tool that installed them: Helm does not adopt an object that another tool manages.
func setOwner(object controls.Object, owner metav1.OwnerReference) {
	if object.GetName() == requireBindPermission+Domain {
		return
	}
	object.SetLabels(labels.Merge(object.GetLabels(), labels.Set{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}))
	object.SetOwnerReferences([]metav1.OwnerReference{owner})
}

// setDefaults sets the fields that the API server would default.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/admissionregistration/v1/defaults.go
func setDefaults(object controls.Object) {
	match := matchResources(object)
	if match == nil {
		return
	}
	match.MatchPolicy = new(admissionregistrationv1.Equivalent)
	if match.NamespaceSelector == nil {
		match.NamespaceSelector = &metav1.LabelSelector{}
	}
	if match.ObjectSelector == nil {
		match.ObjectSelector = &metav1.LabelSelector{}
	}
	for i := range match.ResourceRules {
		match.ResourceRules[i].Scope = new(admissionregistrationv1.AllScopes)
	}
}

// matchResources returns what a policy or a binding matches, or nil if it does not say.
func matchResources(object controls.Object) *admissionregistrationv1.MatchResources {
	switch object := object.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		return object.Spec.MatchConstraints
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		return object.Spec.MatchConstraints
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		return object.Spec.MatchResources
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		return object.Spec.MatchResources
	}
	return nil
}
