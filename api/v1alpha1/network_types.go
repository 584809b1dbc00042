package v1alpha1

// ControlNetwork is the control of spec.network.
const ControlNetwork ControlName = "Network"

// Network denies traffic in each governed namespace by default and allows
// exceptions to that. The operator creates NetworkPolicies, which have an
// effect only if the network plugin of the cluster supports them.
//
// +kubebuilder:validation:XValidation:rule="has(self.defaultDeny) || (has(self.policies) && size(self.policies) > 0)",message="network has no effect; add defaultDeny, policies or both"
// +kubebuilder:validation:XValidation:rule="!has(self.waitForDefaultDeny) || !self.waitForDefaultDeny || has(self.defaultDeny)",message="network.waitForDefaultDeny needs a default-deny policy to wait for; add network.defaultDeny"
// +kubebuilder:validation:XValidation:rule="!has(self.allow) || !has(self.allow.sameNamespace) || !self.allow.sameNamespace || has(self.defaultDeny)",message="network.allow.sameNamespace needs network.defaultDeny: if no traffic is denied by default, this policy would itself deny all other traffic"
// +kubebuilder:validation:XValidation:rule="!has(self.allow) || !has(self.allow.dns) || !self.allow.dns || (has(self.defaultDeny) && 'Egress' in self.defaultDeny)",message="network.allow.dns needs Egress in network.defaultDeny: if egress is not denied by default, this policy would itself deny all other egress"
// +kubebuilder:validation:XValidation:rule="(has(self.blockMetadataService) && !self.blockMetadataService) || !has(self.policies) || self.policies.all(p, !has(p.spec.egress) || p.spec.egress.all(r, !has(r.to) || r.to.all(peer, !has(peer.ipBlock) || !(peer.ipBlock.cidr in ['169.254.169.254/32', '169.254.0.23/32', '169.254.42.42/32', '100.100.100.200/32', '192.0.0.192/32', 'fd00:ec2::254/128', 'fd20:ce::254/128', 'fd00:c1::a9fe:a9fe/128', 'fd00:42::42/128', 'fd00:a9fe:a9fe::1/128', 'fe80::a9fe:a9fe/128']))))",message="network.policies has an ipBlock that is only a cloud metadata address, which network.blockMetadataService blocks; remove that ipBlock or set network.blockMetadataService to false"
// +kubebuilder:validation:XValidation:rule="(has(self.blockMetadataService) && !self.blockMetadataService) || !has(self.policies) || self.policies.all(p, !has(p.spec.ingress) || p.spec.ingress.all(r, !has(r.from) || r.from.all(peer, !has(peer.ipBlock) || !(peer.ipBlock.cidr in ['169.254.169.254/32', '169.254.0.23/32', '169.254.42.42/32', '100.100.100.200/32', '192.0.0.192/32', 'fd00:ec2::254/128', 'fd20:ce::254/128', 'fd00:c1::a9fe:a9fe/128', 'fd00:42::42/128', 'fd00:a9fe:a9fe::1/128', 'fe80::a9fe:a9fe/128']))))",message="network.policies has an ipBlock that is only a cloud metadata address, which network.blockMetadataService blocks; remove that ipBlock or set network.blockMetadataService to false"
type Network struct {
	// defaultDeny lists the directions, Ingress, Egress or both, in which all
	// traffic of every pod is denied unless a NetworkPolicy allows it. The
	// operator creates a NetworkPolicy named security-baseline-default-deny for
	// it.
	// +optional
	// +listType=set
	// +kubebuilder:validation:MaxItems=2
	// +kubebuilder:validation:XValidation:rule="size(self) > 0",message="network.defaultDeny is empty; add Ingress, Egress or both, or remove defaultDeny"
	DefaultDeny []Direction `json:"defaultDeny,omitempty"`

	// allow configures common allow policies.
	// +optional
	Allow *NetworkAllow `json:"allow,omitempty"`

	// policies lists additional NetworkPolicies by name. The operator creates each
	// one in each governed namespace, with the name security-baseline-NAME.
	// +optional
	// +listType=map
	// +listMapKey=name
	// +kubebuilder:validation:MaxItems=64
	Policies []NamedNetworkPolicy `json:"policies,omitempty"`

	// waitForDefaultDeny rejects the pods of a new namespace until its
	// default-deny policy exists; the controllers that create pods retry by
	// themselves. It needs MutatingAdmissionPolicy, which is available in
	// Kubernetes 1.36 and later. Defaults to false.
	// +optional
	WaitForDefaultDeny bool `json:"waitForDefaultDeny,omitempty"`

	// blockMetadataService removes the addresses of cloud metadata services, which
	// hand out the credentials of the node, from every ipBlock that contains them.
	// A rule without peers allows every address and is not changed. Defaults to
	// true.
	// +optional
	// +kubebuilder:default=true
	BlockMetadataService *bool `json:"blockMetadataService,omitempty"`
}

// Direction is a direction of traffic, as seen from a pod.
//
// +kubebuilder:validation:Enum=Ingress;Egress
type Direction string

const (
	// DirectionIngress is traffic to a pod.
	DirectionIngress Direction = "Ingress"
	// DirectionEgress is traffic from a pod.
	DirectionEgress Direction = "Egress"
)

// NetworkAllow configures common allow policies.
type NetworkAllow struct {
	// dns allows every pod to query the cluster's DNS. Defaults to true if
	// defaultDeny contains Egress.
	// +optional
	DNS *bool `json:"dns,omitempty"`

	// sameNamespace allows traffic between the pods of a namespace, in the
	// directions that defaultDeny lists. Defaults to false.
	// +optional
	SameNamespace bool `json:"sameNamespace,omitempty"`
}

// NamedNetworkPolicy is a NetworkPolicy that the operator creates in each
// governed namespace.
type NamedNetworkPolicy struct {
	// name identifies the policy. The NetworkPolicy is named
	// security-baseline-NAME. Example: from-ingress-controller.
	// +required
	// +kubebuilder:validation:MinLength=1
	// +kubebuilder:validation:MaxLength=235
	// +kubebuilder:validation:XValidation:rule="!format.dns1123Subdomain().validate(self).hasValue()",message="network.policies[].name must consist of lowercase letters, digits, '-' or '.', and must begin and end with a letter or digit, because the NetworkPolicy is named security-baseline-NAME"
	// +kubebuilder:validation:XValidation:rule="!(self in ['default-deny', 'allow-dns', 'allow-same-namespace'])",message="network.policies[].name must not be default-deny, allow-dns or allow-same-namespace, which are the names of the operator's own policies; choose another name"
	Name string `json:"name,omitempty"`

	// spec is the spec of the NetworkPolicy.
	// +required
	Spec NetworkPolicySpec `json:"spec"`
}
