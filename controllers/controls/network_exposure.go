package controls

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"

	"go4.org/netipx"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
)

// nearlyAllPorts is the limit above which a policy counts as allowing all 65,535
// ports.
const nearlyAllPorts = 60_000

// exposureViolations returns a violation for each unmanaged NetworkPolicy that
// undoes the default deny. NetworkPolicies are additive, so one policy that allows
// all or nearly all pods any traffic in a denied direction is enough. The function
// does not detect policies that do so only in combination.
func exposureViolations(denied []networkingv1.PolicyType, unmanaged []Object) []string {
	var violations []string
	for _, object := range unmanaged {
		policy, ok := object.(*networkingv1.NetworkPolicy)
		if !ok {
			continue
		}
		pods := describeSelector(&policy.Spec.PodSelector)
		if pods == "" {
			continue
		}
		for _, direction := range denied {
			peers := describePeers(allowedPeers(&policy.Spec, direction))
			if peers == "" {
				continue
			}
			traffic := map[networkingv1.PolicyType]string{networkingv1.PolicyTypeIngress: "ingress from", networkingv1.PolicyTypeEgress: "egress to"}[direction]
			violations = append(violations, fmt.Sprintf("NetworkPolicy/%s is not managed by the operator and allows %s %s %s, "+
				"which undoes the default deny; delete it or narrow it", policy.Name, pods, traffic, peers))
		}
	}
	return violations
}

// describeSelector returns "all pods", or "nearly all pods" if the selector only
// leaves out the pods that have some label. It returns "" if pods need a label to be
// selected.
func describeSelector(selector *metav1.LabelSelector) string {
	switch {
	case len(selector.MatchLabels) > 0, slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		// Every namespace has the label with its name, so Exists selects all of them.
		return r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpExists && r.Key != corev1.LabelMetadataName
	}):
		return ""
	case len(selector.MatchExpressions) > 0:
		return "nearly all pods"
	}
	return "all pods"
}

// allowedPeers returns the peers of each rule that allows nearly all ports in a
// direction.
func allowedPeers(policy *networkingv1.NetworkPolicySpec, direction networkingv1.PolicyType) [][]networkingv1.NetworkPolicyPeer {
	var peers [][]networkingv1.NetworkPolicyPeer
	if direction == networkingv1.PolicyTypeIngress {
		for _, rule := range policy.Ingress {
			if hasNearlyAllPorts(rule.Ports) {
				peers = append(peers, rule.From)
			}
		}
		return peers
	}
	for _, rule := range policy.Egress {
		if hasNearlyAllPorts(rule.Ports) {
			peers = append(peers, rule.To)
		}
	}
	return peers
}

// hasNearlyAllPorts reports whether ports contain all, or nearly all, TCP ports. An
// empty list means all ports.
func hasNearlyAllPorts(ports []networkingv1.NetworkPolicyPort) bool {
	if len(ports) == 0 {
		return true
	}
	type portRange struct{ first, last int32 }
	var ranges []portRange
	for _, port := range ports {
		switch {
		case ptr.Deref(port.Protocol, corev1.ProtocolTCP) != corev1.ProtocolTCP:
		case port.Port == nil:
			return true
		case port.Port.IntVal > 0: // a named port has the value 0
			ranges = append(ranges, portRange{first: port.Port.IntVal, last: ptr.Deref(port.EndPort, port.Port.IntVal)})
		}
	}
	slices.SortFunc(ranges, func(a, b portRange) int { return cmp.Compare(a.first, b.first) })
	var count, counted int32 // counted is the highest port that count includes
	for _, r := range ranges {
		count += max(0, r.last-max(r.first-1, counted))
		counted = max(counted, r.last)
	}
	return count > nearlyAllPorts
}

// describePeers returns "anywhere" or "every pod in the cluster" if the rules
// together allow that much, and "" otherwise. A rule without peers allows any peer.
func describePeers(rules [][]networkingv1.NetworkPolicyPeer) string {
	const anywhere = "anywhere"
	var addresses netipx.IPSetBuilder
	allowsEveryPod := false
	for _, peers := range rules {
		if len(peers) == 0 {
			return anywhere
		}
		for _, peer := range peers {
			if peer.IPBlock != nil {
				addAddresses(&addresses, peer.IPBlock)
				continue
			}
			allowsEveryPod = allowsEveryPod || peer.NamespaceSelector != nil && describeSelector(peer.NamespaceSelector) != "" &&
				(peer.PodSelector == nil || describeSelector(peer.PodSelector) != "")
		}
	}
	// addAddresses skips blocks that do not parse. The API server rejects these.
	set, err := addresses.IPSet()
	switch {
	case err == nil && (set.ContainsPrefix(allIPv4) || set.ContainsPrefix(allIPv6)):
		return anywhere
	case allowsEveryPod:
		return "every pod in the cluster"
	}
	return ""
}

// All addresses of each IP family.
var (
	allIPv4 = netip.MustParsePrefix("0.0.0.0/0")
	allIPv6 = netip.MustParsePrefix("::/0")
)

// addAddresses adds the addresses that an ipBlock allows. It ignores negligible
// exceptions.
func addAddresses(addresses *netipx.IPSetBuilder, block *networkingv1.IPBlock) {
	cidr, err := netip.ParsePrefix(block.CIDR)
	if err != nil {
		return
	}
	var allowed netipx.IPSetBuilder
	allowed.AddPrefix(cidr)
	for _, text := range block.Except {
		if except, err := netip.ParsePrefix(text); err == nil && except.Bits() < negligibleBits(except) {
			allowed.RemovePrefix(except)
		}
	}
	if set, err := allowed.IPSet(); err == nil {
		addresses.AddSet(set)
	}
}

// negligibleBits is the prefix length from which an exception is too small to
// matter, such as the address of one metadata service.
func negligibleBits(except netip.Prefix) int {
	if except.Addr().Is4() {
		return 17
	}
	return 65
}
