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

// mostPorts are so many that what is left of 65,535 keeps nobody out.
const mostPorts = 60_000

// openings says which policies of other people undo the default-deny, because
// policies add up: those that allow all pods, or all but some, everything from or to
// everybody in a denied direction. What only several policies open together is not
// found.
func openings(denied []networkingv1.PolicyType, others []Object) []string {
	var openings []string
	for _, other := range others {
		policy, ok := other.(*networkingv1.NetworkPolicy)
		if !ok {
			continue
		}
		pods := selected(&policy.Spec.PodSelector)
		if pods == "" {
			continue
		}
		for _, direction := range denied {
			if whom := opened(peersOf(&policy.Spec, direction)); whom != "" {
				way := map[networkingv1.PolicyType]string{networkingv1.PolicyTypeIngress: "ingress from", networkingv1.PolicyTypeEgress: "egress to"}[direction]
				openings = append(openings, fmt.Sprintf("NetworkPolicy/%s, which the operator did not make, opens %s to %s %s, "+
					"so that it is not denied; delete it or make it narrower", policy.Name, pods, way, whom))
			}
		}
	}
	return openings
}

// selected says whether a selector selects all pods, or all but those with some
// label; empty if it selects those with one.
func selected(selector *metav1.LabelSelector) string {
	switch {
	case len(selector.MatchLabels) > 0, slices.ContainsFunc(selector.MatchExpressions, func(r metav1.LabelSelectorRequirement) bool {
		// Every namespace has the label that bears its name.
		return r.Operator == metav1.LabelSelectorOpIn || r.Operator == metav1.LabelSelectorOpExists && r.Key != corev1.LabelMetadataName
	}):
		return ""
	case len(selector.MatchExpressions) > 0:
		return "all pods but some"
	}
	return "all pods"
}

// peersOf returns the peers that a policy allows every port in a direction, one
// list a rule.
func peersOf(policy *networkingv1.NetworkPolicySpec, direction networkingv1.PolicyType) [][]networkingv1.NetworkPolicyPeer {
	var peers [][]networkingv1.NetworkPolicyPeer
	if direction == networkingv1.PolicyTypeIngress {
		for _, rule := range policy.Ingress {
			if everyPort(rule.Ports) {
				peers = append(peers, rule.From)
			}
		}
		return peers
	}
	for _, rule := range policy.Egress {
		if everyPort(rule.Ports) {
			peers = append(peers, rule.To)
		}
	}
	return peers
}

// everyPort says whether ports are all of them, or nearly, of TCP at least.
func everyPort(ports []networkingv1.NetworkPolicyPort) bool {
	if len(ports) == 0 {
		return true
	}
	var ranges [][2]int32
	for _, port := range ports {
		switch {
		case ptr.Deref(port.Protocol, corev1.ProtocolTCP) != corev1.ProtocolTCP:
		case port.Port == nil:
			return true
		case port.Port.IntVal > 0: // it has a number, not a name
			ranges = append(ranges, [2]int32{port.Port.IntVal, ptr.Deref(port.EndPort, port.Port.IntVal)})
		}
	}
	slices.SortFunc(ranges, func(a, b [2]int32) int { return cmp.Compare(a[0], b[0]) })
	open, last := int32(0), int32(0)
	for _, ports := range ranges {
		open += max(0, ports[1]-max(ports[0]-1, last))
		last = max(last, ports[1])
	}
	return open > mostPorts
}

// opened says whom rules let pass altogether: everybody, or every pod of the
// cluster; empty if neither.
func opened(rules [][]networkingv1.NetworkPolicyPeer) string {
	const everybody = "everybody"
	var addresses netipx.IPSetBuilder
	everyPod := false
	for _, peers := range rules {
		if len(peers) == 0 {
			return everybody
		}
		for _, peer := range peers {
			if peer.IPBlock != nil {
				addBlock(&addresses, peer.IPBlock)
				continue
			}
			everyPod = everyPod || peer.NamespaceSelector != nil && selected(peer.NamespaceSelector) != "" &&
				(peer.PodSelector == nil || selected(peer.PodSelector) != "")
		}
	}
	// What does not parse was not added, and the API server refuses it.
	set, err := addresses.IPSet()
	switch {
	case err == nil && (set.ContainsPrefix(every4) || set.ContainsPrefix(every6)):
		return everybody
	case everyPod:
		return "every pod of the cluster"
	}
	return ""
}

// Every address of each family.
var (
	every4 = netip.MustParsePrefix("0.0.0.0/0")
	every6 = netip.MustParsePrefix("::/0")
)

// addBlock adds what an ipBlock allows.
func addBlock(addresses *netipx.IPSetBuilder, block *networkingv1.IPBlock) {
	cidr, err := netip.ParsePrefix(block.CIDR)
	if err != nil {
		return
	}
	var one netipx.IPSetBuilder
	one.AddPrefix(cidr)
	for _, text := range block.Except {
		if except, err := netip.ParsePrefix(text); err == nil && except.Bits() < negligible(except) {
			one.RemovePrefix(except)
		}
	}
	if set, err := one.IPSet(); err == nil {
		addresses.AddSet(set)
	}
}

// negligible is how many bits an exception has at least that leaves an ipBlock all
// but whole: the address of a metadata service, say.
func negligible(except netip.Prefix) int {
	if except.Addr().Is4() {
		return 17
	}
	return 65
}
