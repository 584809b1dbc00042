package controls

import "github.com/securitybaseline/operator/api/v1alpha1"

// AdmissionPolicy is a ValidatingAdmissionPolicy by which the API server itself enforces a
// control, also while the operator is down. The policy is the file of its name in
// config/policies.
type AdmissionPolicy struct {
	// Name is the name of the policy without the domain.
	Name string

	// Action returns what happens to a request that violates the policy, or "" if a
	// baseline does not enable it.
	Action func(*v1alpha1.SecurityBaselineSpec) v1alpha1.Action

	// Scope is what the policy applies to.
	Scope PolicyScope
}

// PolicyScope is what an admission policy applies to.
type PolicyScope string

const (
	// ScopeInsideNamespaces are the objects in the namespaces in which a baseline governs
	// the control.
	ScopeInsideNamespaces PolicyScope = "InsideNamespaces"
	// ScopeNamespaces are these namespaces themselves.
	ScopeNamespaces PolicyScope = "Namespaces"
	// ScopeUntilDefaultDeny are the objects in governed namespaces whose default-deny
	// policy does not exist yet. In Audit mode no such policy is created, so nothing waits
	// for it.
	ScopeUntilDefaultDeny PolicyScope = "UntilDefaultDeny"
	// ScopeCluster is the whole cluster, for which one baseline governs the control.
	ScopeCluster PolicyScope = "Cluster"
)

// orDeny returns the action, or the CRD's default for baselines that did not pass through an
// API server.
func orDeny(action v1alpha1.Action) v1alpha1.Action {
	if action == "" {
		return v1alpha1.ActionDeny
	}
	return action
}

// newAdmissionControl returns a control that only labels the namespace. The API server
// enforces such a control itself: the admission policies in config/policies apply
// to the namespaces that have its label.
func newAdmissionControl(name v1alpha1.ControlName, section string, declared func(*v1alpha1.SecurityBaselineSpec) bool, policies ...AdmissionPolicy) Control {
	label := v1alpha1.GoverningBaselineLabel(name)
	return Control{
		Name:                     name,
		Section:                  section,
		ShouldLabelNewNamespaces: declared,
		IsDeclared:               declared,
		Policies:                 policies,
		NamespaceLabels:          []string{label},
		render: func(baseline *v1alpha1.SecurityBaseline, _ Namespace) Desired {
			return Desired{NamespaceLabels: map[string]string{label: baseline.Name}}
		},
	}
}
