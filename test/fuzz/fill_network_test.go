package fuzz

import (
	"net/netip"
	"slices"

	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func fillNetwork(network *v1alpha1.Network, c randfill.Continue) {
	c.FillNoCustom(network)
	network.Policies = distinct(network.Policies, func(p *v1alpha1.NamedNetworkPolicy) string { return p.Name })
	network.DefaultDeny = pickSome(c, 3, []v1alpha1.Direction{v1alpha1.DirectionIngress, v1alpha1.DirectionEgress})
	if len(network.DefaultDeny) == 0 {
		network.WaitForDefaultDeny = false
		network.Allow = nil
		if len(network.Policies) == 0 {
			network.DefaultDeny = []v1alpha1.Direction{v1alpha1.DirectionIngress}
		}
	}
	if !slices.Contains(network.DefaultDeny, v1alpha1.DirectionEgress) && network.Allow != nil {
		network.Allow.DNS = nil
	}
}

func fillPolicy(policy *v1alpha1.NamedNetworkPolicy, c randfill.Continue) {
	policy.Name = pick(c, names)
	c.Fill(&policy.Spec)
}

func fillPolicySpec(spec *v1alpha1.NetworkPolicySpec, c randfill.Continue) {
	c.FillNoCustom(spec)
	spec.PolicyTypes = pickSome(c, 3, []v1alpha1.Direction{v1alpha1.DirectionIngress, v1alpha1.DirectionEgress})
	if len(spec.PolicyTypes) == 1 && !rarely(c) {
		if spec.PolicyTypes[0] == v1alpha1.DirectionIngress {
			spec.Egress = nil
		} else {
			spec.Ingress = nil
		}
	}
}

func fillPeer(peer *v1alpha1.NetworkPolicyPeer, c randfill.Continue) {
	c.FillNoCustom(peer)
	if rarely(c) {
		return
	}
	if peer.IPBlock != nil {
		peer.PodSelector = nil
		peer.NamespaceSelector = nil
	} else if peer.PodSelector == nil {
		peer.NamespaceSelector = &v1alpha1.LabelSelector{}
	}
}

func fillBlock(block *v1alpha1.IPBlock, c randfill.Continue) {
	block.CIDR = pick(c, cidrs)
	cidr := netip.MustParsePrefix(block.CIDR)
	for range c.Intn(4) {
		address := cidr.Addr().AsSlice()
		bits := min(cidr.Bits()+1+c.Intn(len(address)*8), len(address)*8)
		for bit := cidr.Bits(); bit < bits; bit++ {
			address[bit/8] |= byte(c.Intn(2)) << (7 - bit%8)
		}
		inside, _ := netip.AddrFromSlice(address)
		block.Except = append(block.Except, netip.PrefixFrom(inside, bits).Masked().String())
	}
	if rarely(c) {
		block.Except = append(block.Except, pick(c, cidrs))
	}
	if rarely(c) {
		block.CIDR = pick(c, []string{"169.254.169.254/32", "fd00:ec2::254/128"})
	}
}

func fillPort(port *v1alpha1.NetworkPolicyPort, c randfill.Continue) {
	c.Fill(&port.Protocol)
	switch c.Intn(4) {
	case 0:
	case 1:
		port.Port = new(intstr.FromString(pick(c, []string{"http", "a", "1a", "web-1", "abcdefghijklmno"})))
	case 2:
		port.Port = new(intstr.FromInt32(1 + c.Int31n(65535)))
	case 3:
		first := 1 + c.Int31n(65535)
		port.Port = new(intstr.FromInt32(first))
		port.EndPort = new(first + c.Int31n(65536-first))
	}
}
