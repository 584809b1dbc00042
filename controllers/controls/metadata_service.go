package controls

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

// metadataServices are the addresses from which cloud providers serve the identity
// and credentials of a node to any process on it. The CEL rules of v1alpha1.Network
// list the same addresses.
//
// Two services are not in the list on purpose. Azure load balancers probe pods from
// 168.63.129.16. EKS Pod Identity (169.254.170.23 and fd00:ec2::23) provides a pod
// with its own credentials, not those of the node.
var metadataServices = []netip.Prefix{
	netip.MustParsePrefix("169.254.169.254/32"),     // AWS, Azure, GCP, Oracle, OpenStack, DigitalOcean, Hetzner, IBM, ...
	netip.MustParsePrefix("fd00:ec2::254/128"),      // AWS
	netip.MustParsePrefix("fd20:ce::254/128"),       // GCP
	netip.MustParsePrefix("fd00:c1::a9fe:a9fe/128"), // Oracle
	netip.MustParsePrefix("192.0.0.192/32"),         // Oracle, classic
	netip.MustParsePrefix("100.100.100.200/32"),     // Alibaba
	netip.MustParsePrefix("169.254.0.23/32"),        // Tencent
	netip.MustParsePrefix("169.254.42.42/32"),       // Scaleway
	netip.MustParsePrefix("fd00:42::42/128"),        // Scaleway
	netip.MustParsePrefix("fd00:a9fe:a9fe::1/128"),  // Akamai
	netip.MustParsePrefix("fe80::a9fe:a9fe/128"),    // OpenStack
}

// excludeMetadataServices adds the metadata services to the exceptions of every
// ipBlock that contains them. An ipBlock that consists of one metadata service would
// become invalid, so the CRD rejects it.
func excludeMetadataServices(policy *networkingv1.NetworkPolicySpec) {
	for _, rule := range policy.Ingress {
		excludeFromPeers(rule.From)
	}
	for _, rule := range policy.Egress {
		excludeFromPeers(rule.To)
	}
}

func excludeFromPeers(peers []networkingv1.NetworkPolicyPeer) {
	for i := range peers {
		if peers[i].IPBlock != nil {
			excludeFromBlock(peers[i].IPBlock)
		}
	}
}

func excludeFromBlock(block *networkingv1.IPBlock) {
	// The CRD rejects addresses that do not parse, here and in isExcluded.
	cidr, err := netip.ParsePrefix(block.CIDR)
	if err != nil {
		return
	}
	for _, service := range metadataServices {
		if !cidr.Contains(service.Addr()) || isExcluded(block.Except, service) {
			continue
		}
		block.Except = append(block.Except, service.String())
	}
}

// isExcluded reports whether one of the exceptions contains the address.
func isExcluded(except []string, address netip.Prefix) bool {
	return slices.ContainsFunc(except, func(e string) bool {
		prefix, err := netip.ParsePrefix(e)
		return err == nil && prefix.Contains(address.Addr())
	})
}
