package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// waitForNothingManaged waits until a namespace has no managed object or label and no report.
func waitForNothingManaged(t *testing.T, namespace string) {
	t.Helper()
	testutil.WaitFor(t, func(context.Context) error {
		return testutil.CheckEqual("what the operator manages", managedParts(t, namespace), map[string]any{})
	})
	env.WaitForNotFound(t, namespace, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
}

func TestNamespaces_GovernedWhenCreatedAfterBaseline(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned))
	namespace := env.NewNamespace(t, "later", nil)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForPolicy(t, namespace.Name, "default-deny")
	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Compliant: 1}}
		if status.Namespaces != want {
			return fmt.Errorf("namespaces: got %+v, want %+v", status.Namespaces, want)
		}
		return testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated)(status)
	})
}

func TestNamespaces_ManagedObjectsRemovedWhenNoLongerSelected(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	createForeignObjects(t, namespace.Name, "")
	foreign := waitForObject(t, namespace.Name, "foreign", &networkingv1.NetworkPolicy{})

	update(t, namespace, func(n *corev1.Namespace) { n.Labels["test"] = "none" })
	waitForNothingManaged(t, namespace.Name)
	testutil.Equal(t, "the foreign policy", waitForObject(t, namespace.Name, "foreign", &networkingv1.NetworkPolicy{}), foreign)
	waitForObject(t, namespace.Name, "foreign", &rbacv1.RoleBinding{})
	waitForObject(t, "", namespace.Name, namespace)
	testutil.Equal(t, "the owner's label", namespace.Labels["example.com/owner"], "team-a")

	update(t, namespace, func(n *corev1.Namespace) { n.Labels["test"] = testutil.Name(t) })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForPolicy(t, namespace.Name, "default-deny")
}

func TestNamespaces_NotGovernedWhenExcluded(t *testing.T) {
	t.Parallel()
	excluded := env.NewNamespace(t, "excluded", nil)
	governed := env.NewNamespace(t, "governed", nil)
	spec := defaultSpec()
	spec.ExcludeNamespaces = []string{excluded.Name}
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, governed.Name, baseline, v1alpha1.StateCompliant)
	waitForNothingManaged(t, excluded.Name)

	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.ExcludeNamespaces = []string{governed.Name} })
	env.WaitForReport(t, excluded.Name, baseline, v1alpha1.StateCompliant)
	waitForNothingManaged(t, governed.Name)
}

// TestNamespaces_NotGovernedWhenProtected selects every namespace, also those of other tests,
// so it is not parallel.
func TestNamespaces_NotGovernedWhenProtected(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	baseline := &v1alpha1.SecurityBaseline{
		ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t)},
		Spec:       defaultSpec(),
	}
	baseline.Spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline.Spec.NamespaceSelector = v1alpha1.LabelSelector{}
	env.Create(t, baseline)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, metav1.NamespaceDefault, baseline, v1alpha1.StateCompliant)
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	for _, protected := range []string{"kube-system", "kube-public", "kube-node-lease", cluster.OperatorNamespace} {
		if testutil.CheckNotFound(env.Admin.Get(t.Context(), client.ObjectKey{Namespace: protected, Name: "security-baseline-default-deny"}, &networkingv1.NetworkPolicy{})) != nil {
			t.Errorf("%s: got a default-deny policy, want none", protected)
		}
	}
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForNothingManaged(t, metav1.NamespaceDefault)
	waitForNothingManaged(t, namespace.Name)
}

func TestNamespaces_ForeignOperatorLabelsKept(t *testing.T) {
	t.Parallel()
	// The namespace has the labels of a managed object.
	namespace := env.NewNamespace(t, "a", map[string]string{v1alpha1.BaselineLabel: "x", v1alpha1.ControlLabel: "Network"})
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	waitForObject(t, "", namespace.Name, namespace)
	testutil.Equal(t, "the owner's label", namespace.Labels[v1alpha1.BaselineLabel], "x")
}
