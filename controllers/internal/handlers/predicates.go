package handlers

import (
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/predicate"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// SpecOrFinalizerChanged passes the events of a SecurityBaseline that can change what is applied.
// It ignores updates of the status.
func SpecOrFinalizerChanged() predicate.Predicate {
	isMissing := func(object client.Object) bool {
		return precedence.IsMissingFinalizer(object.(*v1alpha1.SecurityBaseline))
	}
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool { return isMissing(e.ObjectOld) != isMissing(e.ObjectNew) },
	})
}

// RulesChanged ignores updates of a Role or a ClusterRole that do not change its rules.
func RulesChanged() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool { return !controls.HasEqualRules(e.ObjectOld, e.ObjectNew) }}
}
