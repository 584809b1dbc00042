package controls

import (
	"maps"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Names of the objects, without the prefix.
const (
	limitRangeName = "limits"
	quotaName      = "quota"
)

// resources limits the resources that a namespace and its containers can use.
// https://kubernetes.io/docs/concepts/policy/limit-range/
// https://kubernetes.io/docs/concepts/policy/resource-quotas/
var resources = Control{
	Name:       v1alpha1.ControlResources,
	Section:    "resources",
	IsDeclared: func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Resources != nil },
	Manages:    []*Kind{limitRanges, resourceQuotas},
	render:     renderResources,
}

// +kubebuilder:rbac:groups="",resources=limitranges,verbs=get;list;watch;create;update;delete

var limitRanges = &Kind{
	Object: &corev1.LimitRange{},
	List:   &corev1.LimitRangeList{},
	ManagedFields: func(object Object) []Field {
		return []Field{{Path: fieldpath.MakePathOrDie("spec", "limits"), Value: object.(*corev1.LimitRange).Spec.Limits}}
	},
	SetManagedFields: func(actual, expected Object) {
		actual.(*corev1.LimitRange).Spec = expected.(*corev1.LimitRange).Spec
	},
	HasManagedNamesOnly: true,
}

// +kubebuilder:rbac:groups="",resources=resourcequotas,verbs=get;list;watch;create;update;delete

var resourceQuotas = &Kind{
	Object: &corev1.ResourceQuota{},
	List:   &corev1.ResourceQuotaList{},
	ManagedFields: func(object Object) []Field {
		spec := &object.(*corev1.ResourceQuota).Spec
		return []Field{
			{Path: fieldpath.MakePathOrDie("spec", "hard"), Value: spec.Hard},
			{Path: quotaScopesPath, Value: spec.Scopes},
			{Path: quotaScopeSelectorPath, Value: spec.ScopeSelector},
		}
	},
	SetManagedFields: func(actual, expected Object) {
		actual.(*corev1.ResourceQuota).Spec = expected.(*corev1.ResourceQuota).Spec
	},
	Immutable:           []fieldpath.Path{quotaScopesPath, quotaScopeSelectorPath},
	HasManagedNamesOnly: true,
	Strip:               func(object Object) { object.(*corev1.ResourceQuota).Status = corev1.ResourceQuotaStatus{} },
	// The status changes with every pod.
	IsChanged: func(before, after Object) bool {
		return !equality.Semantic.DeepEqual(before.(*corev1.ResourceQuota).Spec, after.(*corev1.ResourceQuota).Spec) ||
			!maps.Equal(before.GetLabels(), after.GetLabels())
	},
}

var (
	quotaScopesPath        = fieldpath.MakePathOrDie("spec", "scopes")
	quotaScopeSelectorPath = fieldpath.MakePathOrDie("spec", "scopeSelector")
)

func renderResources(baseline *v1alpha1.SecurityBaseline, _ Namespace) Desired {
	var desired Desired
	spec := baseline.Spec.Resources.DeepCopy()
	// The LimitRange comes first because a quota counts the defaults that it sets.
	if spec.LimitRange != nil {
		limits := &corev1.LimitRange{ObjectMeta: objectMeta(limitRangeName)}
		for _, item := range spec.LimitRange.Limits {
			limits.Spec.Limits = append(limits.Spec.Limits, limitRangeItem(item))
		}
		desired.Objects = append(desired.Objects, limits)
	}
	if spec.Quota != nil {
		desired.Objects = append(desired.Objects, &corev1.ResourceQuota{
			ObjectMeta: objectMeta(quotaName),
			Spec: corev1.ResourceQuotaSpec{
				Hard: roundUp(spec.Quota.Hard), Scopes: spec.Quota.Scopes, ScopeSelector: spec.Quota.ScopeSelector.ToUpstream(),
			},
		})
	}
	return desired
}

// limitRangeItem converts an item and sets the fields that the API server would
// default, so that the defaults do not look like drift.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/core/v1/defaults.go
func limitRangeItem(item v1alpha1.LimitRangeItem) corev1.LimitRangeItem {
	limits := corev1.LimitRangeItem{
		Type: item.Type, Max: roundUp(item.Max), Min: roundUp(item.Min),
		Default: roundUp(item.Default), DefaultRequest: roundUp(item.DefaultRequest), MaxLimitRequestRatio: roundUp(item.MaxLimitRequestRatio),
	}
	if item.Type == corev1.LimitTypeContainer {
		limits.Default = withDefaults(limits.Default, limits.Max)
		limits.DefaultRequest = withDefaults(withDefaults(limits.DefaultRequest, limits.Default), limits.Min)
	}
	return limits
}

// withDefaults returns list, completed by the entries of defaults that it lacks.
func withDefaults(list, defaults corev1.ResourceList) corev1.ResourceList {
	all := maps.Clone(defaults)
	if all == nil {
		return list
	}
	maps.Copy(all, list)
	return all
}

// roundUp rounds quantities up to thousandths in place, as the API server does.
func roundUp(list map[corev1.ResourceName]resource.Quantity) corev1.ResourceList {
	for name, quantity := range list {
		quantity.RoundUp(resource.Milli)
		list[name] = quantity
	}
	return list
}
