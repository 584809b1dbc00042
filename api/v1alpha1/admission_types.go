package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/resource"
)

// What the API server itself refuses, by ValidatingAdmissionPolicies with the
// baseline as their parameter.
// https://kubernetes.io/docs/reference/access-authn-authz/validating-admission-policy/

// Action says what the API server does with a request against a rule. In Audit
// mode it is always Warn and Audit.
//
// +kubebuilder:validation:Enum=Deny;Warn;Audit
type Action string

const (
	// ActionDeny refuses it.
	ActionDeny Action = "Deny"
	// ActionWarn lets it pass and warns whoever made it.
	ActionWarn Action = "Warn"
	// ActionAudit lets it pass and writes it to the API server's audit log.
	ActionAudit Action = "Audit"
)

// Images says which images may run: those of containers, init containers and
// ephemeral containers, of pods and of what makes pods.
//
// +kubebuilder:validation:XValidation:rule="has(self.allowedRegistries) || (has(self.requireDigest) && self.requireDigest)",message="images asks for nothing; add allowedRegistries, requireDigest or both"
type Images struct {
	// Where images may come from: the host of a registry, its port if it has one,
	// then perhaps a path, such as docker.io/library or registry.example.com:5000.
	// They are compared by host and by whole parts of the path. An image without a
	// host, such as nginx, is docker.io/library/nginx, as everywhere.
	// https://pkg.go.dev/github.com/distribution/reference
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=255
	// +kubebuilder:validation:items:XValidation:rule="self.matches('^(?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9])(?:[.](?:[a-zA-Z0-9]|[a-zA-Z0-9][a-zA-Z0-9-]*[a-zA-Z0-9]))*(?::[0-9]+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*/?$') || self.matches('^\\\\[[a-fA-F0-9:]+\\\\](?::[0-9]+)?(?:/[a-z0-9]+(?:(?:[._]|__|-+)[a-z0-9]+)*)*/?$')",message="images.allowedRegistries must hold hosts of registries, each with its port if it has one and then perhaps a path in lowercase, such as registry.example.com:5000/team; no scheme, no tag and no '*'"
	// +kubebuilder:validation:items:XValidation:rule="self.split('/')[0] == 'localhost' || self.split('/')[0].contains('.') || self.split('/')[0].contains(':')",message="images.allowedRegistries must begin with the host of a registry: docker.io/library, not library"
	// +kubebuilder:validation:items:XValidation:rule="self.split('/')[0].lowerAscii() != 'index.docker.io'",message="images.allowedRegistries names index.docker.io, which images never come from; write docker.io"
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="images.allowedRegistries is empty; name a registry or leave it out"
	AllowedRegistries []string `json:"allowedRegistries,omitempty"`

	// Each image must name a sha256 digest, which says exactly what runs.
	// +optional
	RequireDigest bool `json:"requireDigest,omitempty"`

	// Deny, the default, Warn or Audit.
	// +optional
	// +kubebuilder:default=Deny
	Action Action `json:"action,omitempty"`
}

// Workloads says what pods, and the templates that they are made from, must
// state. Ephemeral containers, which kubectl debug adds, are not asked.
//
// +kubebuilder:validation:XValidation:rule="(has(self.requireLimits) && self.requireLimits) || (has(self.readOnlyRootFilesystem) && self.readOnlyRootFilesystem) || (has(self.forbidDefaultServiceAccount) && self.forbidDefaultServiceAccount)",message="workloads asks for nothing; set requireLimits, readOnlyRootFilesystem or forbidDefaultServiceAccount to true"
type Workloads struct {
	// Each container must request cpu and memory and limit its memory, or the pod
	// as a whole.
	// +optional
	RequireLimits bool `json:"requireLimits,omitempty"`

	// Each container's root filesystem must be read-only.
	// +optional
	ReadOnlyRootFilesystem bool `json:"readOnlyRootFilesystem,omitempty"`

	// Pods must not run as the ServiceAccount default, which all share that name
	// none.
	// +optional
	ForbidDefaultServiceAccount bool `json:"forbidDefaultServiceAccount,omitempty"`

	// Deny, the default, Warn or Audit.
	// +optional
	// +kubebuilder:default=Deny
	Action Action `json:"action,omitempty"`
}

// Guard lets only the operator, Kubernetes' own controllers and exempt subjects
// change or delete what the operator wrote in a governed namespace, the labels
// that it set on it, and the labels by which baselines select it or name
// subjects.
type Guard struct {
	// Who else may.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	Exempt []Subject `json:"exempt,omitempty"`

	// Deny, the default, Warn or Audit.
	// +optional
	// +kubebuilder:default=Deny
	Action Action `json:"action,omitempty"`
}

// ClusterAdmin says who may hold all power over the cluster, or over a
// namespace. Kubernetes' own bindings, of the group system:masters and of its
// components, are never in question.
type ClusterAdmin struct {
	// Who may be bound. New bindings of anybody else are refused, existing ones
	// are violations.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=128
	AllowedSubjects []Subject `json:"allowedSubjects,omitempty"`

	// Deny, the default, Warn or Audit.
	// +optional
	// +kubebuilder:default=Deny
	Action Action `json:"action,omitempty"`
}

// ServiceAccounts says what pods get of the API without asking for it.
type ServiceAccounts struct {
	// false: pods that run as the ServiceAccount default of their namespace get no
	// token, unless they ask for one themselves.
	// https://kubernetes.io/docs/tasks/configure-pod-container/configure-service-account/#opt-out-of-api-credential-automounting
	// +required
	// +kubebuilder:validation:XValidation:rule="!self",message="serviceAccounts.automountDefaultToken can only be false, true being Kubernetes' own default; leave serviceAccounts out"
	AutomountDefaultToken *bool `json:"automountDefaultToken"`
}

// Resources says how much may be used. It becomes a LimitRange and a
// ResourceQuota, both named security-baseline-NAME, in each governed namespace.
//
// +kubebuilder:validation:XValidation:rule="has(self.limitRange) || has(self.quota)",message="resources says nothing; add limitRange, quota or both"
// +kubebuilder:validation:XValidation:rule="!has(self.quota) || !('cpu' in self.quota.hard || 'requests.cpu' in self.quota.hard) || (has(self.limitRange) && self.limitRange.limits.exists(l, l.type == 'Container' && ((has(l.defaultRequest) && 'cpu' in l.defaultRequest) || (has(l.default) && 'cpu' in l.default) || (has(l.max) && 'cpu' in l.max) || (has(l.min) && 'cpu' in l.min))))",message="resources.quota counts requests of cpu, so pods that state none would be refused; add resources.limitRange with a defaultRequest of cpu for type Container"
// +kubebuilder:validation:XValidation:rule="!has(self.quota) || !('memory' in self.quota.hard || 'requests.memory' in self.quota.hard) || (has(self.limitRange) && self.limitRange.limits.exists(l, l.type == 'Container' && ((has(l.defaultRequest) && 'memory' in l.defaultRequest) || (has(l.default) && 'memory' in l.default) || (has(l.max) && 'memory' in l.max) || (has(l.min) && 'memory' in l.min))))",message="resources.quota counts requests of memory, so pods that state none would be refused; add resources.limitRange with a defaultRequest of memory for type Container"
// +kubebuilder:validation:XValidation:rule="!has(self.quota) || !('limits.cpu' in self.quota.hard) || (has(self.limitRange) && self.limitRange.limits.exists(l, l.type == 'Container' && ((has(l.default) && 'cpu' in l.default) || (has(l.max) && 'cpu' in l.max))))",message="resources.quota counts limits of cpu, so pods that state none would be refused; add resources.limitRange with a default of cpu for type Container"
// +kubebuilder:validation:XValidation:rule="!has(self.quota) || !('limits.memory' in self.quota.hard) || (has(self.limitRange) && self.limitRange.limits.exists(l, l.type == 'Container' && ((has(l.default) && 'memory' in l.default) || (has(l.max) && 'memory' in l.max))))",message="resources.quota counts limits of memory, so pods that state none would be refused; add resources.limitRange with a default of memory for type Container"
type Resources struct {
	// What containers and pods get if they state nothing, and how much they may
	// ask for.
	// +optional
	LimitRange *LimitRangeSpec `json:"limitRange,omitempty"`

	// How much the namespace may use as a whole.
	// +optional
	Quota *ResourceQuotaSpec `json:"quota,omitempty"`
}

// LimitRangeSpec is Kubernetes' own, with its lists bounded.
// https://kubernetes.io/docs/concepts/policy/limit-range/
type LimitRangeSpec struct {
	// +required
	// +listType=map
	// +listMapKey=type
	// +kubebuilder:validation:MaxItems=3
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="resources.limitRange.limits is empty; add a limit or leave limitRange out"
	Limits []LimitRangeItem `json:"limits"`
}

// LimitRangeItem is what one kind of thing may use.
//
// +kubebuilder:validation:XValidation:rule="self.type != 'Pod' || (!has(self.default) && !has(self.defaultRequest))",message="resources.limitRange.limits of type Pod can have no default and no defaultRequest; put them under type Container"
// +kubebuilder:validation:XValidation:rule="self.type != 'PersistentVolumeClaim' || (has(self.min) && 'storage' in self.min) || (has(self.max) && 'storage' in self.max)",message="resources.limitRange.limits of type PersistentVolumeClaim needs a min or a max of storage"
// +kubebuilder:validation:XValidation:rule="(!has(self.max) || self.max.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim'))) && (!has(self.min) || self.min.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim'))) && (!has(self.default) || self.default.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim'))) && (!has(self.defaultRequest) || self.defaultRequest.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim'))) && (!has(self.maxLimitRequestRatio) || self.maxLimitRequestRatio.all(k, (k == 'storage') == (self.type == 'PersistentVolumeClaim')))",message="resources.limitRange.limits of type PersistentVolumeClaim can only hold storage, and those of the other types all but storage"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.max) || self.min.all(k, !(k in self.max) || quantity(string(self.min[k])).compareTo(quantity(string(self.max[k]))) <= 0)",message="resources.limitRange.limits: min is larger than max; no container or pod could meet both"
// +kubebuilder:validation:XValidation:rule="!has(self.default) || !has(self.max) || self.default.all(k, !(k in self.max) || quantity(string(self.default[k])).compareTo(quantity(string(self.max[k]))) <= 0)",message="resources.limitRange.limits: default is larger than max; lower default or raise max"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.default) || self.min.all(k, !(k in self.default) || quantity(string(self.min[k])).compareTo(quantity(string(self.default[k]))) <= 0)",message="resources.limitRange.limits: default is smaller than min; raise default or lower min"
// +kubebuilder:validation:XValidation:rule="!has(self.defaultRequest) || !has(self.default) || self.defaultRequest.all(k, !(k in self.default) || quantity(string(self.defaultRequest[k])).compareTo(quantity(string(self.default[k]))) <= 0)",message="resources.limitRange.limits: defaultRequest is larger than default, which is the limit; lower defaultRequest or raise default"
// +kubebuilder:validation:XValidation:rule="!has(self.defaultRequest) || !has(self.max) || self.defaultRequest.all(k, !(k in self.max) || quantity(string(self.defaultRequest[k])).compareTo(quantity(string(self.max[k]))) <= 0)",message="resources.limitRange.limits: defaultRequest is larger than max; lower defaultRequest or raise max"
// +kubebuilder:validation:XValidation:rule="!has(self.min) || !has(self.defaultRequest) || self.min.all(k, !(k in self.defaultRequest) || quantity(string(self.min[k])).compareTo(quantity(string(self.defaultRequest[k]))) <= 0)",message="resources.limitRange.limits: defaultRequest is smaller than min; raise defaultRequest or lower min"
// +kubebuilder:validation:XValidation:rule="!has(self.defaultRequest) || self.defaultRequest.all(k, !(k.contains('/') || k.startsWith('hugepages-')) || quantity(string(self.defaultRequest[k])).compareTo(quantity(string(has(self.default) && k in self.default ? self.default[k] : has(self.max) && k in self.max ? self.max[k] : self.defaultRequest[k]))) == 0)",message="resources.limitRange.limits: of hugepages and of resources of devices, the request of a container is its limit; make defaultRequest and default, or max, equal"
// +kubebuilder:validation:XValidation:rule="!has(self.maxLimitRequestRatio) || self.maxLimitRequestRatio.all(k, quantity(string(self.maxLimitRequestRatio[k])).compareTo(quantity('1')) >= 0)",message="resources.limitRange.limits: maxLimitRequestRatio is less than 1, but no limit may be less than the request"
// +kubebuilder:validation:XValidation:rule="!has(self.maxLimitRequestRatio) || !has(self.min) || !has(self.max) || self.maxLimitRequestRatio.all(k, !(k in self.min) || !(k in self.max) || (quantity(string(self.max[k])).isLessThan(quantity('9P')) && quantity(string(self.maxLimitRequestRatio[k])).isLessThan(quantity('9P')) && (quantity(string(self.min[k])).compareTo(quantity('0')) == 0 || (!quantity(string(self.min[k])).isLessThan(quantity('1m')) && quantity(string(self.maxLimitRequestRatio[k])).asApproximateFloat() <= quantity(string(self.max[k])).asApproximateFloat() / quantity(string(self.min[k])).asApproximateFloat()))))",message="resources.limitRange.limits: maxLimitRequestRatio is larger than max divided by min, which no limit could be; lower it, and keep min at 1m or more and the others below 9P"
type LimitRangeItem struct {
	// +required
	// +kubebuilder:validation:Enum=Container;Pod;PersistentVolumeClaim
	Type corev1.LimitType `json:"type"`

	// +optional
	Max LimitedResources `json:"max,omitempty"`

	// +optional
	Min LimitedResources `json:"min,omitempty"`

	// The limit of a container that states none.
	// +optional
	Default LimitedResources `json:"default,omitempty"`

	// The request of a container that states none.
	// +optional
	DefaultRequest LimitedResources `json:"defaultRequest,omitempty"`

	// How much larger than the request a limit may be.
	// +optional
	MaxLimitRequestRatio LimitedResources `json:"maxLimitRequestRatio,omitempty"`
}

// LimitedResources are quantities of what a container or a PersistentVolumeClaim
// may ask for.
//
// +kubebuilder:validation:MaxProperties=16
// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['cpu', 'memory', 'ephemeral-storage', 'storage'] || k.matches('^hugepages-[1-9][0-9]{0,5}[KMGT]i$') || (k.contains('/') && !k.contains('kubernetes.io/') && !k.startsWith('requests.') && !format.qualifiedName().validate('requests.' + k).hasValue()))",message="resources.limitRange.limits must name resources of containers, such as cpu, memory, ephemeral-storage, hugepages-2Mi or example.com/gpu, or storage of PersistentVolumeClaims"
type LimitedResources map[corev1.ResourceName]resource.Quantity

// ResourceQuotaSpec is Kubernetes' own, with its lists bounded.
// https://kubernetes.io/docs/concepts/policy/resource-quotas/
//
// +kubebuilder:validation:XValidation:rule="!has(self.scopes) || (!('BestEffort' in self.scopes && 'NotBestEffort' in self.scopes) && !('Terminating' in self.scopes && 'NotTerminating' in self.scopes))",message="resources.quota.scopes names two that exclude each other, so nothing would be counted; name one of them"
// +kubebuilder:validation:XValidation:rule="!has(self.scopes) || !('BestEffort' in self.scopes) || self.hard.all(k, k == 'pods' || k == 'count/pods')",message="resources.quota.scopes has BestEffort, whose pods have no requests and no limits: hard can only count pods"
// +kubebuilder:validation:XValidation:rule="!has(self.scopes) || size(self.scopes) == 0 || self.hard.all(k, k.contains('/') || k in ['pods', 'cpu', 'memory', 'requests.cpu', 'requests.memory', 'limits.cpu', 'limits.memory'])",message="resources.quota.scopes are about pods: hard can only have pods, cpu, memory, their requests and limits, and what has a '/' in its name; leave scopes or the others out"
// +kubebuilder:validation:XValidation:rule="!has(self.scopeSelector) || !has(self.scopeSelector.matchExpressions) || size(self.scopeSelector.matchExpressions) == 0 || self.hard.all(k, k.contains('/') || k in ['pods', 'cpu', 'memory', 'requests.cpu', 'requests.memory', 'limits.cpu', 'limits.memory'])",message="resources.quota.scopeSelector is about pods: hard can only have pods, cpu, memory, their requests and limits, and what has a '/' in its name; leave scopeSelector or the others out"
// +kubebuilder:validation:XValidation:rule="!has(self.scopeSelector) || !has(self.scopeSelector.matchExpressions) || !self.scopeSelector.matchExpressions.exists(e, e.scopeName == 'BestEffort') || self.hard.all(k, k == 'pods' || k.contains('/'))",message="resources.quota.scopeSelector has BestEffort, whose pods have no requests and no limits: hard can only count pods"
type ResourceQuotaSpec struct {
	// The most that all of the namespace may use.
	// +required
	// +kubebuilder:validation:MaxProperties=64
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="resources.quota.hard is empty; add a resource or leave quota out"
	// +kubebuilder:validation:XValidation:rule="self.all(k, k in ['pods', 'services', 'secrets', 'configmaps', 'persistentvolumeclaims', 'replicationcontrollers', 'resourcequotas', 'services.loadbalancers', 'services.nodeports', 'cpu', 'memory', 'ephemeral-storage', 'requests.cpu', 'requests.memory', 'requests.storage', 'requests.ephemeral-storage', 'limits.cpu', 'limits.memory', 'limits.ephemeral-storage'] || k.matches('^(requests[.])?hugepages-[1-9][0-9]{0,5}[KMGT]i$') || (k.contains('/') && !format.qualifiedName().validate(k).hasValue()))",message="resources.quota.hard must name what Kubernetes can count, such as pods, requests.cpu, limits.memory, count/deployments.apps or requests.example.com/gpu"
	// +kubebuilder:validation:XValidation:rule="self.all(k, !(k in ['pods', 'services', 'secrets', 'configmaps', 'persistentvolumeclaims', 'replicationcontrollers', 'resourcequotas', 'services.loadbalancers', 'services.nodeports'] || (k.contains('/') && !k.startsWith('requests.'))) || (quantity(string(self[k])).isInteger() && quantity(string(self[k])).compareTo(quantity('9P')) <= 0))",message="resources.quota.hard must count objects, and what has a '/' in its name, in whole numbers"
	Hard corev1.ResourceList `json:"hard"`

	// Which objects are counted; all, if absent.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:Enum=Terminating;NotTerminating;BestEffort;NotBestEffort;PriorityClass;CrossNamespacePodAffinity
	Scopes []corev1.ResourceQuotaScope `json:"scopes,omitempty"`

	// Which objects are counted, in another way.
	// +optional
	ScopeSelector *ScopeSelector `json:"scopeSelector,omitempty"`
}

// ScopeSelector is core/v1's, with its lists bounded.
//
// +structType=atomic
type ScopeSelector struct {
	// Requirements, all of which must hold.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:XValidation:rule="!(self.exists(e, e.scopeName == 'BestEffort') && self.exists(e, e.scopeName == 'NotBestEffort')) && !(self.exists(e, e.scopeName == 'Terminating') && self.exists(e, e.scopeName == 'NotTerminating'))",message="resources.quota.scopeSelector names two that exclude each other, so nothing would be counted; name one of them"
	MatchExpressions []ScopedResourceSelectorRequirement `json:"matchExpressions,omitempty"`
}

// ScopedResourceSelectorRequirement is a requirement on what is counted.
//
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",message="operators In and NotIn need values, Exists and DoesNotExist must have none"
// +kubebuilder:validation:XValidation:rule="self.scopeName == 'PriorityClass' || self.operator == 'Exists'",message="of the scopes only PriorityClass has values; make the operator Exists"
type ScopedResourceSelectorRequirement struct {
	// +required
	// +kubebuilder:validation:Enum=Terminating;NotTerminating;BestEffort;NotBestEffort;PriorityClass;CrossNamespacePodAffinity
	ScopeName corev1.ResourceQuotaScope `json:"scopeName"`

	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator corev1.ScopeSelectorOperator `json:"operator"`

	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=253
	Values []string `json:"values,omitempty"`
}

// ToUpstream returns the selector as Kubernetes' own type; nil stays nil.
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
