package fuzz

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	"sigs.k8s.io/randfill"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// fillLimits mostly produces consistent limits: minimum, default request, default and
// maximum in increasing order.
func fillLimits(limits *v1alpha1.LimitRangeSpec, c randfill.Continue) {
	kinds := []corev1.LimitType{corev1.LimitTypeContainer, corev1.LimitTypePod, corev1.LimitTypePersistentVolumeClaim}
	for _, kind := range append(pickSome(c, 2, kinds[1:]), kinds[:1]...) {
		of := containerResources
		if kind == corev1.LimitTypePersistentVolumeClaim {
			of = []corev1.ResourceName{"storage"}
		}
		item := v1alpha1.LimitRangeItem{
			Type: kind, Max: v1alpha1.LimitedResources{}, Min: v1alpha1.LimitedResources{}, Default: v1alpha1.LimitedResources{},
			DefaultRequest: v1alpha1.LimitedResources{}, MaxLimitRequestRatio: v1alpha1.LimitedResources{},
		}
		for _, name := range append(pickSome(c, 2, of), of[0]) {
			four := []resource.Quantity{quantity(c), quantity(c), quantity(c), quantity(c)}
			if !rarely(c) {
				slices.SortFunc(four, func(a, b resource.Quantity) int { return a.Cmp(b) })
			}
			lists := []v1alpha1.LimitedResources{item.Min, item.DefaultRequest, item.Default, item.Max}
			for i, list := range lists {
				if c.Bool() && (kind == corev1.LimitTypeContainer || i == 0 || i == 3) {
					list[name] = four[i]
				}
			}
			if rarely(c) {
				item.MaxLimitRequestRatio[name] = quantity(c)
			}
		}
		limits.Limits = append(limits.Limits, item)
	}
}

func quantity(c randfill.Continue) resource.Quantity {
	return resource.MustParse(pick(c, quantities))
}

func fillQuota(quota *v1alpha1.ResourceQuotaSpec, c randfill.Continue) {
	of := quotaResources
	switch c.Intn(3) {
	case 0:
		quota.Scopes = pickSome(c, 2, scopes)
		of = podQuotaResources
	case 1:
		quota.ScopeSelector = &v1alpha1.ScopeSelector{}
		of = podQuotaResources
		for range c.Intn(3) {
			requirement := v1alpha1.ScopedResourceSelectorRequirement{ScopeName: pick(c, scopes), Operator: corev1.ScopeSelectorOpExists}
			if requirement.ScopeName == corev1.ResourceQuotaScopePriorityClass && c.Bool() {
				requirement.Operator = corev1.ScopeSelectorOpIn
				requirement.Values = []string{"high", pick(c, names)}
			}
			if rarely(c) {
				requirement.Operator = pick(c, []corev1.ScopeSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist"})
			}
			quota.ScopeSelector.MatchExpressions = append(quota.ScopeSelector.MatchExpressions, requirement)
		}
	}
	if rarely(c) {
		of = quotaResources
	}
	quota.Hard = corev1.ResourceList{}
	for _, name := range append(pickSome(c, 2, of), of[0]) {
		quota.Hard[name] = pick(c, []resource.Quantity{resource.MustParse("4"), resource.MustParse("1Ki"), quantity(c)})
	}
}

// fillResources often adds the LimitRange that the CRD requires for a quota on requests
// or limits.
func fillResources(resources *v1alpha1.Resources, c randfill.Continue) {
	c.FillNoCustom(resources)
	if resources.Quota == nil || c.Bool() {
		return
	}
	half := resource.MustParse("500m")
	one := resource.MustParse("1")
	resources.LimitRange = &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, DefaultRequest: v1alpha1.LimitedResources{"cpu": half, "memory": half}, Default: v1alpha1.LimitedResources{"cpu": one, "memory": one},
	}}}
}
