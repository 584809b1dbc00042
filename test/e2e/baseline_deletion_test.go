package e2e

import (
	"errors"
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

func TestBaselineDeletion_RetainKeepsManagedObjects(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "deletionPolicy", baseline.Spec.DeletionPolicy, v1alpha1.DeletionRetain)
	testutil.Equal(t, "finalizers", len(baseline.Finalizers), 0)
	before := managedParts(t, namespace.Name)

	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	env.WaitForNotFound(t, namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
	testutil.Equal(t, "the managed objects", managedParts(t, namespace.Name), before)
	uid := env.WaitForPolicy(t, namespace.Name, "default-deny").UID

	// Created again, it takes its objects over by their label, and prunes those that it
	// no longer declares.
	spec := defaultSpec()
	spec.Network.Policies = nil
	second := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, second, v1alpha1.StateCompliant, testutil.HasDrifts(0))
	testutil.Equal(t, "the same policy", env.WaitForPolicy(t, namespace.Name, "default-deny").UID, uid)
	env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
}

func TestBaselineDeletion_RemoveDeletesOnlyManagedObjects(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	other := env.NewNamespace(t, "b", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, other.Name, baseline, v1alpha1.StateCompliant)
	createForeignObjects(t, namespace.Name, "")
	foreign := waitForObject(t, namespace.Name, "foreign", &networkingv1.NetworkPolicy{})
	waitForObject(t, "", baseline.Name, baseline, func(b *v1alpha1.SecurityBaseline) error {
		if len(b.Finalizers) == 0 {
			return errors.New("finalizers: got none, want one")
		}
		return nil
	})

	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForNothingManaged(t, namespace.Name)
	testutil.Equal(t, "the foreign policy", waitForObject(t, namespace.Name, "foreign", &networkingv1.NetworkPolicy{}), foreign)
	waitForObject(t, "", other.Name, other, func(n *corev1.Namespace) error {
		return testutil.CheckEqual("the labels, with the owner's", n.Labels, map[string]string{
			"test": testutil.Name(t), corev1.LabelMetadataName: other.Name, "pod-security.kubernetes.io/enforce": "restricted",
		})
	})
}

// TestBaselineDeletion_RemoveLeavesNothingWhileApplying deletes baselines while the operator
// applies them.
func TestBaselineDeletion_RemoveLeavesNothingWhileApplying(t *testing.T) {
	t.Parallel()
	namespaces := make([]*corev1.Namespace, 0, 10)
	for i := range cap(namespaces) {
		namespaces = append(namespaces, env.NewNamespace(t, fmt.Sprint(i), nil))
	}
	for i := range 10 {
		spec := defaultSpec()
		if i%3 == 0 {
			// Only PodSecurity remains, which sets labels.
			spec.Network = nil
			spec.RBAC = nil
		}
		spec.DeletionPolicy = v1alpha1.DeletionRemove
		spec.NamespaceSelector = testutil.Selector(t)
		baseline := &v1alpha1.SecurityBaseline{
			// The operator sets the same finalizer.
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", testutil.Name(t), i), Finalizers: []string{v1alpha1.Finalizer}},
			Spec:       spec,
		}
		testutil.Must(t, env.Admin.Create(t.Context(), baseline))
		if i%3 == 1 {
			env.WaitForPolicy(t, namespaces[i].Name, "default-deny")
		}
		testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
		env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
		for _, namespace := range namespaces {
			testutil.Equal(t, "what is left in "+namespace.Name, managedParts(t, namespace.Name), map[string]any{})
		}
	}
}

func TestBaselineDeletion_CompletesWhileNamespaceTerminates(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	vanished := env.NewNamespace(t, "vanished", nil)
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReport(t, vanished.Name, baseline, v1alpha1.StateCompliant)
	// A finalizer of a managed NetworkPolicy keeps the namespace terminating.
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Finalizers = []string{"example.com/hold"}
	})
	testutil.Must(t, env.Admin.Delete(t.Context(), namespace))
	testutil.Must(t, env.Admin.Delete(t.Context(), vanished))
	env.WaitForNotFound(t, "", vanished.Name, &corev1.Namespace{})

	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForObject(t, "", namespace.Name, namespace)
	if namespace.DeletionTimestamp.IsZero() {
		t.Error("deletionTimestamp of the namespace: got none, want one")
	}
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) { p.Finalizers = nil })
	env.WaitForNotFound(t, "", namespace.Name, &corev1.Namespace{})
}

func TestBaselineDeletion_CompletesWhenObjectHasFinalizer(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	held := env.WaitForPolicy(t, namespace.Name, "default-deny")
	update(t, held, func(p *networkingv1.NetworkPolicy) { p.Finalizers = []string{"example.com/hold"} })
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	update(t, held, func(p *networkingv1.NetworkPolicy) { p.Finalizers = nil })
	waitForNothingManaged(t, namespace.Name)
}

// TestBaselineDeletion_KeepsForeignObjectsWithCopiedLabels has copied labels in a namespace
// that no baseline governed.
func TestBaselineDeletion_KeepsForeignObjectsWithCopiedLabels(t *testing.T) {
	t.Parallel()
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: testutil.Name(t) + "-other", Labels: map[string]string{v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): baseline.Name},
	}}
	env.Create(t, other)
	for name, labels := range map[string]map[string]string{
		"half": {v1alpha1.BaselineLabel: baseline.Name},
		"full": {v1alpha1.BaselineLabel: baseline.Name, v1alpha1.ControlLabel: "Network"},
	} {
		testutil.Must(t, env.Admin.Create(t.Context(), &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: other.Name, Name: name, Labels: labels},
		}))
	}
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned))
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForObject(t, other.Name, "half", &networkingv1.NetworkPolicy{})
	waitForObject(t, other.Name, "full", &networkingv1.NetworkPolicy{})
}

func TestBaselineDeletion_CompletesWhenRemovalIsDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	denyOperatorWritesAndWait(t, namespace.Name, admissionregistrationv1.Delete, "rolebindings")

	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	env.WaitForPolicy(t, namespace.Name, "default-deny")
	// The removal of the labels is not denied.
	env.WaitForLabels(t, namespace.Name, map[string]string{v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): ""})
}

func TestBaselineDeletion_HandsOverWhenRemovalIsDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	low := env.NewBaseline(t, "low", denyAllSpec())
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	spec.Priority = 10
	high := env.NewBaseline(t, "high", spec)
	env.WaitForReport(t, namespace.Name, high, v1alpha1.StateCompliant)
	denyOperatorWritesAndWait(t, namespace.Name, admissionregistrationv1.Delete, "rolebindings")

	testutil.Must(t, env.Admin.Delete(t.Context(), high))
	env.WaitForNotFound(t, "", high.Name, &v1alpha1.SecurityBaseline{})
	env.WaitForPolicy(t, namespace.Name, "from-ingress") // the removal was denied
	env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](low.Name))
}
