package enforcement

import (
	"context"
	"maps"
	"slices"
	"strings"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/ownership"
	"github.com/securitybaseline/operator/controllers/internal/kube"
)

// removal is what happened to an object that no control expects any longer.
type removal struct {
	id string
	// change is what Enforce mode would do; nil if nothing.
	change *v1alpha1.Change
	err    error
	// leftoverOf is the baseline that applied the object, if it could not be removed and no
	// baseline governs the control.
	leftoverOf string
	// isDeferred reports that the object is removed once the report no longer lists it.
	isDeferred bool
}

// prune removes the objects that the operator applied for a control and that no control
// expects here any longer. Objects of kinds that are only observed are never removed.
func (e *Enforcer) prune(ctx context.Context, current snapshot, p *plan, expected sets.Set[string]) []removal {
	var removals []removal
	for _, id := range slices.Sorted(maps.Keys(current.objects)) {
		object := current.objects[id]
		if expected.Has(id) || !controls.KindOf(object).IsManaged() {
			continue
		}
		hasLabel := hasControlLabel(object, p.Control.Name)
		if !hasLabel && !e.hasLostLabel(ctx, p, object) {
			continue
		}
		baseline := object.GetLabels()[v1alpha1.BaselineLabel]
		if baseline == "" && p.Previous != nil {
			baseline = p.Previous.Baseline
		}
		if p.Baseline == nil && !p.shouldPrune(baseline) {
			continue
		}
		if hasLabel && p.Inventory(id) != nil && !p.IsAudit() {
			removals = append(removals, removal{id: id, isDeferred: true})
			continue
		}
		removals = append(removals, e.removeObject(ctx, current, p, object, baseline))
	}
	return removals
}

// removeObject removes an object or, of a shared one, the operator's fields.
func (e *Enforcer) removeObject(ctx context.Context, current snapshot, p *plan, object client.Object, baseline string) removal {
	result := removal{id: objectID(object)}
	if !p.isReported(result.id, repair{action: actionRemove}) {
		e.rememberWrite(p, target{id: result.id, key: string(current.namespace.UID) + "/" + result.id})
		if controls.IsShared(object) {
			result.err = e.relinquish(ctx, p, object)
		} else {
			result.err = e.writer(p).Delete(ctx, object, kube.DeletePreconditions(object))
		}
		result.err = client.IgnoreNotFound(result.err)
	}
	switch {
	case result.err != nil && p.Baseline == nil:
		result.leftoverOf = baseline
	case result.err == nil && p.IsAudit():
		result.change = &v1alpha1.Change{Object: result.id, Action: v1alpha1.ChangeRemove}
	}
	return result
}

// hasLostLabel reports whether the operator created an object for this control and another
// author removed the label that says so.
func (e *Enforcer) hasLostLabel(ctx context.Context, p *plan, object client.Object) bool {
	if hasBaselineLabel(object) || !strings.HasPrefix(object.GetName(), v1alpha1.ObjectNamePrefix) || !object.GetDeletionTimestamp().IsZero() {
		return false
	}
	if entry := p.Inventory(objectID(object)); entry != nil && entry.UID == object.GetUID() {
		return true
	}
	if object.GetLabels()[v1alpha1.ControlLabel] != string(p.Control.Name) {
		return false
	}
	// An operator that ended before it recorded the object may have created it.
	live, err := e.readLive(ctx, object)
	return err == nil && live.GetUID() == object.GetUID() && ownership.IsWrittenByOperator(live)
}

// relinquish gives up the operator's fields of a shared object: the API server removes
// fields that have no other owner.
func (e *Enforcer) relinquish(ctx context.Context, p *plan, object client.Object) error {
	live, err := e.readLive(ctx, object)
	if err != nil {
		return err
	}
	if ownership.IsWrittenByOperator(live) {
		return e.applyFields(ctx, p, live, &corev1.ServiceAccount{})
	}
	// Another author cleared managedFields, without which fields cannot be relinquished: the
	// operator removes what the labels say is its own.
	labels := map[string]any{v1alpha1.BaselineLabel: nil, v1alpha1.ControlLabel: nil}
	patch := kube.MergePatch(live, map[string]any{"labels": labels}, map[string]any{"automountServiceAccountToken": nil})
	return e.writer(p).Patch(ctx, live, patch)
}
