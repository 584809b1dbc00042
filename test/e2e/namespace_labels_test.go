package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforcement/ownership"
	"github.com/securitybaseline/operator/test/testutil"
)

// TestNamespaceLabels_StricterLevelStaysWithItsOwner sets the annotation that names the
// operator's labels, as if the operator had set the owner's stricter level.
func TestNamespaceLabels_StricterLevelStaysWithItsOwner(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: testutil.Name(t) + "-a", Labels: testutil.Labels(t), Annotations: map[string]string{v1alpha1.CreationLabelsAnnotation: enforceLabel},
	}}
	namespace.Labels[enforceLabel] = "restricted"
	env.Create(t, namespace)
	for range 2 {
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		testutil.WaitFor(t, func(ctx context.Context) error {
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
				return err
			}
			if _, ok := namespace.Annotations[v1alpha1.CreationLabelsAnnotation]; ok {
				return errors.New("the annotation still exists, want the operator to remove it")
			}
			return nil
		})
		testutil.Equal(t, "the level", namespace.Labels[enforceLabel], "restricted")
		if ownership.OwnedLabels(namespace).Has(enforceLabel) {
			t.Errorf("the operator's labels: got %s among them, want it to stay with its owner", enforceLabel)
		}
		// The annotation has no effect later either.
		update(t, namespace, func(n *corev1.Namespace) {
			metav1.SetMetaDataAnnotation(&n.ObjectMeta, v1alpha1.CreationLabelsAnnotation, enforceLabel)
		})
	}
}

// TestNamespaceLabels_OtherControlsAppliedWhenTakeoverIsDenied sets the annotation, which
// anyone who may write the namespace can set, and denies the operator the takeover.
func TestNamespaceLabels_OtherControlsAppliedWhenTakeoverIsDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := denyAllSpec()
	spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "baseline"}
	baseline := env.NewBaseline(t, "b", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	denyOperatorWritesAndWait(t, namespace.Name, admissionregistrationv1.Update, "namespaces")
	update(t, namespace, func(n *corev1.Namespace) {
		metav1.SetMetaDataAnnotation(&n.ObjectMeta, v1alpha1.CreationLabelsAnnotation, enforceLabel)
	})
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateFailed),
		hasMessage("taking over the labels set at creation: ", denialMessage))
	testutil.Must(t, env.Admin.Delete(t.Context(), env.WaitForPolicy(t, namespace.Name, "default-deny")))
	env.WaitForPolicy(t, namespace.Name, "default-deny")
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateCompliant))
}

// TestNamespaceLabels_SetAtCreationRemovedWithBaseline checks that the operator owns the labels
// that the API server set at creation, and that the creator's labels stay.
func TestNamespaceLabels_SetAtCreationRemovedWithBaseline(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{
		DeletionPolicy: v1alpha1.DeletionRemove,
		PodSecurity:    &v1alpha1.PodSecurity{Enforce: "baseline", Warn: "baseline"}, Images: &v1alpha1.Images{RequireDigest: true},
	})
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	namespace := env.NewNamespace(t, "a", map[string]string{"pod-security.kubernetes.io/warn": "restricted", "team": "a"})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.WaitFor(t, func(ctx context.Context) error {
		if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
			return err
		}
		if _, ok := namespace.Annotations[v1alpha1.CreationLabelsAnnotation]; ok {
			return fmt.Errorf("annotations: got %v, want the operator to take the labels over", namespace.Annotations)
		}
		return nil
	})
	own := ownership.OwnedLabels(namespace)
	for _, key := range []string{enforceLabel, enforceVersion, "podsecurity.securitybaseline.io/baseline", "images.securitybaseline.io/baseline"} {
		if !own.Has(key) {
			t.Errorf("the operator's labels: got %v, want %s among them", own, key)
		}
	}
	if !slices.ContainsFunc(namespace.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == "admin" && strings.Contains(entry.FieldsV1.String(), "f:team")
	}) {
		t.Errorf("managedFields: got %v, want admin to own the label team", namespace.ManagedFields)
	}
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, baseline)
	waitForObject(t, "", namespace.Name, namespace, func(n *corev1.Namespace) error {
		return testutil.CheckEqual("labels", n.Labels, map[string]string{
			"test": testutil.Name(t), corev1.LabelMetadataName: namespace.Name, "pod-security.kubernetes.io/warn": "restricted", "team": "a",
		})
	})
}

// TestWaitForDefaultDeny_NeverDeniesPodsInExistingNamespace creates pods all the time while the
// baseline is applied.
func TestWaitForDefaultDeny_NeverDeniesPodsInExistingNamespace(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	env.WaitForServiceAccount(t, namespace.Name)
	ctx, cancel := context.WithCancel(t.Context())
	failed := make(chan error, 1)
	name := namespace.Name
	go func() {
		defer close(failed)
		for ctx.Err() == nil {
			if err := dryRunCreate(ctx, env.Admin, newPod(name, baselinePod())); err != nil && ctx.Err() == nil {
				failed <- err
				return
			}
		}
	}()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true}})
	env.WaitForReady(t, baseline)
	env.WaitForLabels(t, namespace.Name, map[string]string{v1alpha1.DefaultDenyReadyLabel: "true"})
	cancel()
	if err := <-failed; err != nil {
		t.Error(err)
	}
}
