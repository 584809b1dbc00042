package main

import (
	"strings"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// trackingID is the annotation that assigns an object to an Application, the default
// since Argo CD 3. Its value is NAME:GROUP/KIND:NAMESPACE/NAME.
const trackingID = "argocd.argoproj.io/tracking-id"

// setTrackingID assigns an object to the Application. For a cluster-scoped object, the
// tracking ID contains the namespace of the Application's destination.
func setTrackingID(object *unstructured.Unstructured, app, destination string) {
	if kube.IsCRD(object) {
		return
	}
	namespace := object.GetNamespace()
	if namespace == "" {
		namespace = destination
	}
	annotations := object.GetAnnotations()
	if annotations == nil {
		annotations = map[string]string{}
	}
	annotations[trackingID] = app + ":" + groupKind(object) + ":" + namespace + "/" + object.GetName()
	object.SetAnnotations(annotations)
}

// parseTrackingID returns the Application of an object, and whether the tracking ID
// matches the object. It does not match if the annotation was copied from another
// object.
func parseTrackingID(object *unstructured.Unstructured) (app string, isMatch bool) {
	parts := strings.SplitN(object.GetAnnotations()[trackingID], ":", 3)
	if len(parts) != 3 {
		return "", false
	}
	namespace, name, _ := strings.Cut(parts[2], "/")
	isMatch = parts[1] == groupKind(object) && name == object.GetName() &&
		(object.GetNamespace() == "" || object.GetNamespace() == namespace)
	return parts[0], isMatch
}

func groupKind(object *unstructured.Unstructured) string {
	gvk := object.GroupVersionKind()
	return gvk.Group + "/" + gvk.Kind
}

// isOwned reports whether the Application syncs this pair. It does not sync live objects
// with a copied tracking ID.
func isOwned(target, live *unstructured.Unstructured) bool {
	if target != nil || live == nil {
		return true
	}
	_, isMatch := parseTrackingID(live)
	return isMatch
}
