package fuzz

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/randfill"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// Values for the fields of baselines. Most are valid, because a baseline that the CRD
// rejects is never rendered. Some are edge cases.
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

// newFiller returns a filler that derives values from data. The same data produces the
// same values.
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

// oneOf returns a function that fills in one of the values.
func oneOf[T any](of ...T) func(*T, randfill.Continue) {
	return func(into *T, c randfill.Continue) { *into = pick(c, of) }
}

func pick[T any](c randfill.Continue, of []T) T {
	return of[c.Intn(len(of))]
}

// pickSome returns up to most different values.
func pickSome[T comparable](c randfill.Continue, most int, of []T) []T {
	var picked []T
	for range c.Intn(most + 1) {
		if one := pick(c, of); !slices.Contains(picked, one) {
			picked = append(picked, one)
		}
	}
	return picked
}

// distinct returns the list with only the first element of each name.
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

// rarely returns true once in sixteen times.
func rarely(c randfill.Continue) bool {
	return c.Intn(16) == 0
}

// fillOptional fills an optional part of a baseline, or leaves it out.
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

// mixedBaseline returns a baseline from a YAML document, or from the template, and a
// namespace. Random data replaces some parts of the spec and adds others.
func mixedBaseline(t *testing.T, document, random []byte) (map[string]any, controls.Namespace) {
	t.Helper()
	filler := newFiller(random)
	fromTemplate := document == nil
	if fromTemplate {
		document = fmt.Appendf(nil, baselineTemplate, "")
	}
	object, err := decode(document)
	if err != nil {
		t.Fatal(err)
	}
	var filled v1alpha1.SecurityBaselineSpec
	var namespace controls.Namespace
	filler.Fill(&filled)
	filler.Fill(&namespace)
	if len(random) == 0 {
		return object, namespace
	}
	parts, err := runtime.DefaultUnstructuredConverter.ToUnstructured(&filled)
	if err != nil {
		t.Fatal(err)
	}
	spec := object["spec"].(map[string]any)
	for _, key := range slices.Sorted(maps.Keys(parts)) {
		var replace bool
		if filler.Fill(&replace); replace || fromTemplate {
			spec[key] = parts[key]
		}
	}
	return object, namespace
}
