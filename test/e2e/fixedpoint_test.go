package e2e

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// idle is how long the operator must not write once everything is in place.
const idle = 30 * time.Second

// everyField is a baseline that leaves to the API server what it would default,
// in every control.
func everyField() v1alpha1.SecurityBaselineSpec {
	spec := everything()
	spec.PodSecurity.Version = "v1.36"
	spec.PodSecurity.Rollout = v1alpha1.RolloutWhenClean
	spec.Network.WaitForDefaultDeny = true
	spec.ServiceAccounts = &v1alpha1.ServiceAccounts{AutomountDefaultToken: new(false)}
	spec.Resources = &v1alpha1.Resources{
		LimitRange: &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{
			// What is left out is defaulted from max, from default and from min; 0.1m is
			// rounded up.
			{Type: corev1.LimitTypeContainer, Max: limited("cpu", "2", "memory", "1024Mi"), Default: limited("cpu", "1500m"),
				Min: limited("cpu", "0.1m", "ephemeral-storage", "1Mi"), MaxLimitRequestRatio: limited("memory", "4")},
			{Type: corev1.LimitTypePod, Max: limited("cpu", "4000m")},
			{Type: corev1.LimitTypePersistentVolumeClaim, Max: limited("storage", "10Gi")},
		}},
		Quota: &v1alpha1.ResourceQuotaSpec{
			Hard: list("requests.cpu", "10000m", "limits.memory", "1024Mi", "pods", "1e2"),
			ScopeSelector: &v1alpha1.ScopeSelector{MatchExpressions: []v1alpha1.ScopedResourceSelectorRequirement{{
				ScopeName: corev1.ResourceQuotaScopePriorityClass, Operator: corev1.ScopeSelectorOpExists,
			}}},
		},
	}
	spec.Images = &v1alpha1.Images{AllowedRegistries: []string{"example.com"}}
	spec.Workloads = &v1alpha1.Workloads{RequireLimits: true, Action: v1alpha1.ActionWarn}
	spec.Guard = &v1alpha1.Guard{Exempt: []v1alpha1.Subject{{Kind: "User", Name: "admin"}}}
	ports := []v1alpha1.NetworkPolicyPort{
		{Port: new(intstr.FromInt32(80))}, {Port: new(intstr.FromString("http"))},
		{Port: new(intstr.FromInt32(8000)), EndPort: ptr.To[int32](9000)}, {},
	}
	peers := []v1alpha1.NetworkPolicyPeer{
		{PodSelector: &v1alpha1.LabelSelector{}},
		{NamespaceSelector: &v1alpha1.LabelSelector{}, PodSelector: &v1alpha1.LabelSelector{MatchExpressions: []v1alpha1.LabelSelectorRequirement{
			{Key: "app", Operator: metav1.LabelSelectorOpIn, Values: []string{"b", "a"}},
			{Key: "tier", Operator: metav1.LabelSelectorOpExists},
		}}},
		{IPBlock: &v1alpha1.IPBlock{CIDR: "0.0.0.0/0", Except: []string{"10.0.0.0/8"}}},
		{IPBlock: &v1alpha1.IPBlock{CIDR: "::/0"}},
	}
	spec.Network.Policies = []v1alpha1.NamedNetworkPolicy{
		{Name: "empty"},
		{Name: "ingress", Spec: v1alpha1.NetworkPolicySpec{Ingress: []v1alpha1.NetworkPolicyIngressRule{{}, {Ports: ports, From: peers}}}},
		{Name: "egress", Spec: v1alpha1.NetworkPolicySpec{
			PodSelector: v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"app": "web", "tier": ""}},
			Egress:      []v1alpha1.NetworkPolicyEgressRule{{Ports: ports, To: peers}},
		}},
		{Name: "both", Spec: v1alpha1.NetworkPolicySpec{PolicyTypes: []v1alpha1.Direction{"Egress", "Ingress"}}},
	}
	spec.RBAC.RoleBindings = append(spec.RBAC.RoleBindings, v1alpha1.NamedRoleBinding{
		Name:    "all-kinds",
		RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: "view"},
		Subjects: []v1alpha1.Subject{
			{Kind: "User", Name: "u"}, {Kind: "Group", Name: "g"}, {Kind: "ServiceAccount", Name: "s", Namespace: "ci"},
		},
		SubjectsFrom: []v1alpha1.SubjectFrom{{Kind: "User", Prefix: "oidc:", Label: "test"}, {Kind: "Group", Label: "test"}},
	})
	return spec
}

// It restarts the operator and counts its writes, so it runs alone.
func TestTheOperatorRests(t *testing.T) {
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everyField())
	// Pods that are clean under enforcement are never asked about again.
	deploy(t, namespace.Name, restrictedPod())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))

	t.Run("what it asks for reads back the same", func(t *testing.T) {
		get(t, "", namespace.Name, namespace)
		for _, control := range controls.All {
			if !control.IsDeclared(&baseline.Spec) {
				t.Errorf("this test leaves %s out", control.Name)
				continue
			}
			observed := controls.Namespace{Name: namespace.Name, Labels: namespace.Labels, HasDefaultDeny: true}
			if control.EnforcedLevel != nil {
				observed.ReachedLevel = control.EnforcedLevel(&baseline.Spec)
			}
			desired := control.Render(baseline, observed)
			for key, value := range desired.NamespaceLabels {
				equal(t, key, value, namespace.Labels[key])
			}
			for _, object := range desired.Objects {
				live := get(t, namespace.Name, object.GetName(), object.DeepCopyObject().(client.Object))
				if account, ok := live.(*corev1.ServiceAccount); ok {
					equal(t, "the token of ServiceAccount default", new(false), account.AutomountServiceAccountToken)
					continue // the rest is Kubernetes'
				}
				ignore := cmp.Options{
					cmpopts.EquateEmpty(),
					cmpopts.IgnoreFields(metav1.ObjectMeta{}, "UID", "ResourceVersion", "Generation", "CreationTimestamp", "ManagedFields"),
					cmpopts.IgnoreTypes(metav1.TypeMeta{}, corev1.ResourceQuotaStatus{}),
				}
				if diff := cmp.Diff(object, live, ignore); diff != "" {
					t.Errorf("%s (-want +got):\n%s", object.GetName(), diff)
				}
			}
		}
	})

	t.Run("restarted, it writes nothing", func(t *testing.T) {
		rests(t)
		must(t, stopOperator())
		before := operatorWrites.Load()
		stop, err := startOperator(context.Background())
		must(t, err)
		stopOperator = stop
		err = wait.PollUntilContextTimeout(t.Context(), glance, idle, true, func(context.Context) (bool, error) {
			return operatorWrites.Load() != before, nil
		})
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%d writes although everything was in place (%v)", operatorWrites.Load()-before, err)
		}
	})

	t.Run("and it is awake", func(t *testing.T) {
		must(t, admin.Delete(t.Context(), policy(t, namespace.Name, "default-deny")))
		get(t, namespace.Name, "security-baseline-default-deny", &networkingv1.NetworkPolicy{})
		must(t, admin.Delete(t.Context(), get(t, namespace.Name, "security-baseline-all-kinds", &rbacv1.RoleBinding{})))
		get(t, namespace.Name, "security-baseline-all-kinds", &rbacv1.RoleBinding{})
	})
}
