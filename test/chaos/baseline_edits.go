package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// newBaseline returns a baseline of baselineYAML.
func newBaseline(name string) *v1alpha1.SecurityBaseline {
	object, err := decode([]byte(strings.TrimSpace(baselineYAML[name])))
	if err != nil {
		panic(fmt.Sprintf("baseline %s: %v", name, err))
	}
	return object.(*v1alpha1.SecurityBaseline)
}

// ensureBaseline creates a baseline if it is missing.
func (h *harness) ensureBaseline(ctx context.Context, name string) error {
	return retry(ctx, func() error {
		err := client.IgnoreAlreadyExists(h.admin.Create(ctx, newBaseline(name)))
		if err != nil && !apierrors.IsNotFound(err) { // NotFound: the CRD is missing or not served yet
			return fmt.Errorf("creating baseline %s: %w", name, err)
		}
		return err
	})
}

// updateBaseline changes the spec of a baseline.
func (h *harness) updateBaseline(ctx context.Context, name string, mutate func(*v1alpha1.SecurityBaselineSpec)) error {
	var current v1alpha1.SecurityBaseline
	if err := h.admin.Get(ctx, client.ObjectKey{Name: name}, &current); err != nil {
		return ignoreExpected(err)
	}
	mutate(&current.Spec)
	return ignoreExpected(h.admin.Update(ctx, &current))
}

// swapPriorities changes which of the baselines floor and strict has precedence.
func (h *harness) swapPriorities(ctx context.Context) error {
	return h.updateBaseline(ctx, strictBaseline, func(spec *v1alpha1.SecurityBaselineSpec) { spec.Priority = -spec.Priority })
}

// addException adds an exception that expires after two seconds.
func (h *harness) addException(ctx context.Context) error {
	return h.updateBaseline(ctx, floorBaseline, func(spec *v1alpha1.SecurityBaselineSpec) {
		spec.Exceptions = []v1alpha1.Exception{{
			Name: "short", Reason: "Tests that exceptions expire", Namespaces: []string{h.randomNamespace(), h.randomNamespace() + "0"},
			Controls: []v1alpha1.ControlName{v1alpha1.ControlResources}, ExpirationTime: new(metav1.NewTime(time.Now().Add(2 * time.Second))),
		}}
	})
}

// toggleBaseline creates a baseline or, if it exists, deletes it.
func (h *harness) toggleBaseline(ctx context.Context, name string) error {
	err := h.admin.Create(ctx, newBaseline(name))
	if apierrors.IsAlreadyExists(err) {
		err = h.admin.Delete(ctx, newBaseline(name))
	}
	return ignoreExpected(err)
}

// toggleSelection makes another baseline select a namespace, or stops that.
func (h *harness) toggleSelection(ctx context.Context) error {
	namespace := &corev1.Namespace{}
	if err := h.admin.Get(ctx, client.ObjectKey{Name: h.randomOrdinaryNamespace()}, namespace); err != nil {
		return ignoreExpected(err)
	}
	label := tierLabel
	value := strconv.Quote(strictBaseline)
	if rand.IntN(2) == 0 {
		label = extraLabel
		value = strconv.Quote(labelTrue)
	}
	if namespace.Labels[label] != "" {
		value = "null"
	}
	patch := fmt.Sprintf(`{"metadata":%s}`, h.editMetadata(fmt.Sprintf(`,%q:%s`, label, value)))
	return ignoreExpected(h.admin.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(editManager)))
}
