package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

func TestManagedObjects_PrunedWhenBaselineDropsThem(t *testing.T) {
	t.Parallel()
	namespaces := []*corev1.Namespace{env.NewNamespace(t, "a", nil), env.NewNamespace(t, "b", nil)}
	baseline := env.NewBaseline(t, "all", defaultSpec())
	for _, namespace := range namespaces {
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	}
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Network.Policies = nil
		b.Spec.Network.Allow.SameNamespace = false
		b.Spec.PodSecurity.Warn = ""
		b.Spec.RBAC.RoleBindings[0].Name = "engineers"
	})
	for _, namespace := range namespaces {
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
		env.WaitForNotFound(t, namespace.Name, "security-baseline-allow-same-namespace", &networkingv1.NetworkPolicy{})
		env.WaitForNotFound(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
		waitForObject(t, namespace.Name, "security-baseline-engineers", &rbacv1.RoleBinding{})
		env.WaitForPolicy(t, namespace.Name, "default-deny")
		env.WaitForPolicy(t, namespace.Name, "allow-dns")
		env.WaitForLabels(t, namespace.Name, map[string]string{
			"pod-security.kubernetes.io/warn": "", "pod-security.kubernetes.io/enforce": "baseline",
		})
	}

	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network, b.Spec.PodSecurity = nil, nil })
	for _, namespace := range namespaces {
		current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
		testutil.Equal(t, "controls", len(current.Controls), 1)
		testutil.WaitFor(t, func(context.Context) error {
			if leftovers := managedParts(t, namespace.Name); len(leftovers) != 1 {
				return fmt.Errorf("what the operator manages: got %v, want one part", leftovers)
			}
			return nil
		})
	}
}

func TestManagedObjects_ConflictWhenForeignObjectHasTheName(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	foreign := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "security-baseline-default-deny"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "public"}},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		},
	}
	testutil.Must(t, env.Admin.Create(t.Context(), foreign))
	baseline := env.NewBaseline(t, "all", defaultSpec())
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateConflict)
	testutil.Equal(t, "the state of Network", testutil.StateOf(current, v1alpha1.ControlNetwork), v1alpha1.StateConflict)
	testutil.Equal(t, "the state of RBAC", testutil.StateOf(current, v1alpha1.ControlRBAC), v1alpha1.StateCompliant)
	env.WaitForPolicy(t, namespace.Name, "allow-dns") // the other policies are applied

	want := []v1alpha1.Violation{{Namespace: namespace.Name, Control: "Network", State: "Conflict",
		Message: "NetworkPolicy/security-baseline-default-deny exists but is not managed by the operator, so it is left alone; delete it, or recreate it under another name"}}
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonObjectConflict),
		func(status v1alpha1.SecurityBaselineStatus) error {
			return testutil.CheckEqual("violations", status.Violations, want)
		})
	unchanged := env.WaitForPolicy(t, namespace.Name, "default-deny")
	testutil.Equal(t, "the foreign policy", unchanged.ResourceVersion, foreign.ResourceVersion)

	// After its deletion the operator creates its own policy, which is no drift.
	testutil.Must(t, env.Admin.Delete(t.Context(), foreign))
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
	env.WaitForPolicy(t, namespace.Name, "default-deny", testutil.GovernedBy[*networkingv1.NetworkPolicy](baseline.Name))
}

func TestManagedObjects_ForeignCopyIsNotPruned(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	original := env.WaitForPolicy(t, namespace.Name, "default-deny")
	foreign := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "copy", Labels: original.Labels},
		Spec:       original.Spec,
	}
	testutil.Must(t, env.Admin.Create(t.Context(), foreign))
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network = nil })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForNotFound(t, namespace.Name, original.Name, &networkingv1.NetworkPolicy{})
	kept := waitForObject(t, namespace.Name, "copy", &networkingv1.NetworkPolicy{})
	testutil.Equal(t, "the copy", kept.ResourceVersion, foreign.ResourceVersion)
}

func TestReports_RewrittenWhenChangedOrDeleted(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	update(t, current.DeepCopy(), func(r *v1alpha1.BaselineReport) {
		r.State = v1alpha1.StateFailed
		r.Controls[0].State = v1alpha1.StateFailed
	})
	rewritten := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, func(rewritten *v1alpha1.BaselineReport) error {
		return testutil.CheckEqual("the report", rewritten.BaselineReportData, current.BaselineReportData)
	})

	testutil.Must(t, env.Admin.Delete(t.Context(), rewritten))
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
}

// TestManagedObjects_RestoredFromBackupArePruned restores an object with its labels, but with
// another field manager.
func TestManagedObjects_RestoredFromBackupArePruned(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.WaitFor(t, func(ctx context.Context) error {
		existing := &networkingv1.NetworkPolicy{}
		if err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "security-baseline-from-ingress"}, existing); err != nil {
			return err
		}
		testutil.Must(t, client.IgnoreNotFound(env.Admin.Delete(ctx, existing)))
		return env.Admin.Create(ctx, &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: existing.Name, Labels: existing.Labels}, Spec: existing.Spec,
		})
	})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	env.WaitForNotFound(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
}

// createForeignObjects creates objects, labels and annotations in a governed namespace that the
// operator does not manage. The function that it returns requires that they are the same as
// before, except for those of the object deleted, if that is not empty.
func createForeignObjects(t *testing.T, namespace, deleted string) func() {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "foreign", Labels: map[string]string{"team": "a"}}
	for _, object := range []client.Object{
		&networkingv1.NetworkPolicy{ObjectMeta: meta, Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "public"}},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		}},
		&rbacv1.RoleBinding{ObjectMeta: meta,
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
			Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "guest"}},
		},
	} {
		testutil.Must(t, env.Admin.Create(t.Context(), object))
	}
	for _, object := range []client.Object{
		waitForObject(t, "", namespace, &corev1.Namespace{}),
		env.WaitForPolicy(t, namespace, "default-deny"),
		waitForObject(t, namespace, "security-baseline-developers", &rbacv1.RoleBinding{}),
	} {
		update(t, object, func(object client.Object) {
			object.SetAnnotations(map[string]string{"example.com/note": "keep"})
			labels := object.GetLabels()
			labels["example.com/owner"] = "team-a"
			object.SetLabels(labels)
		})
	}
	before := foreignParts(t, namespace)
	return func() {
		t.Helper()
		after := foreignParts(t, namespace)
		delete(before, deleted)
		delete(after, deleted)
		testutil.Equal(t, "what the operator does not manage", after, before)
	}
}

// foreignParts returns what the operator does not manage in a namespace, as JSON: other objects,
// and other labels and annotations of managed objects and of the namespace.
func foreignParts(t *testing.T, namespace string) map[string]string {
	t.Helper()
	parts := map[string]string{}
	record := func(key string, value any) {
		data, err := json.Marshal(value)
		testutil.Must(t, err)
		parts[key] = string(data)
	}
	recordObject := func(object client.Object) {
		if object.GetName() == "foreign" {
			record(fmt.Sprintf("%T", object), object)
			return
		}
		// An object that was updated rather than created again has the same UID.
		record(object.GetName(), []any{object.GetUID(), object.GetAnnotations(), object.GetLabels()["example.com/owner"]})
	}
	in := client.InNamespace(namespace)
	var policies networkingv1.NetworkPolicyList
	var bindings rbacv1.RoleBindingList
	testutil.Must(t, env.Admin.List(t.Context(), &policies, in))
	testutil.Must(t, env.Admin.List(t.Context(), &bindings, in))
	for i := range policies.Items {
		recordObject(&policies.Items[i])
	}
	for i := range bindings.Items {
		recordObject(&bindings.Items[i])
	}
	own := readObject(t, "", namespace, &corev1.Namespace{})
	recordObject(own)
	record("the namespace's other labels", []string{own.Labels["test"], own.Labels[corev1.LabelMetadataName]})
	return parts
}

// managedParts returns what the operator manages in a namespace.
func managedParts(t *testing.T, namespace string) map[string]any {
	t.Helper()
	parts := map[string]any{}
	in := client.InNamespace(namespace)
	ours := client.HasLabels{v1alpha1.BaselineLabel}
	var policies networkingv1.NetworkPolicyList
	var bindings rbacv1.RoleBindingList
	testutil.Must(t, env.Admin.List(t.Context(), &policies, in, ours))
	testutil.Must(t, env.Admin.List(t.Context(), &bindings, in, ours))
	for _, p := range policies.Items {
		parts["policy "+p.Name] = []any{p.Spec, p.Labels[v1alpha1.BaselineLabel], p.Labels[v1alpha1.ControlLabel]}
	}
	for _, b := range bindings.Items {
		parts["binding "+b.Name] = []any{b.RoleRef, b.Subjects, b.Labels[v1alpha1.BaselineLabel], b.Labels[v1alpha1.ControlLabel]}
	}
	for key, value := range readObject(t, "", namespace, &corev1.Namespace{}).Labels {
		if !slices.Contains([]string{"test", "example.com/owner", corev1.LabelMetadataName}, key) {
			parts["label "+key] = value
		}
	}
	return parts
}
