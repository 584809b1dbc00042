package controls

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	rbacv1 "k8s.io/api/rbac/v1"
)

// AllPowerful says whether rules grant all verbs on all resources, as
// cluster-admin's do, or on all resources a verb by which one obtains the others:
// create makes tokens and pods of any ServiceAccount.
func GrantsAll(rules []rbacv1.PolicyRule) bool {
	return slices.ContainsFunc(rules, func(rule rbacv1.PolicyRule) bool {
		return slices.Contains(rule.Resources, rbacv1.ResourceAll) && slices.Contains(rule.APIGroups, rbacv1.APIGroupAll) &&
			slices.ContainsFunc(rule.Verbs, func(verb string) bool {
				return verb == rbacv1.VerbAll || verb == "create" || slices.ContainsFunc(escalations, func(e escalation) bool { return e.verb == verb })
			})
	})
}

// escalations are the verbs by which one obtains more than one was granted.
// https://kubernetes.io/docs/concepts/security/rbac-good-practices/#privilege-escalation-risks
var escalations = []escalation{
	{"bind", rbacv1.GroupName, []string{"roles", "clusterroles"}},
	{"escalate", rbacv1.GroupName, []string{"roles", "clusterroles"}},
	{"impersonate", "", []string{"users", "groups", "serviceaccounts"}},
}

type escalation struct {
	verb, group string
	resources   []string
}

// Risk says what a binding grants to humans by which they obtain more than was
// meant; empty if nothing. namespaced says that it is a RoleBinding.
func EscalationFinding(binding string, roleRef rbacv1.RoleRef, subjects []rbacv1.Subject, rules []rbacv1.PolicyRule, namespaced bool) string {
	powers := riskyPowers(rules, namespaced)
	var humans []string
	for _, subject := range subjects {
		if subject.Kind != rbacv1.ServiceAccountKind && !IsControlPlaneSubject(subject) {
			humans = append(humans, SubjectName(subject))
		}
	}
	if len(powers) == 0 || len(humans) == 0 {
		return ""
	}
	return fmt.Sprintf("%s, which the operator did not make, grants %s to %s by %s %s; see whether they need it",
		binding, strings.Join(powers, " and "), strings.Join(humans, ", "), roleRef.Kind, roleRef.Name)
}

func riskyPowers(rules []rbacv1.PolicyRule, namespaced bool) []string {
	var powers []string
	for _, rule := range rules {
		everything := slices.Contains(rule.Resources, rbacv1.ResourceAll)
		if everything && slices.Contains(rule.Verbs, rbacv1.VerbAll) {
			power := "all verbs on all resources"
			if !slices.Contains(rule.APIGroups, rbacv1.APIGroupAll) {
				power += " of " + apiGroups(rule.APIGroups)
			}
			powers = append(powers, power)
			continue
		}
		for _, escalation := range escalations {
			grants := slices.Contains(rule.Verbs, escalation.verb) || slices.Contains(rule.Verbs, rbacv1.VerbAll)
			inGroup := slices.Contains(rule.APIGroups, escalation.group) || slices.Contains(rule.APIGroups, rbacv1.APIGroupAll)
			onResource := everything || slices.ContainsFunc(escalation.resources, func(resource string) bool {
				// Kubernetes' own edit and admin let whoever may run pods in a namespace
				// impersonate its ServiceAccounts, which a pod can be anyway.
				return slices.Contains(rule.Resources, resource) && (!namespaced || resource != "serviceaccounts")
			})
			if grants && inGroup && onResource {
				powers = append(powers, escalation.verb)
			}
		}
	}
	slices.Sort(powers)
	return slices.Compact(powers)
}

// apiGroups names API groups for people.
func apiGroups(groups []string) string {
	named := slices.Clone(groups)
	for i := range named {
		named[i] = cmp.Or(named[i], "the core group")
	}
	return strings.Join(named, ", ")
}

// KubernetesOwn says whether a subject is the group system:masters, from which no
// binding can take anything, or a component of the control plane.
func IsControlPlaneSubject(subject rbacv1.Subject) bool {
	switch subject.Kind {
	case rbacv1.GroupKind:
		return subject.Name == "system:masters"
	case rbacv1.UserKind:
		return slices.Contains([]string{"system:apiserver", "system:kube-controller-manager", "system:kube-scheduler"}, subject.Name)
	}
	return false
}

// SubjectName names a subject for people.
func SubjectName(subject rbacv1.Subject) string {
	if subject.Kind == rbacv1.ServiceAccountKind {
		return subject.Kind + " " + subject.Namespace + "/" + subject.Name
	}
	return subject.Kind + " " + subject.Name
}
