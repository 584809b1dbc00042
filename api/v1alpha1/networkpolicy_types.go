package v1alpha1

import (
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
)

// The types in this file copy networking.k8s.io/v1 field by field, so that you
// can paste any NetworkPolicySpec. They are copies for two reasons: a spec that
// Kubernetes would reject in every namespace must be rejected once, at kubectl
// apply, and CEL rules on lists need bounded lists, which the upstream types do
// not have. NetworkPolicySpec.ToUpstream converts them; it does not compile if a
// field differs in name or type.

// NetworkPolicySpec is a complete networking.k8s.io/v1 NetworkPolicySpec.
// https://kubernetes.io/docs/concepts/services-networking/network-policies/
//
// +kubebuilder:validation:XValidation:rule="!has(self.policyTypes) || size(self.policyTypes) == 0 || !has(self.ingress) || size(self.ingress) == 0 || 'Ingress' in self.policyTypes",message="spec.ingress has rules but spec.policyTypes does not contain Ingress, so they would have no effect; add Ingress to policyTypes or remove the rules"
// +kubebuilder:validation:XValidation:rule="!has(self.policyTypes) || size(self.policyTypes) == 0 || !has(self.egress) || size(self.egress) == 0 || 'Egress' in self.policyTypes",message="spec.egress has rules but spec.policyTypes does not contain Egress, so they would have no effect; add Egress to policyTypes or remove the rules"
type NetworkPolicySpec struct {
	// podSelector selects the pods that the policy applies to. If it is empty or
	// absent, the policy applies to all pods of the namespace.
	// +optional
	PodSelector LabelSelector `json:"podSelector,omitempty"`

	// ingress lists the traffic that is allowed to the selected pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Ingress []NetworkPolicyIngressRule `json:"ingress,omitempty"`

	// egress lists the traffic that is allowed from the selected pods.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	Egress []NetworkPolicyEgressRule `json:"egress,omitempty"`

	// policyTypes lists the directions, Ingress, Egress or both, that the policy
	// applies to. As in Kubernetes, it defaults to Ingress, and to Ingress and
	// Egress if the policy has egress rules.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	PolicyTypes []Direction `json:"policyTypes,omitempty"`
}

// NetworkPolicyIngressRule allows traffic to the selected pods.
type NetworkPolicyIngressRule struct {
	// ports lists the allowed ports. If it is empty, all ports are allowed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Ports []NetworkPolicyPort `json:"ports,omitempty"`

	// from lists the allowed sources. If it is empty, all sources are allowed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	From []NetworkPolicyPeer `json:"from,omitempty"`
}

// NetworkPolicyEgressRule allows traffic from the selected pods.
type NetworkPolicyEgressRule struct {
	// ports lists the allowed ports. If it is empty, all ports are allowed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	Ports []NetworkPolicyPort `json:"ports,omitempty"`

	// to lists the allowed destinations. If it is empty, all destinations are
	// allowed.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=32
	To []NetworkPolicyPeer `json:"to,omitempty"`
}

// NetworkPolicyPort is a port, or a range of ports.
//
// +kubebuilder:validation:XValidation:rule="!has(self.endPort) || (has(self.port) && type(self.port) == int && self.endPort >= self.port)",message="endPort needs a numeric port that is not greater than endPort"
type NetworkPolicyPort struct {
	// protocol is TCP, UDP or SCTP. Defaults to TCP.
	// +optional
	// +kubebuilder:validation:Enum=TCP;UDP;SCTP
	Protocol *corev1.Protocol `json:"protocol,omitempty"`

	// port is a port number, or the name of a container port such as metrics. If
	// it is absent, all ports are allowed.
	// +optional
	// +kubebuilder:validation:XIntOrString
	// +kubebuilder:validation:MaxLength=15
	// +kubebuilder:validation:XValidation:rule="type(self) == int ? self >= 1 && self <= 65535 : self.matches('^[a-z0-9]([a-z0-9-]*[a-z0-9])?$') && self.matches('[a-z]') && !self.contains('--')",message="port must be a number from 1 to 65535 or the name of a container's port: at most 15 lowercase letters, digits and '-'"
	Port *intstr.IntOrString `json:"port,omitempty"`

	// endPort is the last port of a range that begins at port, which must then be
	// a number.
	// +optional
	// +kubebuilder:validation:Maximum=65535
	EndPort *int32 `json:"endPort,omitempty"`
}

// NetworkPolicyPeer is a source or a destination of traffic.
//
// +kubebuilder:validation:XValidation:rule="has(self.podSelector) || has(self.namespaceSelector) || has(self.ipBlock)",message="a peer must set podSelector, namespaceSelector or ipBlock; to allow every peer, omit the list"
// +kubebuilder:validation:XValidation:rule="!has(self.ipBlock) || (!has(self.podSelector) && !has(self.namespaceSelector))",message="a peer must not set ipBlock together with podSelector or namespaceSelector; split it into two peers"
type NetworkPolicyPeer struct {
	// podSelector selects pods by their labels, in the namespaces that
	// namespaceSelector selects. Without namespaceSelector, it selects pods in the
	// namespace of the policy.
	// +optional
	PodSelector *LabelSelector `json:"podSelector,omitempty"`

	// namespaceSelector selects namespaces by their labels.
	// +optional
	NamespaceSelector *LabelSelector `json:"namespaceSelector,omitempty"`

	// ipBlock is a range of addresses. It cannot be combined with the selectors.
	// +optional
	IPBlock *IPBlock `json:"ipBlock,omitempty"`
}

// IPBlock is a range of addresses, without the ranges in except.
//
// +kubebuilder:validation:XValidation:rule="!has(self.except) || self.except.all(e, e != self.cidr && cidr(self.cidr).containsCIDR(e))",message="ipBlock.except must hold address ranges within ipBlock.cidr and smaller than it"
type IPBlock struct {
	// cidr is the range, such as 10.0.0.0/8 or 2001:db8::/64.
	// +required
	// +kubebuilder:validation:MaxLength=43
	// +kubebuilder:validation:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="ipBlock.cidr must be an address range such as 10.0.0.0/8 or 2001:db8::/64, in its shortest form and without bits beyond the prefix; for one address, add /32 or /128"
	CIDR string `json:"cidr,omitempty"`

	// except lists ranges within cidr that are not part of the block.
	// +optional
	// +listType=atomic
	// +kubebuilder:validation:MaxItems=8
	// +kubebuilder:validation:items:MaxLength=43
	// +kubebuilder:validation:items:XValidation:rule="isCIDR(self) && string(cidr(self).masked()) == self",message="ipBlock.except must hold address ranges such as 10.0.0.0/8 or 2001:db8::/64, in their shortest form and without bits beyond the prefix"
	Except []string `json:"except,omitempty"`
}

// ToUpstream returns the spec as the Kubernetes type. It shares no memory with
// the receiver.
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

// portsToUpstream keeps nil as nil.
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

// peersToUpstream keeps nil as nil.
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
