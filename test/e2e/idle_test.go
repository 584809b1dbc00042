package e2e

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/test/testutil"
)

// idlePeriod is how long the operator must not write when nothing changes.
const idlePeriod = 30 * time.Second

// everyFieldSpec declares every control, and leaves out the fields that the API server defaults.
func everyFieldSpec() v1alpha1.SecurityBaselineSpec {
	spec := defaultSpec()
	spec.PodSecurity.Version = "v1.36"
	spec.PodSecurity.Rollout = v1alpha1.RolloutWhenClean
	spec.Network.WaitForDefaultDeny = true
	spec.ServiceAccounts = &v1alpha1.ServiceAccounts{AutomountDefaultToken: new(false)}
	spec.Resources = &v1alpha1.Resources{
		LimitRange: &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{
			// The API server defaults the others from max, default and min; it rounds 0.1m up.
			{Type: corev1.LimitTypeContainer, Max: limitedResources("cpu", "2", "memory", "1024Mi"), Default: limitedResources("cpu", "1500m"),
				Min: limitedResources("cpu", "0.1m", "ephemeral-storage", "1Mi"), MaxLimitRequestRatio: limitedResources("memory", "4")},
			{Type: corev1.LimitTypePod, Max: limitedResources("cpu", "4000m")},
			{Type: corev1.LimitTypePersistentVolumeClaim, Max: limitedResources("storage", "10Gi")},
		}},
		Quota: &v1alpha1.ResourceQuotaSpec{
			Hard: resourceList("requests.cpu", "10000m", "limits.memory", "1024Mi", "pods", "1e2"),
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

// TestOperator_WritesNothingWhenIdle restarts the operator and counts its writes.
func TestOperator_WritesNothingWhenIdle(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", everyFieldSpec())
	// The operator does not evaluate pods again that meet the enforced level.
	createDeployment(t, namespace.Name, restrictedPod())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))

	t.Run("the API server returns what the operator writes", func(t *testing.T) {
		waitForObject(t, "", namespace.Name, namespace)
		for _, control := range controls.All {
			if len(control.Manages)+len(control.NamespaceLabels) == 0 {
				continue // it only reports
			}
			if !control.IsDeclared(&baseline.Spec) {
				t.Errorf("controls of the test's baseline: got no %s, want every control", control.Name)
				continue
			}
			observed := controls.Namespace{Name: namespace.Name, Labels: namespace.Labels, HasDefaultDeny: true}
			if control.EnforcedLevel != nil {
				observed.ReachedLevel = control.EnforcedLevel(&baseline.Spec)
			}
			desired := control.Render(baseline, observed)
			for key, value := range desired.NamespaceLabels {
				testutil.Equal(t, key, namespace.Labels[key], value)
			}
			for _, object := range desired.Objects {
				live := waitForObject(t, namespace.Name, object.GetName(), object.DeepCopyObject().(client.Object))
				if account, ok := live.(*corev1.ServiceAccount); ok {
					testutil.Equal(t, "the token of ServiceAccount default", account.AutomountServiceAccountToken, new(false))
					continue // the operator manages no other field
				}
				ignore := cmp.Options{
					cmpopts.EquateEmpty(),
					cmpopts.IgnoreFields(metav1.ObjectMeta{}, "UID", "ResourceVersion", "Generation", "CreationTimestamp", "ManagedFields"),
					cmpopts.IgnoreTypes(metav1.TypeMeta{}, corev1.ResourceQuotaStatus{}),
				}
				if diff := cmp.Diff(object, live, ignore); diff != "" {
					t.Errorf("%s differs (-want +got):\n%s", object.GetName(), diff)
				}
			}
		}
	})

	t.Run("it writes nothing after a restart", func(t *testing.T) {
		env.waitForNoWrites(t)
		env.stopOperator(t)
		before := env.writes.Load()
		env.startOperator(t)
		env.neverWrites(t, before, idlePeriod)
	})

	t.Run("it reverts a change afterwards", func(t *testing.T) {
		testutil.Must(t, env.Admin.Delete(t.Context(), env.WaitForPolicy(t, namespace.Name, "default-deny")))
		waitForObject(t, namespace.Name, "security-baseline-default-deny", &networkingv1.NetworkPolicy{})
		testutil.Must(t, env.Admin.Delete(t.Context(), waitForObject(t, namespace.Name, "security-baseline-all-kinds", &rbacv1.RoleBinding{})))
		waitForObject(t, namespace.Name, "security-baseline-all-kinds", &rbacv1.RoleBinding{})
	})
}
