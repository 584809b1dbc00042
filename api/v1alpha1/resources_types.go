package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// ControlResources is the control of spec.resources.
const ControlResources ControlName = "Resources"

// Resources limits how much a governed namespace can use. The operator creates
// a LimitRange and a ResourceQuota, both named security-baseline-NAME, in each
// governed namespace.
//
// +kubebuilder:validation:XValidation:rule="has(self.limitRange) || has(self.quota)",message="resources has no effect; add limitRange, quota or both"
// +kubebuilder:validation:XValidation:rule="!has(self.quota) || !('cpu' in self.quota.hard || 'requests.cpu' in self.quota.hard) || (has(self.limitRange) && self.limitRange.limits.exists(l, l.type == 'Container' && ((has(l.defaultRequest) && 'cpu' in l.defaultRequest) || (has(l.default) && 'cpu' in l.default) || (has(l.max) && 'cpu' in l.max) || (has(l.min) && 'cpu' in l.min))))",message="resources.quota counts cpu requests, so pods without one would be rejected; add resources.limitRange with a defaultRequest of cpu for type Container"
// +kubebuilder:validation:XValidation:rule="!has(self.quota) || !('memory' in self.quota.hard || 'requests.memory' in self.quota.hard) || (has(self.limitRange) && self.limitRange.limits.exists(l, l.type == 'Container' && ((has(l.defaultRequest) && 'memory' in l.defaultRequest) || (has(l.default) && 'memory' in l.default) || (has(l.max) && 'memory' in l.max) || (has(l.min) && 'memory' in l.min))))",message="resources.quota counts memory requests, so pods without one would be rejected; add resources.limitRange with a defaultRequest of memory for type Container"
// +kubebuilder:validation:XValidation:rule="!has(self.quota) || !('limits.cpu' in self.quota.hard) || (has(self.limitRange) && self.limitRange.limits.exists(l, l.type == 'Container' && ((has(l.default) && 'cpu' in l.default) || (has(l.max) && 'cpu' in l.max))))",message="resources.quota counts cpu limits, so pods without one would be rejected; add resources.limitRange with a default of cpu for type Container"
// +kubebuilder:validation:XValidation:rule="!has(self.quota) || !('limits.memory' in self.quota.hard) || (has(self.limitRange) && self.limitRange.limits.exists(l, l.type == 'Container' && ((has(l.default) && 'memory' in l.default) || (has(l.max) && 'memory' in l.max))))",message="resources.quota counts memory limits, so pods without one would be rejected; add resources.limitRange with a default of memory for type Container"
type Resources struct {
	// limitRange sets the defaults and the limits of single containers, pods and
	// PersistentVolumeClaims.
	// +optional
	LimitRange *LimitRangeSpec `json:"limitRange,omitempty"`

	// quota limits what the namespace can use in total.
	// +optional
	Quota *ResourceQuotaSpec `json:"quota,omitempty"`
}

// LimitRangeSpec is the spec of a LimitRange, as in core/v1 but with bounded
// lists.
// https://kubernetes.io/docs/concepts/policy/limit-range/
type LimitRangeSpec struct {
	// limits lists the limits, one for each type.
	// +required
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="resources.limitRange.limits is empty; add a limit or remove limitRange"
	Limits []LimitRangeItem `json:"limits,omitempty"`
}

// LimitRangeItem limits what a container, a pod or a PersistentVolumeClaim can
// use.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'Pod' || (!has(self.default) && !has(self.defaultRequest))",message="resources.limitRange.limits of type Pod must not have default or defaultRequest; put them under type Container"
// +kubebuilder:validation:XValidation:rule="self.type != 'PersistentVolumeClaim' || (has(self.min) && 'storage' in self.min) || (has(self.max) && 'storage' in self.max)",message="resources.limitRange.limits of type PersistentVolumeClaim needs min or max for storage"
// +kubebuilder:validation:XValidation:rule="(!has(self.max) || self.max.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim'))) && (!has(self.min) || self.min.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim'))) && (!has(self.default) || self.default.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim'))) && (!has(self.defaultRequest) || self.defaultRequest.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim'))) && (!has(self.maxLimitRequestRatio) || self.maxLimitRequestRatio.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim')))",message="resources.limitRange.limits of type PersistentVolumeClaim can only set storage, and those of other types must not set storage"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min.all(k, !(k in self.max) || quantity(string(self.min[k])).compareTo(quantity(string(self.max[k]))) <= 0)",message="resources.limitRange.limits: min is larger than max, so nothing can meet both; lower min or raise max"
// +kubebuilder:validation:XValidation:rule="!has(self.default) || !has(self.max) || self.default.all(k, !(k in self.max) || quantity(string(self.default[k])).compareTo(quantity(string(self.max[k]))) <= 0)",message="resources.limitRange.limits: default is larger than max; lower default or raise max"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.default) || self.min.all(k, !(k in self.default) || quantity(string(self.min[k])).compareTo(quantity(string(self.default[k]))) <= 0)",message="resources.limitRange.limits: default is smaller than min; raise default or lower min"
// +kubebuilder:validation:XValidation:rule="!has(self.defaultRequest) || !has(self.default) || self.defaultRequest.all(k, !(k in self.default) || quantity(string(self.defaultRequest[k])).compareTo(quantity(string(self.default[k]))) <= 0)",message="resources.limitRange.limits: defaultRequest is larger than default, which is the limit; lower defaultRequest or raise default"
// +kubebuilder:validation:XValidation:rule="!has(self.defaultRequest) || !has(self.max) || self.defaultRequest.all(k, !(k in self.max) || quantity(string(self.defaultRequest[k])).compareTo(quantity(string(self.max[k]))) <= 0)",message="resources.limitRange.limits: defaultRequest is larger than max; lower defaultRequest or raise max"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.defaultRequest) || self.min.all(k, !(k in self.defaultRequest) || quantity(string(self.min[k])).compareTo(quantity(string(self.defaultRequest[k]))) <= 0)",message="resources.limitRange.limits: defaultRequest is smaller than min; raise defaultRequest or lower min"
// +kubebuilder:validation:XValidation:rule="!has(self.defaultRequest) || self.defaultRequest.all(k, !(k.contains('/') || k.startsWith('hugepages-')) || quantity(string(self.defaultRequest[k])).compareTo(quantity(string(has(self.default) && k in self.default ? self.default[k] : has(self.max) && k in self.max ? self.max[k] : self.defaultRequest[k]))) == 0)",message="resources.limitRange.limits: for hugepages and device resources, request and limit must be equal; make defaultRequest equal to default, or to max if there is no default"
// +kubebuilder:validation:XValidation:rule="!has(self.maxLimitRequestRatio) || self.maxLimitRequestRatio.all(k, quantity(string(self.maxLimitRequestRatio[k])).compareTo(quantity('1')) >= 0)",message="resources.limitRange.limits: maxLimitRequestRatio is less than 1, but a limit is never less than the request; raise it"
// +kubebuilder:validation:XValidation:rule="!has(self.maxLimitRequestRatio) || !has(self.min) || !has(self.max) || self.maxLimitRequestRatio.all(k, !(k in self.min) || !(k in self.max) || (quantity(string(self.max[k])).isLessThan(quantity('9P')) && quantity(string(self.maxLimitRequestRatio[k])).isLessThan(quantity('9P')) && (quantity(string(self.min[k])).compareTo(quantity('0')) == 0 || (!quantity(string(self.min[k])).isLessThan(quantity('1m')) && quantity(string(self.maxLimitRequestRatio[k])).asApproximateFloat() <= quantity(string(self.max[k])).asApproximateFloat() / quantity(string(self.min[k])).asApproximateFloat()))))",message="resources.limitRange.limits: maxLimitRequestRatio is larger than max divided by min, which no limit can reach; lower it, and keep min at 1m or more and the others below 9P"
type LimitRangeItem struct {
	// type is what the limits apply to: Container, Pod or PersistentVolumeClaim.
	// +required
	// +kubebuilder:validation:Enum=Container;Pod;PersistentVolumeClaim
	Type corev1.LimitType `json:"type,omitempty"`

	// max is the highest allowed limit of each resource.
	// +optional
	Max LimitedResources `json:"max,omitempty"`

	// min is the lowest allowed request of each resource.
	// +optional
	Min LimitedResources `json:"min,omitempty"`

	// default is the limit of a container that does not set one. Example: {memory:
	// 256Mi}.
	// +optional
	Default LimitedResources `json:"default,omitempty"`

	// defaultRequest is the request of a container that does not set one. Example:
	// {cpu: 50m, memory: 64Mi}.
	// +optional
	DefaultRequest LimitedResources `json:"defaultRequest,omitempty"`

	// maxLimitRequestRatio is the highest allowed ratio of limit to request.
	// +optional
	MaxLimitRequestRatio LimitedResources `json:"maxLimitRequestRatio,omitempty"`
}

// LimitedResources are quantities of resources that a container or a
// PersistentVolumeClaim can request.
//
// +kubebuilder:validation:MaxProperties=16
// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['cpu', 'memory', 'ephemeral-storage', 'storage'] || k.matches('^hugepages-[1-9][0-9]{0,5}[KMGT]i$') || (k.contains('/') && !k.contains('kubernetes.io/') && !k.startsWith('requests.') && !format.qualifiedName().validate('requests.' + k).hasValue()))",message="resources.limitRange.limits must name container resources, such as cpu, memory, ephemeral-storage, hugepages-2Mi or example.com/gpu, or storage for PersistentVolumeClaims"
type LimitedResources map[corev1.ResourceName]resource.Quantity

// ResourceQuotaSpec is the spec of a ResourceQuota, as in core/v1 but with
// bounded lists.
// https://kubernetes.io/docs/concepts/policy/resource-quotas/
//
// +kubebuilder:validation:XValidation:rule="!has(self.scopes) || (!('BestEffort' in self.scopes && 'NotBestEffort' in self.scopes) && !('Terminating' in self.scopes && 'NotTerminating' in self.scopes))",message="resources.quota.scopes contains two scopes that exclude each other, so nothing would be counted; keep one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.scopes) || !('BestEffort' in self.scopes) || self.hard.all(k, k == 'pods' || k == 'count/pods')",message="resources.quota.scopes contains BestEffort, whose pods have no requests and no limits; hard can only count pods"
// +kubebuilder:validation:XValidation:rule="!has(self.scopes) || size(self.scopes) == 0 || self.hard.all(k, k.contains('/') || k in ['pods', 'cpu', 'memory', 'requests.cpu', 'requests.memory', 'limits.cpu', 'limits.memory'])",message="resources.quota.scopes apply only to pods; hard can then only contain pods, cpu, memory, their requests and limits, and names with a '/'; remove scopes or the other names"
// +kubebuilder:validation:XValidation:rule="!has(self.scopeSelector) || !has(self.scopeSelector.matchExpressions) || size(self.scopeSelector.matchExpressions) == 0 || self.hard.all(k, k.contains('/') || k in ['pods', 'cpu', 'memory', 'requests.cpu', 'requests.memory', 'limits.cpu', 'limits.memory'])",message="resources.quota.scopeSelector applies only to pods; hard can then only contain pods, cpu, memory, their requests and limits, and names with a '/'; remove scopeSelector or the other names"
// +kubebuilder:validation:XValidation:rule="!has(self.scopeSelector) || !has(self.scopeSelector.matchExpressions) || !self.scopeSelector.matchExpressions.exists(e, e.scopeName == 'BestEffort') || self.hard.all(k, k == 'pods' || k.contains('/'))",message="resources.quota.scopeSelector contains BestEffort, whose pods have no requests and no limits; hard can only count pods"
type ResourceQuotaSpec struct {
	// hard is the maximum that the whole namespace can use of each resource.
	// Example: {pods: "100", requests.cpu: "8"}.
	// +required
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="resources.quota.hard is empty; add a resource or remove quota"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['pods', 'services', 'secrets', 'configmaps', 'persistentvolumeclaims', 'replicationcontrollers', 'resourcequotas', 'services.loadbalancers', 'services.nodeports', 'cpu', 'memory', 'ephemeral-storage', 'requests.cpu', 'requests.memory', 'requests.storage', 'requests.ephemeral-storage', 'limits.cpu', 'limits.memory', 'limits.ephemeral-storage'] || k.matches('^(requests[.])?hugepages-[1-9][0-9]{0,5}[KMGT]i$') || (k.contains('/') && !format.qualifiedName().validate(k).hasValue()))",message="resources.quota.hard must name resources that Kubernetes can count, such as pods, requests.cpu, limits.memory, count/deployments.apps or requests.example.com/gpu"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !(k in ['pods', 'services', 'secrets', 'configmaps', 'persistentvolumeclaims', 'replicationcontrollers', 'resourcequotas', 'services.loadbalancers', 'services.nodeports'] || (k.contains('/') && !k.startsWith('requests.'))) || (quantity(string(self[k])).isInteger() && quantity(string(self[k])).compareTo(quantity('9P')) <= 0))",message="resources.quota.hard must have whole numbers for objects and for names with a '/'"
	Hard corev1.ResourceList `json:"hard,omitempty"`

	// scopes limits the quota to the pods that match all of these scopes. If it is
	// absent, the quota counts everything.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:Enum=Terminating;NotTerminating;BestEffort;NotBestEffort;PriorityClass;CrossNamespacePodAffinity
	Scopes []corev1.ResourceQuotaScope `json:"scopes,omitempty"`

	// scopeSelector limits the quota to the pods that match all of its
	// expressions. Unlike scopes, it can select by the name of a PriorityClass.
	// +optional
	ScopeSelector *ScopeSelector `json:"scopeSelector,omitempty"`
}

// ScopeSelector is the ScopeSelector of core/v1 with bounded lists.
//
// +structType=atomic
type ScopeSelector struct {
	// matchExpressions are requirements. A pod must meet all of them.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="!(self.exists(e, e.scopeName == 'BestEffort') && self.exists(e, e.scopeName == 'NotBestEffort')) && !(self.exists(e, e.scopeName == 'Terminating') && self.exists(e, e.scopeName == 'NotTerminating'))",message="resources.quota.scopeSelector contains two scopes that exclude each other, so nothing would be counted; keep one of them"
	MatchExpressions []ScopedResourceSelectorRequirement `json:"matchExpressions,omitempty"`
}

// ScopedResourceSelectorRequirement is a requirement on the pods that a quota
// counts.
//
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",message="operators In and NotIn need values; Exists and DoesNotExist must not have values"
// +kubebuilder:validation:XValidation:rule="self.scopeName == 'PriorityClass' || self.operator == 'Exists'",message="only the scope PriorityClass has values; set the operator to Exists"
type ScopedResourceSelectorRequirement struct {
	// scopeName is the scope: Terminating, NotTerminating, BestEffort,
	// NotBestEffort, PriorityClass or CrossNamespacePodAffinity.
	// +required
	// +kubebuilder:validation:Enum=Terminating;NotTerminating;BestEffort;NotBestEffort;PriorityClass;CrossNamespacePodAffinity
	ScopeName corev1.ResourceQuotaScope `json:"scopeName,omitempty"`

	// operator compares the scope with values: In, NotIn, Exists or DoesNotExist.
	// For scopes other than PriorityClass, it must be Exists.
	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator corev1.ScopeSelectorOperator `json:"operator,omitempty"`

	// values are the names of PriorityClasses for the operators In and NotIn.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	Values []string `json:"values,omitempty"`
}

// ToUpstream returns the selector as the Kubernetes type. A nil selector stays
// nil.
func (s *ScopeSelector) ToUpstream() *corev1.ScopeSelector {
	if s == nil {
		return nil
	}
	out := &corev1.ScopeSelector{}
	for _, requirement := range s.DeepCopy().MatchExpressions {
		out.MatchExpressions = append(out.MatchExpressions, corev1.ScopedResourceSelectorRequirement(requirement))
	}
	return out
}
