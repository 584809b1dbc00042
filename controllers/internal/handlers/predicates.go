package handlers

import (
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// SpecOrFinalizerChanged passes the events of a SecurityBaseline that can change what is applied.
// It ignores updates of the status.
func SpecOrFinalizerChanged() predicate.Predicate {
	isMissing := func(object client.Object) bool {
		return precedence.MissingFinalizer(object.(*v1alpha1.SecurityBaseline))
	}
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return isMissing(e.ObjectOld) != isMissing(e.ObjectNew) },
	})
}

// RulesChanged ignores updates of a Role or a ClusterRole that do not change its rules.
func RulesChanged() predicate.Predicate {
	rulesOf := func(object client.Object) []rbacv1.PolicyRule {
		if role, ok := object.(*rbacv1.Role); ok {
			return role.Rules
		}
		return object.(*rbacv1.ClusterRole).Rules
	}
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !equality.Semantic.DeepEqual(rulesOf(e.ObjectOld), rulesOf(e.ObjectNew))
	}}
}
