package main

import (
	"strings"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
)

// trackingID marks an object as an Application's, by default since Argo CD 3:
// NAME:GROUP/KIND:NAMESPACE/NAME.
const trackingID = "argocd.argoproj.io/tracking-id"

// track marks an object as the Application's. The id of what has no namespace names
// that of the Application's destination.
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

// tracked returns whose an object is, and whether the mark is meant for it: another
// may have copied it.
func parseTrackingID(object *unstructured.Unstructured) (app string, itself bool) {
	parts := strings.SplitN(object.GetAnnotations()[trackingID], ":", 3)
	if len(parts) != 3 {
		return "", false
	}
	namespace, name, _ := strings.Cut(parts[2], "/")
	itself = parts[1] == groupKind(object) && name == object.GetName() &&
		(object.GetNamespace() == "" || object.GetNamespace() == namespace)
	return parts[0], itself
}

func groupKind(object *unstructured.Unstructured) string {
	gvk := object.GroupVersionKind()
	return gvk.Group + "/" + gvk.Kind
}

// owns tells whether a pair is the Application's to sync: not what only copied its
// mark.
func isOwned(target, live *unstructured.Unstructured) bool {
	if target != nil || live == nil {
		return true
	}
	_, itself := parseTrackingID(live)
	return itself
}
