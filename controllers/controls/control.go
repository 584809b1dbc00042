// Package controls says what a baseline means: one file a control, all listed in
// All. It is pure: from a baseline and what was observed of a namespace to the
// objects that should be there. It knows no client, no clock and no cluster.
package controls

import (
	"encoding/json"
	"fmt"
	"hash/fnv"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	podsecurityapi "k8s.io/pod-security-admission/api"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Control is one kind of hardening.
type Control struct {
	Name v1alpha1.ControlName

	// Declared says whether a baseline declares the control.
	IsDeclared func(*v1alpha1.SecurityBaselineSpec) bool

	// NamespaceLabels are the keys of the labels that the control may set on the
	// namespace itself. The first bears the name of the baseline that set them.
	NamespaceLabels []string

	// EnforcedLevel returns the pod-security level that a baseline that declares
	// the control asks to be enforced, if the control is about pod security. Pods
	// that run and are rejected by it are to be known.
	EnforcedLevel func(*v1alpha1.SecurityBaselineSpec) podsecurityapi.LevelVersion

	// render returns what a baseline that declares the control asks of a
	// namespace.
	render func(*v1alpha1.SecurityBaseline, Namespace) Desired
}

// All lists every control, in the order in which they are reported.
var All = []Control{podSecurity, network, rbac, serviceAccounts, resources, images, workloads, guard}

// Namespace is what is observed of a governed namespace.
type Namespace struct {
	Name   string
	Labels map[string]string

	// OwnLabels are the keys of the labels that the operator, and nobody else,
	// set.
	OwnedLabels sets.Set[string]

	// Others are the objects in it, of the kinds that the operator makes, that
	// the operator did not make.
	Unmanaged []Object

	// Roles are the rules of the roles that the RoleBindings among them refer to,
	// where such a role exists.
	RoleRules map[rbacv1.RoleRef][]rbacv1.PolicyRule

	// Denied says that the default-deny policy is there, as the baseline asks for it.
	HasDefaultDeny bool

	// Enforced is the pod-security level that rollout WhenClean has reached: the
	// highest that the running pods met. The zero value is none.
	ReachedLevel podsecurityapi.LevelVersion
}

// Desired is what a control asks of one namespace.
type Desired struct {
	// Objects are wholly the operator's: every field is stated, what the API
	// server would default included. Of a ServiceAccount, which Kubernetes makes,
	// only the stated fields are.
	Objects []Object

	// NamespaceLabels are labels on the namespace itself.
	NamespaceLabels map[string]string

	// KeptLabels are keys of NamespaceLabels that are left to whoever set them,
	// because what they set is stricter.
	StricterLabels sets.Set[string]

	// Violations are what the baseline forbids and the operator does not touch.
	Violations []string

	// Findings are worth knowing to the people of the namespace.
	Findings []string
}

// Render returns what the baseline asks of the namespace under this control.
func (c Control) Render(baseline *v1alpha1.SecurityBaseline, namespace Namespace) Desired {
	desired := c.render(baseline, namespace)
	for _, object := range desired.Objects {
		object.SetNamespace(namespace.Name)
		labels := map[string]string{v1alpha1.BaselineLabel: baseline.Name, v1alpha1.ControlLabel: string(c.Name)}
		if _, shared := object.(*corev1.ServiceAccount); !shared {
			labels[v1alpha1.ManagedByLabel] = v1alpha1.ManagedByValue
		}
		object.SetLabels(labels)
	}
	return desired
}

// Revision is a fingerprint of something that is asked for: an object, or the
// labels of the namespace. It is equal for what is equal.
func Revision(asked any) string {
	hash := fnv.New64a()
	// Marshalling Kubernetes' own types cannot fail, and sorts maps by key.
	if err := json.NewEncoder(hash).Encode(asked); err != nil {
		panic(fmt.Sprintf("marshalling what is asked for: %v", err))
	}
	return fmt.Sprintf("%016x", hash.Sum64())
}

// objectMeta names an object; Render adds the rest.
func objectMeta(name string) metav1.ObjectMeta {
	return metav1.ObjectMeta{Name: v1alpha1.ObjectNamePrefix + name}
}
