package controls

import (
	"slices"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Names of the built-in policies, without the prefix. The policies that a baseline
// lists cannot use them: see v1alpha1.NamedNetworkPolicy.
const (
	policyDefaultDeny        = "default-deny"
	policyAllowDNS           = "allow-dns"
	policyAllowSameNamespace = "allow-same-namespace"
)

const dnsPort = 53

// linkLocal contains the address of NodeLocal DNSCache: 169.254.20.10, or another
// link-local address if the administrator chose one. Its pods use the host network,
// so a pod selector cannot match them.
// https://kubernetes.io/docs/tasks/administer-cluster/nodelocaldns/
const linkLocal = "169.254.0.0/16"

// network creates one NetworkPolicy that denies traffic by default and one for each
// kind of traffic that the baseline allows. NetworkPolicies are additive.
// https://kubernetes.io/docs/concepts/services-networking/network-policies/
var network = Control{
	Name:            v1alpha1.ControlNetwork,
	Section:         "network",
	IsDeclared:      func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.Network != nil },
	NamespaceLabels: []string{v1alpha1.GoverningBaselineLabel(v1alpha1.ControlNetwork), v1alpha1.DefaultDenyReadyLabel},
	ShouldLabelNewNamespaces: func(spec *v1alpha1.SecurityBaselineSpec) bool {
		return spec.Network != nil && spec.Network.WaitForDefaultDeny
	},
	Policies: []AdmissionPolicy{{Name: "wait-for-default-deny", Action: waitForDefaultDenyAction, Scope: ScopeUntilDefaultDeny}},
	Manages:  []*Kind{networkPolicies},
	render:   renderNetwork,
}

func waitForDefaultDenyAction(spec *v1alpha1.SecurityBaselineSpec) v1alpha1.Action {
	if spec.Network == nil || !spec.Network.WaitForDefaultDeny {
		return ""
	}
	return v1alpha1.ActionDeny
}

// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;update;delete

// networkPolicies includes those of other authors, who can undo the default-deny policy.
var networkPolicies = &Kind{
	Object: &networkingv1.NetworkPolicy{},
	List:   &networkingv1.NetworkPolicyList{},
	ManagedFields: func(object Object) []Field {
		spec := &object.(*networkingv1.NetworkPolicy).Spec
		return []Field{
			{Path: fieldpath.MakePathOrDie("spec", "podSelector"), Value: spec.PodSelector},
			{Path: fieldpath.MakePathOrDie("spec", "policyTypes"), Value: spec.PolicyTypes},
			{Path: fieldpath.MakePathOrDie("spec", "ingress"), Value: spec.Ingress},
			{Path: fieldpath.MakePathOrDie("spec", "egress"), Value: spec.Egress},
		}
	},
	SetManagedFields: func(actual, expected Object) {
		actual.(*networkingv1.NetworkPolicy).Spec = expected.(*networkingv1.NetworkPolicy).Spec
	},
}

func renderNetwork(baseline *v1alpha1.SecurityBaseline, namespace Namespace) Desired {
	spec := baseline.Spec.Network
	denied := deniedDirections(spec)
	allow := ptr.Deref(spec.Allow, v1alpha1.NetworkAllow{})

	desired := Desired{NamespaceLabels: defaultDenyLabels(baseline, namespace), Violations: exposureViolations(denied, namespace.Unmanaged)}
	add := func(name string, policy networkingv1.NetworkPolicySpec) {
		if ptr.Deref(spec.BlockMetadataService, true) {
			excludeMetadataServices(&policy)
		}
		setNetworkPolicyDefaults(&policy)
		desired.Objects = append(desired.Objects, &networkingv1.NetworkPolicy{ObjectMeta: objectMeta(name), Spec: policy})
	}
	if len(denied) > 0 {
		add(policyDefaultDeny, defaultDeny(denied))
	}
	if slices.Contains(denied, networkingv1.PolicyTypeEgress) && ptr.Deref(allow.DNS, true) {
		add(policyAllowDNS, allowDNS())
	}
	if len(denied) > 0 && allow.SameNamespace {
		add(policyAllowSameNamespace, allowSameNamespace(denied))
	}
	for i := range spec.Policies {
		add(spec.Policies[i].Name, spec.Policies[i].Spec.ToUpstream())
	}
	return desired
}

// IsDefaultDeny reports whether an object is the managed default-deny policy and has
// the spec that the baseline requires.
func IsDefaultDeny(baseline *v1alpha1.SecurityBaseline, object Object) bool {
	policy, ok := object.(*networkingv1.NetworkPolicy)
	return ok && baseline.Spec.Network != nil && policy.Name == v1alpha1.ObjectNamePrefix+policyDefaultDeny && policy.Labels[v1alpha1.BaselineLabel] != "" &&
		equality.Semantic.DeepEqual(policy.Spec, defaultDeny(deniedDirections(baseline.Spec.Network)))
}

// defaultDeny returns a policy that selects all pods and allows no traffic in the
// denied directions.
func defaultDeny(denied []networkingv1.PolicyType) networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{PolicyTypes: denied}
}

// defaultDenyLabels returns the labels for network.waitForDefaultDeny. A namespace
// with only the first label rejects pods; the second label admits them. A new
// namespace gets the first label at creation and the second one when the default-deny
// policy exists. An existing namespace gets both labels together, so that its pods
// never wait.
func defaultDenyLabels(baseline *v1alpha1.SecurityBaseline, namespace Namespace) map[string]string {
	governing := v1alpha1.GoverningBaselineLabel(v1alpha1.ControlNetwork)
	switch {
	case !baseline.Spec.Network.WaitForDefaultDeny:
		return nil
	case namespace.HasDefaultDeny, namespace.OwnedLabels.Has(v1alpha1.DefaultDenyReadyLabel):
		return map[string]string{governing: baseline.Name, v1alpha1.DefaultDenyReadyLabel: "true"}
	case namespace.Labels[governing] != "":
		return map[string]string{governing: baseline.Name}
	}
	return nil
}

// deniedDirections returns the denied directions, ingress first, in whatever order
// the baseline lists them.
func deniedDirections(spec *v1alpha1.Network) []networkingv1.PolicyType {
	var denied []networkingv1.PolicyType
	for _, direction := range []v1alpha1.Direction{v1alpha1.DirectionIngress, v1alpha1.DirectionEgress} {
		if slices.Contains(spec.DefaultDeny, direction) {
			denied = append(denied, networkingv1.PolicyType(direction))
		}
	}
	return denied
}

// allowDNS returns a policy that allows egress to the DNS servers of the cluster.
func allowDNS() networkingv1.NetworkPolicySpec {
	return networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeEgress},
		Egress: []networkingv1.NetworkPolicyEgressRule{{
			Ports: []networkingv1.NetworkPolicyPort{
				{Protocol: new(corev1.ProtocolUDP), Port: new(intstr.FromInt32(dnsPort))},
				{Protocol: new(corev1.ProtocolTCP), Port: new(intstr.FromInt32(dnsPort))},
			},
			To: []networkingv1.NetworkPolicyPeer{
				{
					NamespaceSelector: &metav1.LabelSelector{
						MatchLabels: map[string]string{corev1.LabelMetadataName: metav1.NamespaceSystem},
					},
					// kube-dns is also the label of CoreDNS. Some network plugins redirect
					// DNS traffic to the pods of node-local-dns.
					PodSelector: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{{
						Key: "k8s-app", Operator: metav1.LabelSelectorOpIn, Values: []string{"kube-dns", "node-local-dns"},
					}}},
				},
				{IPBlock: &networkingv1.IPBlock{CIDR: linkLocal}},
			},
		}},
	}
}

// allowSameNamespace returns a policy that allows traffic between the pods of the
// namespace in the denied directions.
func allowSameNamespace(denied []networkingv1.PolicyType) networkingv1.NetworkPolicySpec {
	policy := networkingv1.NetworkPolicySpec{PolicyTypes: denied}
	everyPod := []networkingv1.NetworkPolicyPeer{{PodSelector: &metav1.LabelSelector{}}}
	for _, direction := range denied {
		switch direction {
		case networkingv1.PolicyTypeIngress:
			policy.Ingress = []networkingv1.NetworkPolicyIngressRule{{From: everyPod}}
		case networkingv1.PolicyTypeEgress:
			policy.Egress = []networkingv1.NetworkPolicyEgressRule{{To: everyPod}}
		}
	}
	return policy
}

// setNetworkPolicyDefaults sets the fields that the API server would default, so
// that the defaults do not look like drift.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/pkg/apis/networking/v1/defaults.go
func setNetworkPolicyDefaults(policy *networkingv1.NetworkPolicySpec) {
	if len(policy.PolicyTypes) == 0 {
		policy.PolicyTypes = []networkingv1.PolicyType{networkingv1.PolicyTypeIngress}
		if len(policy.Egress) > 0 {
			policy.PolicyTypes = append(policy.PolicyTypes, networkingv1.PolicyTypeEgress)
		}
	}
	for _, rule := range policy.Ingress {
		setPortDefaults(rule.Ports)
	}
	for _, rule := range policy.Egress {
		setPortDefaults(rule.Ports)
	}
}

func setPortDefaults(ports []networkingv1.NetworkPolicyPort) {
	for i := range ports {
		if ports[i].Protocol == nil {
			ports[i].Protocol = new(corev1.ProtocolTCP)
		}
	}
}
