// Package controls defines what a baseline means: one file a control, all listed in
// All. It is pure: functions from a baseline and what the operator observed of a
// namespace to the objects that the baseline expects there. It depends on no client, no
// clock and no cluster.
package controls

import (
	"encoding/json"
	"fmt"
	"hash/fnv"

	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	podsecurityapi "k8s.io/pod-security-admission/api"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Control is one kind of hardening. Everything that the operator does for a control
// follows from this description.
type Control struct {
	Name v1alpha1.ControlName

	// Section is the name of the control's section in the spec of a baseline.
	Section string

	// IsDeclared reports whether a baseline declares the control.
	IsDeclared func(*v1alpha1.SecurityBaselineSpec) bool

	// Manages are the kinds of objects that the control creates, reverts and removes
	// in governed namespaces.
	Manages []*Kind

	// Observes are the kinds of objects that the control reads in governed namespaces.
	// The operator never writes or removes an object of a kind that is only observed.
	Observes []*Kind

	// NamespaceLabels are the keys of the labels that the control can set on the
	// namespace itself. The value of the first is the name of the baseline that set
	// them.
	NamespaceLabels []string

	// ShouldLabelNewNamespaces reports whether a baseline sets some of these labels when a
	// namespace is created, inside the API server. It is nil if no baseline does.
	ShouldLabelNewNamespaces func(*v1alpha1.SecurityBaselineSpec) bool

	// Policies are the admission policies that enforce the control.
	Policies []AdmissionPolicy

	// EnforcedLevel returns the pod-security level that a baseline that declares the
	// control enforces in the end. It is nil unless the control is about pod security.
	EnforcedLevel func(*v1alpha1.SecurityBaselineSpec) podsecurityapi.LevelVersion

	// render returns what a baseline that declares the control expects of a namespace.
	render func(*v1alpha1.SecurityBaseline, Namespace) Desired
}

// All lists every control, in the order in which they are reported. To add a control,
// see CONTRIBUTING.md.
var All = []Control{podSecurity, network, rbac, serviceAccounts, resources, images, workloads, guard}

// Namespace is what the operator observed of a governed namespace.
type Namespace struct {
	Name   string
	Labels map[string]string

	// OwnedLabels are the keys of the labels that only the operator owns.
	OwnedLabels sets.Set[string]

	// Unmanaged are the objects in the namespace, of the kinds that controls manage or
	// observe, that the operator does not manage.
	Unmanaged []Object

	// RoleRules are the rules of the roles that RoleBindings in the namespace refer to.
	// A role that does not exist has none.
	RoleRules map[rbacv1.RoleRef][]rbacv1.PolicyRule

	// HasDefaultDeny reports whether the default-deny policy that the baseline expects
	// is in place.
	HasDefaultDeny bool

	// ReachedLevel is the pod-security level that rollout WhenClean has reached: the
	// highest that the running pods met. The zero value is none.
	ReachedLevel podsecurityapi.LevelVersion
}

// Desired is what a control expects of one namespace.
type Desired struct {
	// Objects are managed objects: every field is stated, including those that the API
	// server would default. A shared object states only the owned fields.
	Objects []Object

	// NamespaceLabels are labels on the namespace itself.
	NamespaceLabels map[string]string

	// StricterLabels are keys of NamespaceLabels that the operator leaves to the
	// namespace's owner, who set a stricter value.
	StricterLabels sets.Set[string]

	// Violations are what the baseline forbids and the operator does not change.
	Violations []string

	// Findings are worth knowing to the people of the namespace.
	Findings []string
}

// Render returns what the baseline expects of the namespace under this control.
func (c Control) Render(baseline *v1alpha1.SecurityBaseline, namespace Namespace) Desired {
	desired := c.render(baseline, namespace)
	for _, object := range desired.Objects {
		object.SetNamespace(namespace.Name)
		labels := map[string]string{v1alpha1.BaselineLabel: baseline.Name, v1alpha1.ControlLabel: string(c.Name)}
		if !IsShared(object) {
			labels[v1alpha1.ManagedByLabel] = v1alpha1.ManagedByValue
		}
		object.SetLabels(labels)
	}
	return desired
}

// Revision returns a fingerprint of an expected object, or of expected labels of the
// namespace. Equal values have equal revisions.
func Revision(expected any) string {
	hash := fnv.New64a()
	// Marshalling Kubernetes' own types cannot fail, and sorts maps by key.
	if err := json.NewEncoder(hash).Encode(expected); err != nil {
		panic(fmt.Sprintf("marshalling what a baseline expects: %v", err))
	}
	return fmt.Sprintf("%016x", hash.Sum64())
}

// objectMeta names an object; Render adds the rest.
func objectMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: v1alpha1.ObjectNamePrefix + name}
}
