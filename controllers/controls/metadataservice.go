package controls

import (
	"net/netip"
	"slices"

	networkingv1 "k8s.io/api/networking/v1"
)

// metadataServices are the addresses at which clouds hand a node's identity and
// credentials to whoever asks from it. The rules of v1alpha1.Network list them
// too.
//
// Left out on purpose: Azure's 168.63.129.16, from which its load balancers
// probe pods, and 169.254.170.23 and fd00:ec2::23, EKS Pod Identity's, which
// gives a pod its own credentials and not the node's.
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

// exceptMetadataServices cuts the metadata services out of every ipBlock that
// contains one. An ipBlock that is one and nothing else is refused by the CRD;
// cut out of itself it would be refused by the API server.
func exceptMetadataServices(policy *networkingv1.NetworkPolicySpec) {
	for _, rule := range policy.Ingress {
		exceptInPeers(rule.From)
	}
	for _, rule := range policy.Egress {
		exceptInPeers(rule.To)
	}
}

func exceptInPeers(peers []networkingv1.NetworkPolicyPeer) {
	for i := range peers {
		if peers[i].IPBlock != nil {
			exceptInBlock(peers[i].IPBlock)
		}
	}
}

func exceptInBlock(block *networkingv1.IPBlock) {
	// The CRD refuses what does not parse, here and below.
	cidr, err := netip.ParsePrefix(block.CIDR)
	if err != nil {
		return
	}
	for _, service := range metadataServices {
		if !cidr.Contains(service.Addr()) || excepted(block.Except, service) {
			continue
		}
		block.Except = append(block.Except, service.String())
	}
}

func excepted(except []string, address netip.Prefix) bool {
	return slices.ContainsFunc(except, func(e string) bool {
		prefix, err := netip.ParsePrefix(e)
		return err == nil && prefix.Contains(address.Addr())
	})
}
