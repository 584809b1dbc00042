package e2e

import (
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// defaultSpec declares pod security, network and RBAC.
func defaultSpec() v1alpha1.SecurityBaselineSpec {
	return v1alpha1.SecurityBaselineSpec{
		PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline", Audit: "restricted", Warn: "restricted"},
		Network: &v1alpha1.Network{
			DefaultDeny: []v1alpha1.Direction{v1alpha1.DirectionIngress, v1alpha1.DirectionEgress},
			Allow:       &v1alpha1.NetworkAllow{SameNamespace: true},
			Policies: []v1alpha1.NamedNetworkPolicy{{
				Name: "from-ingress",
				Spec: v1alpha1.NetworkPolicySpec{
					Ingress: []v1alpha1.NetworkPolicyIngressRule{{
						From: []v1alpha1.NetworkPolicyPeer{{NamespaceSelector: &v1alpha1.LabelSelector{
							MatchLabels: map[string]v1alpha1.LabelValue{corev1.LabelMetadataName: "ingress-nginx"},
						}}},
					}},
				},
			}},
		},
		RBAC: &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{{
			Name:     "developers",
			RoleRef:  v1alpha1.RoleRef{Kind: "ClusterRole", Name: "edit"},
			Subjects: []v1alpha1.Subject{{Kind: "Group", Name: "developers"}},
		}}},
	}
}

func TestBaseline_AppliedToNamespace(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)

	deny := env.WaitForPolicy(t, namespace.Name, "default-deny")
	testutil.Equal(t, "default-deny", deny.Spec, networkingv1.NetworkPolicySpec{
		PolicyTypes: []networkingv1.PolicyType{networkingv1.PolicyTypeIngress, networkingv1.PolicyTypeEgress},
	})
	testutil.Equal(t, "its labels", deny.Labels, map[string]string{
		v1alpha1.BaselineLabel: baseline.Name, v1alpha1.ControlLabel: "Network", v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue,
	})
	for _, name := range []string{"allow-dns", "allow-same-namespace", "from-ingress"} {
		env.WaitForPolicy(t, namespace.Name, name)
	}
	binding := waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	testutil.Equal(t, "subjects", binding.Subjects, []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "developers"}})

	waitForObject(t, "", namespace.Name, namespace)
	testutil.Equal(t, "namespace labels", namespace.Labels, map[string]string{
		"test":                   testutil.Name(t),
		corev1.LabelMetadataName: namespace.Name,
		v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): baseline.Name,
		"pod-security.kubernetes.io/enforce":                         "baseline",
		"pod-security.kubernetes.io/enforce-version":                 "latest",
		"pod-security.kubernetes.io/audit":                           "restricted",
		"pod-security.kubernetes.io/audit-version":                   "latest",
		"pod-security.kubernetes.io/warn":                            "restricted",
		"pod-security.kubernetes.io/warn-version":                    "latest",
	})

	testutil.Equal(t, "the report's summary", current.Summary, v1alpha1.ReportSummary{Baselines: baseline.Name, CompliantControls: "3/3"})
	testutil.Equal(t, "drifts", len(current.Drifts), 0)
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
}
