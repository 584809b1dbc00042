package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
)

func namespaceName(i int) string { return fmt.Sprintf("chaos-%02d", i) }

func (h *harness) randomNamespace() string { return namespaceName(rand.IntN(h.options.namespaces)) }

func (h *harness) randomOrdinaryNamespace() string {
	return namespaceName(fixedNamespaces + rand.IntN(h.options.namespaces-fixedNamespaces))
}

// newNamespace returns the namespace with this name, with its labels.
func (h *harness) newNamespace(name string) *corev1.Namespace {
	labels := map[string]string{governedLabel: labelTrue}
	var number int
	_, _ = fmt.Sscanf(name, "chaos-%d", &number)
	if number%2 == 1 {
		labels[tierLabel] = strictBaseline
	}
	if number%5 == 0 {
		labels[extraLabel] = labelTrue
	}
	switch number {
	case 2:
		labels[conflictLabel] = labelTrue
	case 4:
		labels[ownerLabel] = labelTrue
		labels[enforceLabel] = restricted
		labels[warnLabel] = restricted
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: labels, Annotations: map[string]string{editAnnotation: fmt.Sprint(h.editNumber.Add(1)), "owner.example.com/contact": "team@example.com"},
	}}
}

// createNamespace creates a namespace and the objects in it that the operator does not
// manage.
func (h *harness) createNamespace(ctx context.Context, name string) error {
	namespace := h.newNamespace(name)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace.Name, Name: name, Annotations: map[string]string{editAnnotation: fmt.Sprint(h.editNumber.Add(1))}}
	}
	objects := []client.Object{
		namespace,
		&networkingv1.NetworkPolicy{ObjectMeta: meta("unmanaged"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: appLabels}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}},
		&rbacv1.RoleBinding{ObjectMeta: meta("unmanaged"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}},
		&appsv1.Deployment{ObjectMeta: meta(workloadName), Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: appLabels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: appLabels}, Spec: violatingPodSpec()},
		}},
	}
	if namespace.Labels[conflictLabel] != "" {
		foreign := &networkingv1.NetworkPolicy{ObjectMeta: meta(objectPrefix + "from-gateway")}
		foreign.Labels = map[string]string{foreignLabel: labelTrue}
		objects = append(objects, foreign)
	}
	for _, object := range objects {
		err := retry(ctx, func() error {
			if err := h.admin.Create(ctx, object); !apierrors.IsAlreadyExists(err) {
				object.SetResourceVersion("")
				return err
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("creating %s: %w", object.GetName(), err)
		}
	}
	return nil
}

// recreateNamespace deletes a random namespace and creates it again under the same name.
// If stuck is positive, an object with a finalizer delays the deletion for that time.
func (h *harness) recreateNamespace(ctx context.Context, stuck time.Duration) error {
	name := h.randomOrdinaryNamespace()
	if _, inProgress := h.recreating.LoadOrStore(name, true); inProgress {
		return nil
	}
	defer h.recreating.Delete(name)
	if ctx.Err() != nil {
		return nil
	}
	// The fault may end at any time. The namespace must still be deleted and recreated.
	faultCtx := ctx
	ctx = h.runCtx
	holder := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "holder", Finalizers: []string{"chaos.example.com/holder"}}}
	if stuck > 0 {
		if err := retry(ctx, func() error { return client.IgnoreAlreadyExists(h.admin.Create(ctx, holder.DeepCopy())) }); err != nil {
			return err
		}
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := retry(ctx, func() error { return client.IgnoreNotFound(h.admin.Delete(ctx, namespace)) }); err != nil {
		return err
	}
	if stuck > 0 {
		pause(faultCtx, stuck)
		err := retry(ctx, func() error {
			err := h.admin.Get(ctx, client.ObjectKeyFromObject(holder), holder)
			if err != nil {
				return client.IgnoreNotFound(err)
			}
			controllerutil.RemoveFinalizer(holder, "chaos.example.com/holder")
			return client.IgnoreNotFound(h.admin.Update(ctx, holder))
		})
		if err != nil {
			return err
		}
	}
	err := retry(ctx, func() error {
		if err := h.admin.Get(ctx, client.ObjectKey{Name: name}, namespace); !apierrors.IsNotFound(err) {
			return fmt.Errorf("namespace %s still exists: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.createNamespace(ctx, name)
}

// violatingPodSpec violates the level restricted and no other level.
func violatingPodSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "example.com/a"}}}
}

// toggleViolatingPod creates a pod that violates the level of the strict baseline. If
// the pod exists, it deletes it.
func (h *harness) toggleViolatingPod(ctx context.Context) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: h.randomNamespace(), Name: violatingPodName}, Spec: violatingPodSpec()}
	err := h.admin.Create(ctx, pod)
	if !apierrors.IsAlreadyExists(err) {
		if err == nil {
			h.count("pods that violate a level")
		}
		return ignoreExpected(err)
	}
	if err := h.admin.Delete(ctx, pod); err != nil {
		return ignoreExpected(err)
	}
	// The operators do not watch pods. They check them when a workload changes.
	workload := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: workloadName}}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":%s}`, h.editMetadata("")))
	ctx = h.runCtx
	return retry(ctx, func() error {
		return client.IgnoreNotFound(h.admin.Patch(ctx, workload, patch, client.FieldOwner(editManager)))
	})
}
