package enforcement

import (
	"context"
	"strings"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// readLive reads an object from the API server.
func (e *Enforcer) readLive(ctx context.Context, object client.Object) (client.Object, error) {
	// Read into an empty one: decoding adds to the maps that it finds.
	live := controls.KindOf(object).New()
	return live, e.live.Get(ctx, client.ObjectKeyFromObject(object), live)
}

// isManagedBy reports whether the operator manages an object for this control: the object has
// its labels and name, or is in the inventory. Another author can forge one label.
func isManagedBy(object controls.Object, task *evaluation.Task) bool {
	entry := task.Inventory(objectID(object))
	return hasControlLabel(object, task.Control.Name) || entry != nil && entry.UID == object.GetUID()
}

// hasBaselineLabel reports whether an object has the label that names a baseline.
func hasBaselineLabel(object controls.Object) bool {
	_, ok := object.GetLabels()[v1alpha1.BaselineLabel]
	return ok
}

// hasControlLabel reports whether a baseline applied an object for a control, by the
// object's name and labels, and the object is not being deleted. A copy with a name that
// the operator does not use does not count.
func hasControlLabel(object controls.Object, control v1alpha1.ControlName) bool {
	return hasBaselineLabel(object) && object.GetLabels()[v1alpha1.ControlLabel] == string(control) &&
		(strings.HasPrefix(object.GetName(), v1alpha1.ObjectNamePrefix) || controls.IsShared(object)) && object.GetDeletionTimestamp().IsZero()
}

// objectID names an object within its namespace, as Kind/name.
func objectID(object controls.Object) string {
	return controls.KindOf(object).Name() + "/" + object.GetName()
}

// Reference returns a reference to an object of a namespace, or to the namespace itself,
// that a report calls Kind/name.
func (e *Enforcer) Reference(namespace *metav1.PartialObjectMetadata, id string) *corev1.ObjectReference {
	if id == evaluation.NamespaceID(namespace) {
		return &corev1.ObjectReference{APIVersion: namespace.APIVersion, Kind: "Namespace", Name: namespace.Name, UID: namespace.UID}
	}
	kindName, name, _ := strings.Cut(id, "/")
	reference := &corev1.ObjectReference{Kind: kindName, Namespace: namespace.Name, Name: name}
	for _, kind := range controls.ManagedKinds() {
		if gvk, err := apiutil.GVKForObject(kind.Object, e.client.Scheme()); err == nil && gvk.Kind == kindName {
			reference.APIVersion = gvk.GroupVersion().String()
		}
	}
	return reference
}
