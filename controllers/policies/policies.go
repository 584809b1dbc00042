// Package policies says which admission policies and bindings the baselines
// need. It is pure: the policies are YAML, in config/policies, and what differs
// from one baseline to another is in a binding, or read from the baseline itself.
package policies

import (
	"fmt"
	"io/fs"
	"slices"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	policyfiles "github.com/securitybaseline/operator/config/policies"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// Domain ends the name of every policy and binding.
var Domain = "." + v1alpha1.GroupVersion.Group

// Names of the policies that are not a rule's.
const (
	authors = "require-bind-permission"
	born    = "label-new-namespaces"
	audit   = "audit."
)

// rule is a policy that a baseline may ask for.
type rule struct {
	// policy is its name.
	policy  string
	control v1alpha1.ControlName
	// action returns what the baseline says of requests against the rule; nothing
	// where it does not declare it.
	action func(*v1alpha1.SecurityBaselineSpec) v1alpha1.Action
	// where returns what a binding in Enforce mode matches, audited what one in
	// Audit mode does: nothing where there is none.
	where   func(baseline string) admissionregistrationv1.MatchResources
	audited func(selector, unprotected *metav1.LabelSelector) *admissionregistrationv1.MatchResources
	// clusterWide says that one baseline governs it for the whole cluster.
	clusterWide bool
}

var rules = []rule{
	{
		policy: "images", control: v1alpha1.ControlImages, where: inGoverned(v1alpha1.ControlImages), audited: inSelected,
		action: func(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
			if spec.Images == nil {
				return ""
			}
			return orDeny(spec.Images.Action)
		},
	},
	{
		policy: "workloads", control: v1alpha1.ControlWorkloads, where: inGoverned(v1alpha1.ControlWorkloads), audited: inSelected,
		action: func(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
			if spec.Workloads == nil {
				return ""
			}
			return orDeny(spec.Workloads.Action)
		},
	},
	{
		policy: "wait-for-default-deny", control: v1alpha1.ControlNetwork, where: beforeGate,
		action: func(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
			if spec.Network == nil || !spec.Network.WaitForDefaultDeny {
				return ""
			}
			return v1alpha1.ActionDeny
		},
	},
	{policy: "protect-managed-objects", control: v1alpha1.ControlGuard, where: inGoverned(v1alpha1.ControlGuard), audited: inSelected, action: guardAction},
	{policy: "protect-namespace-labels", control: v1alpha1.ControlGuard, where: governedNamespaces, audited: selectedNamespaces, action: guardAction},
	{
		policy: "restrict-cluster-admin", control: v1alpha1.ControlRBAC, clusterWide: true,
		where: func(string) admissionregistrationv1.MatchResources { return admissionregistrationv1.MatchResources{} },
		audited: func(_, _ *metav1.LabelSelector) *admissionregistrationv1.MatchResources {
			return &admissionregistrationv1.MatchResources{}
		},
		action: func(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
			if spec.RBAC == nil || spec.RBAC.ClusterAdmin == nil {
				return ""
			}
			return orDeny(spec.RBAC.ClusterAdmin.Action)
		},
	},
}

func guardAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Guard == nil {
		return ""
	}
	return orDeny(spec.Guard.Action)
}

// orDeny states what the CRD defaults, for objects that were never at an API
// server.
func orDeny(action v1alpha1.Action) v1alpha1.Action {
	if action == "" {
		return v1alpha1.ActionDeny
	}
	return action
}

// inGoverned matches what is in the namespaces in which a baseline governs a
// control.
func inGoverned(control v1alpha1.ControlName) func(string) admissionregistrationv1.MatchResources {
	return func(baseline string) admissionregistrationv1.MatchResources {
		return admissionregistrationv1.MatchResources{NamespaceSelector: governs(control, baseline)}
	}
}

// beforeGate matches what is in those that wait for their default-deny policy.
func beforeGate(baseline string) admissionregistrationv1.MatchResources {
	selector := governs(v1alpha1.ControlNetwork, baseline)
	selector.MatchExpressions = []metav1.LabelSelectorRequirement{{Key: v1alpha1.DefaultDenyReadyLabel, Operator: metav1.LabelSelectorOpDoesNotExist}}
	return admissionregistrationv1.MatchResources{NamespaceSelector: selector}
}

// governedNamespaces matches these namespaces themselves.
func governedNamespaces(baseline string) admissionregistrationv1.MatchResources {
	return admissionregistrationv1.MatchResources{ObjectSelector: governs(v1alpha1.ControlGuard, baseline)}
}

func governs(control v1alpha1.ControlName, baseline string) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchLabels: map[string]string{v1alpha1.GoverningBaselineLabel(control): baseline}}
}

// inSelected matches what is in the namespaces that a baseline in Audit mode
// selects: it labels none.
func inSelected(selector, unprotected *metav1.LabelSelector) *admissionregistrationv1.MatchResources {
	both := selector.DeepCopy()
	both.MatchExpressions = append(both.MatchExpressions, unprotected.MatchExpressions...)
	return &admissionregistrationv1.MatchResources{NamespaceSelector: both}
}

// selectedNamespaces matches these namespaces themselves.
func selectedNamespaces(selector, unprotected *metav1.LabelSelector) *admissionregistrationv1.MatchResources {
	return &admissionregistrationv1.MatchResources{ObjectSelector: selector, NamespaceSelector: unprotected}
}

// Cluster is what is known of the cluster.
type Cluster struct {
	// Protected are the namespaces that are never governed.
	Protected sets.Set[string]

	// Mutating says that the API server has MutatingAdmissionPolicy v1.
	Mutating bool

	// Owner is what the policies and bindings go with: the CRD, without which they
	// would refuse what they match.
	Owner metav1.OwnerReference
}

// Needed is a policy or a binding that is needed.
type Needed struct {
	client.Object
	// Uses are what it is needed for. The policy of the installation needs none.
	Uses []Use
}

// Use is a baseline that needs an admission policy, and the control that it needs
// it for.
type Use struct {
	Baseline *v1alpha1.SecurityBaseline
	Control  v1alpha1.ControlName
}

// UsedBy returns the control that a baseline needs the object for; empty, if it
// does not.
func (n Needed) UsedBy(baseline string) v1alpha1.ControlName {
	for _, use := range n.Uses {
		if use.Baseline.Name == baseline {
			return use.Control
		}
	}
	return ""
}

// Objects returns the policies and bindings that the baselines need together, the
// policies first. Baselines that are being deleted, or cannot be held, need none.
func Objects(baselines []v1alpha1.SecurityBaseline, cluster Cluster) []Needed {
	var bindings []Needed
	uses := map[string][]Use{authors + Domain: nil}
	add := func(policy string, binding client.Object, use Use) {
		uses[policy] = append(uses[policy], use)
		bindings = append(bindings, Needed{binding, []Use{use}})
	}
	for i := range baselines {
		baseline := &baselines[i]
		if !inForce(baseline, cluster) {
			continue
		}
		for _, rule := range rules {
			if binding := rule.binding(baseline, baselines, cluster); binding != nil {
				add(binding.Spec.PolicyName, binding, Use{baseline, rule.control})
			}
		}
		if binding := bornBinding(baseline, cluster); binding != nil {
			add(binding.Spec.PolicyName, binding, Use{baseline, bornControl(&baseline.Spec)})
		}
	}
	needed := make([]Needed, 0, len(uses)+len(bindings))
	for _, object := range loaded(sets.KeySet(uses)) {
		needed = append(needed, Needed{object, uses[object.GetName()]})
	}
	needed = append(needed, bindings...)
	for _, object := range needed {
		// What is part of the installation goes with that, and is managed by what
		// installed it: Helm leaves alone what does not say so.
		if object.GetName() != authors+Domain {
			object.SetLabels(labels.Merge(object.GetLabels(), labels.Set{v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue}))
			object.SetOwnerReferences([]metav1.OwnerReference{cluster.Owner})
		}
		stateDefaults(object.Object)
	}
	return needed
}

// inForce says whether a baseline can have bindings.
func inForce(baseline *v1alpha1.SecurityBaseline, cluster Cluster) bool {
	_, err := precedence.NamespaceMatcher(baseline, cluster.Protected)
	return err == nil && baseline.DeletionTimestamp.IsZero() && !precedence.MissingFinalizer(baseline)
}

// binding returns the binding by which a baseline has a rule enforced, or nil.
func (r rule) binding(baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, cluster Cluster) *admissionregistrationv1.ValidatingAdmissionPolicyBinding {
	action := r.action(&baseline.Spec)
	if action == "" {
		return nil
	}
	policy, match := r.policy, new(r.where(baseline.Name))
	actions := []admissionregistrationv1.ValidationAction{admissionregistrationv1.ValidationAction(action)}
	switch {
	case baseline.Spec.IsAudit() && r.audited == nil:
		return nil
	case baseline.Spec.IsAudit():
		policy, match = audit+r.policy, r.audited(baseline.Spec.NamespaceSelector.ToUpstream(), unprotected(cluster.Protected))
		actions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Warn, admissionregistrationv1.Audit}
	case r.clusterWide && precedence.ClusterAdminBaseline(baselines) != baseline:
		return nil
	}
	return &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: bindingMeta(baseline.Name, policy, r.control),
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: policy + Domain, ParamRef: parameter(baseline.Name), MatchResources: match, ValidationActions: actions,
		},
	}
}

// BornBy says whether a baseline gives new namespaces labels.
func LabelsNewNamespaces(spec *v1alpha1.SecurityBaselineSpec) bool {
	return !spec.IsAudit() && bornControl(spec) != ""
}

// bornControl returns the first control for which a baseline gives new namespaces
// labels, or nothing.
func bornControl(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.ControlName {
	switch {
	case spec.PodSecurity != nil:
		return v1alpha1.ControlPodSecurity
	case spec.Network != nil && spec.Network.WaitForDefaultDeny:
		return v1alpha1.ControlNetwork
	case spec.Images != nil:
		return v1alpha1.ControlImages
	case spec.Workloads != nil:
		return v1alpha1.ControlWorkloads
	case spec.Guard != nil:
		return v1alpha1.ControlGuard
	}
	return ""
}

// bornBinding returns the binding by which a baseline labels new namespaces, or
// nil.
func bornBinding(baseline *v1alpha1.SecurityBaseline, cluster Cluster) *admissionregistrationv1.MutatingAdmissionPolicyBinding {
	if !cluster.Mutating || !LabelsNewNamespaces(&baseline.Spec) {
		return nil
	}
	return &admissionregistrationv1.MutatingAdmissionPolicyBinding{
		ObjectMeta: bindingMeta(baseline.Name, born, bornControl(&baseline.Spec)),
		Spec: admissionregistrationv1.MutatingAdmissionPolicyBindingSpec{
			PolicyName: born + Domain, ParamRef: parameter(baseline.Name),
			MatchResources: &admissionregistrationv1.MatchResources{ObjectSelector: besidesName(baseline.Spec.NamespaceSelector.ToUpstream())},
		},
	}
}

// besidesName returns a selector without what it requires of a namespace's name.
// Of one that is being created with generateName, the label that bears the name is
// what its creator says; the policy compares the name itself.
func besidesName(selector *metav1.LabelSelector) *metav1.LabelSelector {
	besides := selector.DeepCopy()
	delete(besides.MatchLabels, corev1.LabelMetadataName)
	besides.MatchExpressions = slices.DeleteFunc(besides.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool { return r.Key == corev1.LabelMetadataName })
	return besides
}

func bindingMeta(baseline, policy string, control v1alpha1.ControlName) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: baseline + "." + policy + Domain, Labels: map[string]string{
		v1alpha1.BaselineLabel: baseline, v1alpha1.ControlLabel: string(control),
	}}
}

// parameter refers to a baseline. Where it is gone, its rules are too.
func parameter(baseline string) *admissionregistrationv1.ParamRef {
	return &admissionregistrationv1.ParamRef{Name: baseline, ParameterNotFoundAction: new(admissionregistrationv1.AllowAction)}
}

func unprotected(protected sets.Set[string]) *metav1.LabelSelector {
	return &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
		Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: sets.List(protected),
	}}}
}

// loaded returns the policies of these names, for Audit mode too, and the bindings
// that need no baseline.
func loaded(names sets.Set[string]) []client.Object {
	var objects []client.Object
	for _, object := range load() {
		if names.Has(object.GetName()) {
			objects = append(objects, object.DeepCopyObject().(client.Object))
		}
		policy, ok := object.(*admissionregistrationv1.ValidatingAdmissionPolicy)
		if !ok || !names.Has(audit+policy.Name) {
			continue
		}
		for _, rule := range rules {
			if rule.policy+Domain == policy.Name {
				objects = append(objects, rule.forAudit(policy.DeepCopy()))
			}
		}
	}
	return objects
}

// forAudit makes a policy one for Audit mode: it refuses nothing, not even where
// it fails, and matches namespaces that bear no label of the operator.
func (r rule) forAudit(policy *admissionregistrationv1.ValidatingAdmissionPolicy) *admissionregistrationv1.ValidatingAdmissionPolicy {
	policy.Name = audit + policy.Name
	policy.Spec.FailurePolicy = new(admissionregistrationv1.Ignore)
	policy.Spec.MatchConstraints.NamespaceSelector, policy.Spec.MatchConstraints.ObjectSelector = nil, nil
	if r.clusterWide {
		return policy
	}
	policy.Spec.MatchConditions = append(policy.Spec.MatchConditions,
		admissionregistrationv1.MatchCondition{
			Name:       "not-excluded",
			Expression: "!has(params.spec.excludeNamespaces) || !(request.namespace in params.spec.excludeNamespaces)",
		},
		admissionregistrationv1.MatchCondition{
			Name: "not-excepted",
			Expression: fmt.Sprintf("!has(params.spec.exceptions) || !has(params.status.admission) || !has(params.status.admission.exceptions) || "+
				"!params.spec.exceptions.exists(e, e.name in params.status.admission.exceptions && '%s' in e.controls && request.namespace in e.namespaces)", r.control),
		})
	return policy
}

// load returns the objects of the YAML files; they are shared.
var load = sync.OnceValue(func() []client.Object {
	names, err := fs.Glob(policyfiles.Files, "*.yaml")
	if err != nil {
		panic(fmt.Sprintf("the pattern is valid: %v", err))
	}
	objects := make([]client.Object, 0, len(names))
	for _, name := range names {
		data, err := policyfiles.Files.ReadFile(name)
		if err != nil {
			panic(fmt.Sprintf("the file %s is embedded: %v", name, err))
		}
		objects = append(objects, decode(name, data)...)
	}
	return objects
})

// stateDefaults states what the API server would default, so that it does not
// look like a difference.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/admissionregistration/v1/defaults.go
func stateDefaults(object client.Object) {
	var match *admissionregistrationv1.MatchResources
	switch object := object.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		match = object.Spec.MatchConstraints
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		match = object.Spec.MatchConstraints
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		match = object.Spec.MatchResources
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		match = object.Spec.MatchResources
	}
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
