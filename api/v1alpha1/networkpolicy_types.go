package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The types below are networking.k8s.io/v1's, field for field, so that any
// NetworkPolicySpec can be pasted. They are written out because what Kubernetes
// would refuse in every namespace must be refused once, at kubectl apply, and
// CEL rules on lists need the lists to be bounded, which upstream's are not.
// NetworkPolicySpec.ToUpstream converts them: it stops compiling when a field
// differs in name or type.

// NetworkPolicySpec is a complete networking.k8s.io/v1 NetworkPolicySpec.
// https://kubernetes.io/docs/concepts/services-networking/network-policies/
//
// +kubebuilder:validation:XValidation:rule="!has(self.policyTypes) || size(self.policyTypes) == 0 || !has(self.ingress) || size(self.ingress) == 0 || 'Ingress' in self.policyTypes",message="spec.ingress has rules but spec.policyTypes leaves Ingress out, so they would have no effect; add Ingress to policyTypes or remove the rules"
// +kubebuilder:validation:XValidation:rule="!has(self.policyTypes) || size(self.policyTypes) == 0 || !has(self.egress) || size(self.egress) == 0 || 'Egress' in self.policyTypes",message="spec.egress has rules but spec.policyTypes leaves Egress out, so they would have no effect; add Egress to policyTypes or remove the rules"
type NetworkPolicySpec struct {
	// The pods that the policy is about; empty or absent means all pods of the
	// namespace.
	// +optional
	PodSelector LabelSelector `json:"podSelector,omitempty"`

	// Which traffic to these pods is allowed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Ingress []NetworkPolicyIngressRule `json:"ingress,omitempty"`

	// Which traffic from these pods is allowed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Egress []NetworkPolicyEgressRule `json:"egress,omitempty"`

	// The directions, Ingress, Egress or both, that the policy is about. Where
	// absent: Ingress, and Egress if there are egress rules, as in Kubernetes.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	PolicyTypes []Direction `json:"policyTypes,omitempty"`
}

// NetworkPolicyIngressRule allows traffic to the selected pods.
type NetworkPolicyIngressRule struct {
	// The ports that are allowed; all, if empty.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Ports []NetworkPolicyPort `json:"ports,omitempty"`

	// The sources that are allowed; all, if empty.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	From []NetworkPolicyPeer `json:"from,omitempty"`
}

// NetworkPolicyEgressRule allows traffic from the selected pods.
type NetworkPolicyEgressRule struct {
	// The ports that are allowed; all, if empty.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Ports []NetworkPolicyPort `json:"ports,omitempty"`

	// The destinations that are allowed; all, if empty.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	To []NetworkPolicyPeer `json:"to,omitempty"`
}

// NetworkPolicyPort is a port, or a range of ports.
//
// +kubebuilder:validation:XValidation:rule="!has(self.endPort) || (has(self.port) && type(self.port) == int && self.endPort >= self.port)",message="endPort needs a numeric port that is not greater than it"
type NetworkPolicyPort struct {
	// TCP if absent.
	// +optional
	// +kubebuilder:validation:Enum=TCP;UDP;SCTP
	Protocol *corev1.Protocol `json:"protocol,omitempty"`

	// A number, or the name of a port of the pods; every port if absent.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 65535 : self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$') && self.matches('[a-z]') && !self.contains('--')",message="port must be a number from 1 to 65535 or the name of a container's port: at most 15 lowercase letters, digits and '-'"
	Port *intstr.IntOrString `json:"port,omitempty"`

	// The last port of a range that begins at port.
	// +optional
	// +kubebuilder:validation:Maximum=65535
	EndPort *int32 `json:"endPort,omitempty"`
}

// NetworkPolicyPeer is a source or a destination.
//
// +kubebuilder:validation:XValidation:rule="has(self.podSelector) || has(self.namespaceSelector) || has(self.ipBlock)",message="a peer must state podSelector, namespaceSelector or ipBlock; for every peer, leave the whole list out"
// +kubebuilder:validation:XValidation:rule="!has(self.ipBlock) || (!has(self.podSelector) && !has(self.namespaceSelector))",message="a peer must not state ipBlock together with podSelector or namespaceSelector; make two peers of it"
type NetworkPolicyPeer struct {
	// Pods by their labels, in the namespaces that namespaceSelector selects, or
	// in the policy's own.
	// +optional
	PodSelector *LabelSelector `json:"podSelector,omitempty"`

	// Namespaces by their labels.
	// +optional
	NamespaceSelector *LabelSelector `json:"namespaceSelector,omitempty"`

	// A range of addresses.
	// +optional
	IPBlock *IPBlock `json:"ipBlock,omitempty"`
}

// IPBlock is a range of addresses, with holes.
//
// +kubebuilder:validation:XValidation:rule="!has(self.except) || self.except.all(e, e != self.cidr && cidr(self.cidr).containsCIDR(e))",message="ipBlock.except must hold address ranges within ipBlock.cidr and smaller than it"
type IPBlock struct {
	// The range, such as 10.0.0.0/8 or 2001:db8::/64.
	// +required
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="ipBlock.cidr must be an address range such as 10.0.0.0/8 or 2001:db8::/64, in its shortest form and without bits beyond the prefix; for one address, add /32 or /128"
	CIDR string `json:"cidr"`

	// Ranges within it that are left out.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="ipBlock.except must hold address ranges such as 10.0.0.0/8 or 2001:db8::/64, in their shortest form and without bits beyond the prefix"
	Except []string `json:"except,omitempty"`
}

// LabelSelector selects objects by their labels; an empty one selects all.
// https://kubernetes.io/docs/concepts/overview/working-with-objects/labels/
//
// +structType=atomic
type LabelSelector struct {
	// Labels that must have these values.
	// +optional
	// +kubebuilder:validation:MaxProperties=16
	// +kubebuilder:validation:XValidation:rule="self.all(k, !format.qualifiedName().validate(k).hasValue())",message="matchLabels must hold valid label keys, such as app or example.com/app"
	MatchLabels map[string]LabelValue `json:"matchLabels,omitempty"`

	// Further requirements, all of which must hold.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	MatchExpressions []LabelSelectorRequirement `json:"matchExpressions,omitempty"`
}

// LabelValue is the value of a label.
//
// +kubebuilder:validation:MaxLength=63
// +kubebuilder:validation:Pattern=`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
type LabelValue string

// LabelSelectorRequirement is a requirement on one label.
//
// +kubebuilder:validation:XValidation:rule="self.operator in ['In', 'NotIn'] ? has(self.values) && size(self.values) > 0 : !has(self.values) || size(self.values) == 0",message="operators In and NotIn need values, Exists and DoesNotExist must have none"
type LabelSelectorRequirement struct {
	// The label's key.
	// +required
	// +kubebuilder:validation:MaxLength=317
	// +kubebuilder:validation:Pattern=`^([a-z0-9]([-a-z0-9]*[a-z0-9])?([.][a-z0-9]([-a-z0-9]*[a-z0-9])?)*/)?([A-Za-z0-9][-A-Za-z0-9_.]{0,61})?[A-Za-z0-9]$`
	Key string `json:"key"`

	// +required
	// +kubebuilder:validation:Enum=In;NotIn;Exists;DoesNotExist
	Operator metav1.LabelSelectorOperator `json:"operator"`

	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=64
	// +kubebuilder:validation:items:MaxLength=63
	// +kubebuilder:validation:items:Pattern=`^(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?$`
	Values []string `json:"values,omitempty"`
}

// ToUpstream returns the spec as Kubernetes' own type, sharing no memory with it.
func (s *NetworkPolicySpec) ToUpstream() networkingv1.NetworkPolicySpec {
	in := s.DeepCopy()
	out := networkingv1.NetworkPolicySpec{PodSelector: *in.PodSelector.ToUpstream()}
	for _, rule := range in.Ingress {
		out.Ingress = append(out.Ingress, networkingv1.NetworkPolicyIngressRule{
			Ports: portsToUpstream(rule.Ports), From: peersToUpstream(rule.From),
		})
	}
	for _, rule := range in.Egress {
		out.Egress = append(out.Egress, networkingv1.NetworkPolicyEgressRule{
			Ports: portsToUpstream(rule.Ports), To: peersToUpstream(rule.To),
		})
	}
	for _, direction := range in.PolicyTypes {
		out.PolicyTypes = append(out.PolicyTypes, networkingv1.PolicyType(direction))
	}
	return out
}

func portsToUpstream(ports []NetworkPolicyPort) []networkingv1.NetworkPolicyPort {
	if ports == nil {
		return nil
	}
	out := make([]networkingv1.NetworkPolicyPort, 0, len(ports))
	for _, port := range ports {
		out = append(out, networkingv1.NetworkPolicyPort(port))
	}
	return out
}

func peersToUpstream(peers []NetworkPolicyPeer) []networkingv1.NetworkPolicyPeer {
	if peers == nil {
		return nil
	}
	out := make([]networkingv1.NetworkPolicyPeer, 0, len(peers))
	for _, peer := range peers {
		out = append(out, networkingv1.NetworkPolicyPeer{
			PodSelector:       peer.PodSelector.ToUpstream(),
			NamespaceSelector: peer.NamespaceSelector.ToUpstream(),
			IPBlock:           (*networkingv1.IPBlock)(peer.IPBlock),
		})
	}
	return out
}

// ToUpstream returns the selector as Kubernetes' own type; nil stays nil, which
// selects nothing.
func (s *LabelSelector) ToUpstream() *metav1.LabelSelector {
	if s == nil {
		return nil
	}
	out := &metav1.LabelSelector{}
	if len(s.MatchLabels) > 0 {
		out.MatchLabels = make(map[string]string, len(s.MatchLabels))
	}
	for key, value := range s.MatchLabels {
		out.MatchLabels[key] = string(value)
	}
	for _, requirement := range s.MatchExpressions {
		out.MatchExpressions = append(out.MatchExpressions, metav1.LabelSelectorRequirement(requirement))
	}
	return out
}
