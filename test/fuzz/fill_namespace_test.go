package fuzz

import (
	"strings"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/randfill"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// fillNamespace fills in a namespace that can exist in a cluster.
func fillNamespace(namespace *controls.Namespace, c randfill.Continue) {
	namespace.Name = pick(c, namespaces)
	namespace.Labels = map[string]string{corev1.LabelMetadataName: namespace.Name}
	add := func(key string, values ...string) {
		if !c.Bool() {
			return
		}
		namespace.Labels[key] = pick(c, values)
		if c.Bool() {
			namespace.OwnedLabels.Insert(key)
		}
	}
	namespace.OwnedLabels = sets.New[string]()
	for _, key := range labels {
		add(key, "a", "team-a", "", "v1.2_3-B", strings.Repeat("v", 63))
	}
	for _, control := range controls.All {
		for i, key := range control.NamespaceLabels {
			if i == 0 {
				add(key, "baseline", "other")
				continue
			}
			add(key, "privileged", "baseline", "restricted", "latest", "v1.30", "true", "nonsense")
		}
	}
	var policies []v1alpha1.NamedNetworkPolicy
	c.Fill(&policies)
	for i := range policies {
		namespace.Unmanaged = append(namespace.Unmanaged, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: policies[i].Name}, Spec: policies[i].Spec.ToUpstream()})
	}
	namespace.RoleRules = map[rbacv1.RoleRef][]rbacv1.PolicyRule{}
	for range c.Intn(3) {
		role := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: pick(c, names)}
		all := []string{rbacv1.ResourceAll}
		namespace.RoleRules[role] = []rbacv1.PolicyRule{{
			APIGroups: pick(c, [][]string{all, {""}, {rbacv1.GroupName}}), Resources: pick(c, [][]string{all, {"roles", "users"}}), Verbs: pick(c, [][]string{all, {"bind"}, {"get"}}),
		}}
		namespace.Unmanaged = append(namespace.Unmanaged, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: pick(c, names)}, RoleRef: role, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: pick(c, subjectNames)}},
		})
	}
	namespace.HasDefaultDeny = c.Bool()
	if c.Bool() {
		spec := v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline", Version: pick(c, versions)}}
		c.Fill(&spec.PodSecurity.Enforce)
		namespace.ReachedLevel = controls.All[0].EnforcedLevel(&spec)
	}
}
