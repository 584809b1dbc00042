// Package kube holds helpers for requests to the API server and for its errors.
// controller-runtime has no merge patch that states the UID, and no helper that fills
// client.Preconditions from an object; no upstream issue asks for them.
package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// MergePatch returns a JSON merge patch of an object at the version that was read, in
// which nil removes a field. fields are those outside metadata.
func MergePatch(object metav1.Object, metadata, fields map[string]any) client.Patch {
	stated := map[string]any{"uid": object.GetUID(), "resourceVersion": object.GetResourceVersion()}
	maps.Copy(stated, metadata)
	whole := map[string]any{"metadata": stated}
	maps.Copy(whole, fields)
	data, err := json.Marshal(whole)
	if err != nil {
		panic(fmt.Sprintf("marshalling labels, fields and managedFields: %v", err))
	}
	return client.RawPatch(types.MergePatchType, data)
}

// DeletePreconditions restrict a deletion to an object exactly as it was read, and exclude
// other objects of its name.
func DeletePreconditions(object client.Object) client.Preconditions {
	return client.Preconditions{UID: new(object.GetUID()), ResourceVersion: new(object.GetResourceVersion())}
}

// IsOlderThanNamespace reports whether an object is older than its namespace: it was in a former
// namespace of the same name, and the cache does not know yet that it is gone.
func IsOlderThanNamespace(object, namespace client.Object) bool {
	created := object.GetCreationTimestamp()
	return created.Before(new(namespace.GetCreationTimestamp()))
}

// IsNamespaceTerminating reports whether a write failed because its namespace is
// terminating or gone: there is nothing left to do in it.
func IsNamespaceTerminating(err error) bool {
	return apierrors.HasStatusCause(err, corev1.NamespaceTerminatingCause) ||
		apierrors.IsNotFound(err) && Details(err).Kind == "namespaces"
}

// Details returns what an error of the API server says it is about.
func Details(err error) metav1.StatusDetails {
	var status apierrors.APIStatus
	if !errors.As(err, &status) || status.Status().Details == nil {
		return metav1.StatusDetails{}
	}
	return *status.Status().Details
}
