package controls

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// escalations are the verbs through which a subject can obtain more permissions
// than it was granted.
// https://kubernetes.io/docs/concepts/security/rbac-good-practices/#privilege-escalation-risks
var escalations = []escalation{
	{verb: "bind", apiGroup: rbacv1.GroupName, resources: []string{"roles", "clusterroles"}},
	{verb: "escalate", apiGroup: rbacv1.GroupName, resources: []string{"roles", "clusterroles"}},
	{verb: "impersonate", apiGroup: "", resources: []string{"users", "groups", "serviceaccounts"}},
}

type escalation struct {
	verb, apiGroup string
	resources      []string
}

// EscalationFinding names the permissions for privilege escalation that a binding
// grants to users and groups. It returns "" if there are none. isNamespaced is true
// for a RoleBinding.
func EscalationFinding(binding string, roleRef rbacv1.RoleRef, subjects []rbacv1.Subject, rules []rbacv1.PolicyRule, isNamespaced bool) string {
	permissions := escalatingPermissions(rules, isNamespaced)
	var humans []string
	for _, subject := range subjects {
		if subject.Kind != rbacv1.ServiceAccountKind && !IsControlPlaneSubject(subject) {
			humans = append(humans, SubjectName(subject))
		}
	}
	if len(permissions) == 0 || len(humans) == 0 {
		return ""
	}
	return fmt.Sprintf("%s is not managed by the operator and grants %s to %s through %s %s; check whether they need it",
		binding, strings.Join(permissions, " and "), strings.Join(humans, ", "), roleRef.Kind, roleRef.Name)
}

// escalatingPermissions describes what rules grant that allows privilege
// escalation, sorted and without duplicates.
func escalatingPermissions(rules []rbacv1.PolicyRule, isNamespaced bool) []string {
	var permissions []string
	for _, rule := range rules {
		if slices.Contains(rule.Resources, rbacv1.ResourceAll) && slices.Contains(rule.Verbs, rbacv1.VerbAll) {
			permission := "all verbs on all resources"
			if !slices.Contains(rule.APIGroups, rbacv1.APIGroupAll) {
				permission += " in " + joinAPIGroups(rule.APIGroups)
			}
			permissions = append(permissions, permission)
			continue
		}
		for _, e := range escalations {
			if e.isGrantedBy(rule, isNamespaced) {
				permissions = append(permissions, e.verb)
			}
		}
	}
	slices.Sort(permissions)
	return slices.Compact(permissions)
}

// isGrantedBy reports whether a rule grants the verb on one of its resources.
func (e escalation) isGrantedBy(rule rbacv1.PolicyRule, isNamespaced bool) bool {
	hasVerb := slices.Contains(rule.Verbs, e.verb) || slices.Contains(rule.Verbs, rbacv1.VerbAll)
	hasGroup := slices.Contains(rule.APIGroups, e.apiGroup) || slices.Contains(rule.APIGroups, rbacv1.APIGroupAll)
	hasResource := slices.Contains(rule.Resources, rbacv1.ResourceAll) || slices.ContainsFunc(e.resources, func(resource string) bool {
		// The default roles edit and admin allow users to impersonate the
		// ServiceAccounts of a namespace. These users can run pods there, and a pod can
		// use any of these ServiceAccounts anyway.
		return slices.Contains(rule.Resources, resource) && (!isNamespaced || resource != "serviceaccounts")
	})
	return hasVerb && hasGroup && hasResource
}

// joinAPIGroups lists API groups for a message.
func joinAPIGroups(groups []string) string {
	names := slices.Clone(groups)
	for i := range names {
		names[i] = cmp.Or(names[i], "the core group")
	}
	return strings.Join(names, ", ")
}

// IsControlPlaneSubject reports whether a subject is a component of the control
// plane or the group system:masters, whose permissions no binding can reduce.
func IsControlPlaneSubject(subject rbacv1.Subject) bool {
	switch subject.Kind {
	case rbacv1.GroupKind:
		return subject.Name == "system:masters"
	case rbacv1.UserKind:
		return slices.Contains([]string{"system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"}, subject.Name)
	}
	return false
}

// SubjectName returns the name of a subject for a message, with its kind and, for a
// ServiceAccount, its namespace.
func SubjectName(subject rbacv1.Subject) string {
	if subject.Kind == rbacv1.ServiceAccountKind {
		return subject.Kind + " " + subject.Namespace + "/" + subject.Name
	}
	return subject.Kind + " " + subject.Name
}
