package fuzz

import (
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
	"sigs.k8s.io/randfill"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func fillRBAC(rbac *v1alpha1.RBAC, c randfill.Continue) {
	c.FillNoCustom(rbac)
	rbac.RoleBindings = distinct(rbac.RoleBindings, func(b *v1alpha1.NamedRoleBinding) string { return b.Name })
	if len(rbac.RoleBindings) == 0 && rbac.ClusterAdmin == nil {
		rbac.RoleBindings = make([]v1alpha1.NamedRoleBinding, 1)
		c.Fill(&rbac.RoleBindings[0])
	}
}

func fillBinding(binding *v1alpha1.NamedRoleBinding, c randfill.Continue) {
	c.FillNoCustom(binding)
	binding.Name = pick(c, names)
	if len(binding.Subjects)+len(binding.SubjectsFrom) == 0 {
		binding.Subjects = make([]v1alpha1.Subject, 1)
		c.Fill(&binding.Subjects[0])
	}
}

func fillRoleRef(role *v1alpha1.RoleRef, c randfill.Continue) {
	role.APIGroup = pick(c, []string{"", rbacv1.GroupName})
	role.Kind = pick(c, []string{"Role", "ClusterRole"})
	role.Name = pick(c, []string{"view", "system:aggregate-to-view", "Ü", "a:b", strings.Repeat("r", 253)})
}

func fillSubject(subject *v1alpha1.Subject, c randfill.Continue) {
	subject.Kind = pick(c, []string{rbacv1.UserKind, rbacv1.GroupKind})
	subject.Name = pick(c, subjectNames)
	if c.Bool() {
		subject.Kind = rbacv1.ServiceAccountKind
		subject.Name = pick(c, names)
		subject.Namespace = pick(c, namespaces)
	}
	if c.Bool() {
		subject.APIGroup = new(rbacv1.GroupName)
		if subject.Kind == rbacv1.ServiceAccountKind {
			subject.APIGroup = new("")
		}
	}
}

func fillSubjectFrom(from *v1alpha1.SubjectFrom, c randfill.Continue) {
	from.Kind = pick(c, []string{rbacv1.UserKind, rbacv1.GroupKind})
	from.Prefix = pick(c, []string{"", "oidc:", "system", strings.Repeat("p", 253)})
	from.Label = pick(c, labels)
}
