package fuzz

import (
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/resource"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/randfill"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// Parts that baselines are made of. Most are valid, for what the CRD refuses is
// never rendered; some are at the edge of it.
var (
	labels       = []string{"a", "app", "team", "Tier_1", "example.com/team", corev1.LabelMetadataName, strings.Repeat("k", 63), strings.Repeat("p.", 126) + "p/" + strings.Repeat("k", 63)}
	longLabel    = strings.Repeat("p.", 126) + "pp/k"
	values       = []v1alpha1.LabelValue{"", "a", "web", "v1.2_3-B", "payments", v1alpha1.LabelValue(strings.Repeat("v", 63))}
	names        = []string{"a", "web", "b-2", "c.d", "0", "to-api", strings.Repeat("n", 63), strings.Repeat("n", 235)}
	namespaces   = []string{"payments", "kube-system", "a", "9", strings.Repeat("n", 63)}
	subjectNames = []string{"a", "alice@example.com", "oidc:team-a", "system:authenticated", "Ü %/", strings.Repeat("u", 256)}
	cidrs        = []string{
		"0.0.0.0/0", "::/0", "10.0.0.0/8", "169.254.0.0/16", "169.254.169.254/31", "192.0.0.0/24", "100.64.0.0/10",
		"fc00::/7", "fd00:ec2::/32", "fe80::/10", "2001:db8::/32", "::ffff:0:0/96", "64:ff9b::a9fe:a9fe/128",
	}
	quantities = []string{
		"0", "1", "2", "4", "100m", "1500m", "0.5", "0.1m", "1n", "1e2", "1E2", "1Ki", "1Mi", "1024Mi", "1Gi", "1.5Gi", "1T", "3E", "9223372036854775807",
		"9223372036854775808", "1e30", "1e-12", "00.10", "+3", ".5",
	}
	containerResources = []corev1.ResourceName{"cpu", "memory", "ephemeral-storage", "hugepages-2Mi", "example.com/gpu"}
	podQuotaResources  = []corev1.ResourceName{"pods", "count/pods", "cpu", "requests.memory", "limits.cpu"}
	quotaResources     = []corev1.ResourceName{
		"pods", "services", "secrets", "configmaps", "persistentvolumeclaims", "services.loadbalancers", "count/deployments.apps", "requests.storage",
		"gold.storageclass.storage.k8s.io/requests.storage", "requests.example.com/gpu", "hugepages-2Mi", "ephemeral-storage", "requests.ephemeral-storage",
		"cpu", "memory", "requests.cpu", "limits.cpu", "requests.memory", "limits.memory",
	}
	registries = []string{"registry.example.com", "harbor.example.com:5000/team", "docker.io/library", "ghcr.io/acme/", "localhost:5000", "[2001:db8::1]:5000", "Mixed.example.com/a"}
	reasons    = []string{"it is being migrated", "0123456789", "für die Übergangszeit\n"}
	contacts   = []string{"", "#platform", "ops@example.com"}
	versions   = []string{"", "latest", "v1.0", "v1.36", "v1.4294967296"}
	scopes     = []corev1.ResourceQuotaScope{"Terminating", "NotTerminating", "BestEffort", "NotBestEffort", "PriorityClass", "CrossNamespacePodAffinity"}
)

// fill makes things of data, with the same data the same.
func newFiller(data []byte) *randfill.Filler {
	return randfill.NewFromGoFuzz(data).NilChance(0.5).NumElements(0, 3).Funcs(
		oneOf(v1alpha1.ModeEnforce, v1alpha1.ModeAudit, ""),
		oneOf(v1alpha1.DeletionRetain, v1alpha1.DeletionRemove, ""),
		oneOf(v1alpha1.DirectionIngress, v1alpha1.DirectionEgress),
		oneOf(v1alpha1.RolloutImmediate, v1alpha1.RolloutWhenClean, ""),
		oneOf[v1alpha1.PodSecurityLevel]("", "privileged", "baseline", "restricted"),
		oneOf(v1alpha1.ActionDeny, v1alpha1.ActionWarn, v1alpha1.ActionAudit, ""),
		oneOf(corev1.ProtocolTCP, corev1.ProtocolUDP, corev1.ProtocolSCTP),
		oneOf(values...),
		fillSpec, fillSelector, fillRequirement, fillNetwork, fillPolicy, fillPolicySpec, fillPeer, fillBlock, fillPort,
		fillBinding, fillRBAC, fillRoleRef, fillSubject, fillSubjectFrom, fillPodSecurity, fillServiceAccounts, fillLimits, fillQuota, fillResources,
		fillImages, fillWorkloads, fillException, fillNamespace,
	)
}

// oneOf fills something with one of a few values.
func oneOf[T any](of ...T) func(*T, randfill.Continue) {
	return func(into *T, c randfill.Continue) { *into = pick(c, of) }
}

func pick[T any](c randfill.Continue, of []T) T {
	return of[c.Intn(len(of))]
}

// some returns different ones of a few values, at most so many.
func pickSome[T comparable](c randfill.Continue, most int, of []T) []T {
	var picked []T
	for range c.Intn(most + 1) {
		if one := pick(c, of); !slices.Contains(picked, one) {
			picked = append(picked, one)
		}
	}
	return picked
}

// distinct returns the elements of a list without those whose name another has.
func distinct[T any](list []T, name func(*T) string) []T {
	seen := sets.New[string]()
	return slices.DeleteFunc(list, func(one T) bool {
		if seen.Has(name(&one)) {
			return true
		}
		seen.Insert(name(&one))
		return false
	})
}

// rarely is true one time in sixteen.
func rarely(c randfill.Continue) bool {
	return c.Intn(16) == 0
}

// part fills a part of a baseline, or leaves it out.
func fillOptional[T any](c randfill.Continue, into **T) {
	*into = nil
	if c.Intn(3) > 0 {
		*into = new(T)
		c.Fill(*into)
	}
}

func fillSpec(spec *v1alpha1.SecurityBaselineSpec, c randfill.Continue) {
	c.Fill(&spec.Mode)
	c.Fill(&spec.DeletionPolicy)
	c.Fill(&spec.NamespaceSelector)
	spec.Priority = int32(c.Uint32())
	spec.ExcludeNamespaces = pickSome(c, 2, namespaces)
	spec.Contact = pick(c, contacts)
	fillOptional(c, &spec.PodSecurity)
	fillOptional(c, &spec.Network)
	fillOptional(c, &spec.RBAC)
	fillOptional(c, &spec.ServiceAccounts)
	fillOptional(c, &spec.Resources)
	fillOptional(c, &spec.Images)
	fillOptional(c, &spec.Workloads)
	fillOptional(c, &spec.Guard)
	c.Fill(&spec.Exceptions)
	spec.Exceptions = distinct(spec.Exceptions, func(e *v1alpha1.Exception) string { return e.Name })
}

func fillSelector(selector *v1alpha1.LabelSelector, c randfill.Continue) {
	for _, key := range pickSome(c, 2, labels) {
		if selector.MatchLabels == nil {
			selector.MatchLabels = map[string]v1alpha1.LabelValue{}
		}
		selector.MatchLabels[key] = pick(c, values)
	}
	c.Fill(&selector.MatchExpressions)
}

func fillRequirement(requirement *v1alpha1.LabelSelectorRequirement, c randfill.Continue) {
	requirement.Key = pick(c, labels)
	if rarely(c) {
		requirement.Key = longLabel
	}
	requirement.Operator = pick(c, []metav1.LabelSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist"})
	if requirement.Operator == metav1.LabelSelectorOpIn || requirement.Operator == metav1.LabelSelectorOpNotIn {
		requirement.Values = []string{string(pick(c, values)), string(pick(c, values))}
	}
}

func fillNetwork(network *v1alpha1.Network, c randfill.Continue) {
	c.FillNoCustom(network)
	network.Policies = distinct(network.Policies, func(p *v1alpha1.NamedNetworkPolicy) string { return p.Name })
	network.DefaultDeny = pickSome(c, 3, []v1alpha1.Direction{v1alpha1.DirectionIngress, v1alpha1.DirectionEgress})
	if len(network.DefaultDeny) == 0 {
		network.WaitForDefaultDeny, network.Allow = false, nil
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
		peer.PodSelector, peer.NamespaceSelector = nil, nil
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
		port.Port, port.EndPort = new(intstr.FromInt32(first)), new(first+c.Int31n(65536-first))
	}
}

func fillRBAC(rbac *v1alpha1.RBAC, c randfill.Continue) {
	c.FillNoCustom(rbac)
	rbac.RoleBindings = distinct(rbac.RoleBindings, func(b *v1alpha1.NamedRoleBinding) string { return b.Name })
	if len(rbac.RoleBindings) == 0 && rbac.ClusterAdmin == nil {
		rbac.RoleBindings = make([]v1alpha1.NamedRoleBinding, 1)
		c.Fill(&rbac.RoleBindings[0])
	}
}

func fillBinding(binding *v1alpha1.NamedRoleBinding, c randfill.Continue) {
	c.FillNoCustom(binding)
	binding.Name = pick(c, names)
	if len(binding.Subjects)+len(binding.SubjectsFrom) == 0 {
		binding.Subjects = make([]v1alpha1.Subject, 1)
		c.Fill(&binding.Subjects[0])
	}
}

func fillRoleRef(role *v1alpha1.RoleRef, c randfill.Continue) {
	role.APIGroup = pick(c, []string{"", rbacv1.GroupName})
	role.Kind = pick(c, []string{"Role", "ClusterRole"})
	role.Name = pick(c, []string{"view", "system:aggregate-to-view", "Ü", "a:b", strings.Repeat("r", 253)})
}

func fillSubject(subject *v1alpha1.Subject, c randfill.Continue) {
	subject.Kind, subject.Name = pick(c, []string{rbacv1.UserKind, rbacv1.GroupKind}), pick(c, subjectNames)
	if c.Bool() {
		subject.Kind, subject.Name, subject.Namespace = rbacv1.ServiceAccountKind, pick(c, names), pick(c, namespaces)
	}
	if c.Bool() {
		subject.APIGroup = new(rbacv1.GroupName)
		if subject.Kind == rbacv1.ServiceAccountKind {
			subject.APIGroup = new("")
		}
	}
}

func fillSubjectFrom(from *v1alpha1.SubjectFrom, c randfill.Continue) {
	from.Kind = pick(c, []string{rbacv1.UserKind, rbacv1.GroupKind})
	from.Prefix = pick(c, []string{"", "oidc:", "system", strings.Repeat("p", 253)})
	from.Label = pick(c, labels)
}

func fillPodSecurity(podSecurity *v1alpha1.PodSecurity, c randfill.Continue) {
	c.FillNoCustom(podSecurity)
	podSecurity.Version = pick(c, versions)
	if podSecurity.Rollout == v1alpha1.RolloutWhenClean && podSecurity.Enforce == "" {
		podSecurity.Enforce = "restricted"
	}
}

func fillServiceAccounts(accounts *v1alpha1.ServiceAccounts, _ randfill.Continue) {
	accounts.AutomountDefaultToken = new(false)
}

// fillLimits mostly makes what no default is larger than no maximum and so on.
func fillLimits(limits *v1alpha1.LimitRangeSpec, c randfill.Continue) {
	kinds := []corev1.LimitType{corev1.LimitTypeContainer, corev1.LimitTypePod, corev1.LimitTypePersistentVolumeClaim}
	for _, kind := range append(pickSome(c, 2, kinds[1:]), kinds[:1]...) {
		of := containerResources
		if kind == corev1.LimitTypePersistentVolumeClaim {
			of = []corev1.ResourceName{"storage"}
		}
		item := v1alpha1.LimitRangeItem{
			Type: kind, Max: v1alpha1.LimitedResources{}, Min: v1alpha1.LimitedResources{}, Default: v1alpha1.LimitedResources{},
			DefaultRequest: v1alpha1.LimitedResources{}, MaxLimitRequestRatio: v1alpha1.LimitedResources{},
		}
		for _, name := range append(pickSome(c, 2, of), of[0]) {
			four := []resource.Quantity{quantity(c), quantity(c), quantity(c), quantity(c)}
			if !rarely(c) {
				slices.SortFunc(four, func(a, b resource.Quantity) int { return a.Cmp(b) })
			}
			lists := []v1alpha1.LimitedResources{item.Min, item.DefaultRequest, item.Default, item.Max}
			for i, list := range lists {
				if c.Bool() && (kind == corev1.LimitTypeContainer || i == 0 || i == 3) {
					list[name] = four[i]
				}
			}
			if rarely(c) {
				item.MaxLimitRequestRatio[name] = quantity(c)
			}
		}
		limits.Limits = append(limits.Limits, item)
	}
}

func quantity(c randfill.Continue) resource.Quantity {
	return resource.MustParse(pick(c, quantities))
}

func fillQuota(quota *v1alpha1.ResourceQuotaSpec, c randfill.Continue) {
	of := quotaResources
	switch c.Intn(3) {
	case 0:
		quota.Scopes, of = pickSome(c, 2, scopes), podQuotaResources
	case 1:
		quota.ScopeSelector, of = &v1alpha1.ScopeSelector{}, podQuotaResources
		for range c.Intn(3) {
			requirement := v1alpha1.ScopedResourceSelectorRequirement{ScopeName: pick(c, scopes), Operator: corev1.ScopeSelectorOpExists}
			if requirement.ScopeName == corev1.ResourceQuotaScopePriorityClass && c.Bool() {
				requirement.Operator, requirement.Values = corev1.ScopeSelectorOpIn, []string{"high", pick(c, names)}
			}
			if rarely(c) {
				requirement.Operator = pick(c, []corev1.ScopeSelectorOperator{"In", "NotIn", "Exists", "DoesNotExist"})
			}
			quota.ScopeSelector.MatchExpressions = append(quota.ScopeSelector.MatchExpressions, requirement)
		}
	}
	if rarely(c) {
		of = quotaResources
	}
	quota.Hard = corev1.ResourceList{}
	for _, name := range append(pickSome(c, 2, of), of[0]) {
		quota.Hard[name] = pick(c, []resource.Quantity{resource.MustParse("4"), resource.MustParse("1Ki"), quantity(c)})
	}
}

// fillResources gives a quota of what pods request a LimitRange that states it,
// which the CRD asks for.
func fillResources(resources *v1alpha1.Resources, c randfill.Continue) {
	c.FillNoCustom(resources)
	if resources.Quota == nil || c.Bool() {
		return
	}
	half, one := resource.MustParse("500m"), resource.MustParse("1")
	resources.LimitRange = &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{{
		Type: corev1.LimitTypeContainer, DefaultRequest: v1alpha1.LimitedResources{"cpu": half, "memory": half}, Default: v1alpha1.LimitedResources{"cpu": one, "memory": one},
	}}}
}

func fillImages(images *v1alpha1.Images, c randfill.Continue) {
	images.AllowedRegistries = pickSome(c, 4, registries)
	images.RequireDigest = len(images.AllowedRegistries) == 0 || c.Bool()
	c.Fill(&images.Action)
}

func fillWorkloads(workloads *v1alpha1.Workloads, c randfill.Continue) {
	c.FillNoCustom(workloads)
	workloads.RequireLimits = workloads.RequireLimits || !workloads.ReadOnlyRootFilesystem && !workloads.ForbidDefaultServiceAccount
}

func fillException(exception *v1alpha1.Exception, c randfill.Continue) {
	exception.Name = pick(c, namespaces)
	exception.Namespaces = append(exception.Namespaces, pick(c, namespaces))
	exception.Controls = append(exception.Controls, pick(c, controls.All).Name)
	exception.Reason = pick(c, reasons)
	if c.Bool() {
		exception.ExpirationTime = new(metav1.Unix(c.Int63n(4e9), 0))
	}
}

// fillNamespace makes a namespace that the API server could have.
func fillNamespace(namespace *controls.Namespace, c randfill.Continue) {
	namespace.Name = pick(c, namespaces)
	namespace.Labels = map[string]string{corev1.LabelMetadataName: namespace.Name}
	add := func(key string, values ...string) {
		if !c.Bool() {
			return
		}
		namespace.Labels[key] = pick(c, values)
		if c.Bool() {
			namespace.OwnedLabels.Insert(key)
		}
	}
	namespace.OwnedLabels = sets.New[string]()
	for _, key := range labels {
		add(key, "a", "team-a", "", "v1.2_3-B", strings.Repeat("v", 63))
	}
	for _, control := range controls.All {
		for i, key := range control.NamespaceLabels {
			if i == 0 {
				add(key, "baseline", "other")
				continue
			}
			add(key, "privileged", "baseline", "restricted", "latest", "v1.30", "true", "nonsense")
		}
	}
	var policies []v1alpha1.NamedNetworkPolicy
	c.Fill(&policies)
	for i := range policies {
		namespace.Unmanaged = append(namespace.Unmanaged, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Name: policies[i].Name}, Spec: policies[i].Spec.ToUpstream()})
	}
	namespace.RoleRules = map[rbacv1.RoleRef][]rbacv1.PolicyRule{}
	for range c.Intn(3) {
		role, all := rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "Role", Name: pick(c, names)}, []string{rbacv1.ResourceAll}
		namespace.RoleRules[role] = []rbacv1.PolicyRule{{
			APIGroups: pick(c, [][]string{all, {""}, {rbacv1.GroupName}}), Resources: pick(c, [][]string{all, {"roles", "users"}}), Verbs: pick(c, [][]string{all, {"bind"}, {"get"}}),
		}}
		namespace.Unmanaged = append(namespace.Unmanaged, &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Name: pick(c, names)}, RoleRef: role, Subjects: []rbacv1.Subject{{Kind: rbacv1.UserKind, Name: pick(c, subjectNames)}},
		})
	}
	namespace.HasDefaultDeny = c.Bool()
	if c.Bool() {
		spec := v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline", Version: pick(c, versions)}}
		c.Fill(&spec.PodSecurity.Enforce)
		namespace.ReachedLevel = controls.All[0].EnforcedLevel(&spec)
	}
}

// mixed returns a baseline of a YAML document, or of none, and a namespace. Random
// data, if there is any, replaces parts of the document's spec and adds others.
func mixedBaseline(t *testing.T, document, random []byte) (map[string]any, controls.Namespace) {
	t.Helper()
	filler, none := newFiller(random), document == nil
	if none {
		document = fmt.Appendf(nil, baselineTemplate, "")
	}
	object, err := decode(document)
	if err != nil {
		t.Fatal(err)
	}
	var made v1alpha1.SecurityBaselineSpec
	var namespace controls.Namespace
	filler.Fill(&made)
	filler.Fill(&namespace)
	if len(random) == 0 {
		return object, namespace
	}
	parts, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&made)
	if err != nil {
		t.Fatal(err)
	}
	spec := object["spec"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		var replace bool
		if filler.Fill(&replace); replace || none {
			spec[key] = parts[key]
		}
	}
	return object, namespace
}
