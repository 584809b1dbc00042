package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// baseline returns a baseline as it is written in world.go.
func newBaseline(name string) *v1alpha1.SecurityBaseline {
	object, err := decode([]byte(strings.TrimSpace(baselineYAML[name])))
	if err != nil {
		panic(fmt.Sprintf("baseline %s: %v", name, err))
	}
	return object.(*v1alpha1.SecurityBaseline)
}

// ensure makes a baseline that is missing.
func (h *harness) ensureBaseline(ctx context.Context, name string) error {
	return retry(ctx, func() error {
		err := client.IgnoreAlreadyExists(h.admin.Create(ctx, newBaseline(name)))
		if err != nil && !apierrors.IsNotFound(err) { // the CRD is gone, or not served yet
			return fmt.Errorf("making baseline %s: %w", name, err)
		}
		return err
	})
}

// change changes the spec of a baseline that is there.
func (h *harness) updateBaseline(ctx context.Context, name string, to func(*v1alpha1.SecurityBaselineSpec)) error {
	var current v1alpha1.SecurityBaseline
	if err := h.admin.Get(ctx, client.ObjectKey{Name: name}, &current); err != nil {
		return ignoreExpected(err)
	}
	to(&current.Spec)
	return ignoreExpected(h.admin.Update(ctx, &current))
}

// swap exchanges which of two baselines has precedence.
func (h *harness) swapPriorities(ctx context.Context) error {
	return h.updateBaseline(ctx, strictBaseline, func(spec *v1alpha1.SecurityBaselineSpec) { spec.Priority = -spec.Priority })
}

// except takes a control out of some namespaces for a moment.
func (h *harness) addException(ctx context.Context) error {
	return h.updateBaseline(ctx, floorBaseline, func(spec *v1alpha1.SecurityBaselineSpec) {
		spec.Exceptions = []v1alpha1.Exception{{
			Name: "moment", Reason: "To see it expire", Namespaces: []string{h.randomNamespace(), h.randomNamespace() + "0"},
			Controls: []v1alpha1.ControlName{v1alpha1.ControlResources}, ExpirationTime: new(metav1.NewTime(time.Now().Add(2 * time.Second))),
		}}
	})
}

// toggle makes a baseline or deletes it.
func (h *harness) toggleBaseline(ctx context.Context, name string) error {
	err := h.admin.Create(ctx, newBaseline(name))
	if apierrors.IsAlreadyExists(err) {
		err = h.admin.Delete(ctx, newBaseline(name))
	}
	return ignoreExpected(err)
}

// reselect has another baseline govern a namespace, or not any more.
func (h *harness) toggleSelection(ctx context.Context) error {
	namespace := &corev1.Namespace{}
	if err := h.admin.Get(ctx, client.ObjectKey{Name: h.randomOrdinaryNamespace()}, namespace); err != nil {
		return ignoreExpected(err)
	}
	label, value := tierLabel, `"`+strictBaseline+`"`
	if rand.IntN(2) == 0 {
		label, value = extraLabel, `"`+labelTrue+`"`
	}
	if namespace.Labels[label] != "" {
		value = "null"
	}
	patch := fmt.Sprintf(`{"metadata":%s}`, h.editMetadata(fmt.Sprintf(`,%q:%s`, label, value)))
	return ignoreExpected(h.admin.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(editManager)))
}
