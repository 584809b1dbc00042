// Package metadata returns the kinds of which the operator caches only the metadata, because their
// specs would multiply the size of the cache. controller-runtime identifies such a kind by a
// PartialObjectMetadata with its GroupVersionKind, which has no constructor; no upstream issue asks
// for one.
package metadata

import (
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// Namespace returns an empty Namespace to read from the cache.
func Namespace() *metav1.PartialObjectMetadata {
	return ofKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
}

// NamespaceList returns an empty list of Namespaces to read from the cache.
func NamespaceList() *metav1.PartialObjectMetadataList {
	namespaces := &metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	return namespaces
}

// Workloads returns the kinds whose changes mean that the pods of a namespace may have changed.
// Watching the metadata of pods instead would take ten times as much memory.
func Workloads() []*metav1.PartialObjectMetadata {
	return []*metav1.PartialObjectMetadata{
		ofKind(appsv1.SchemeGroupVersion.WithKind("Deployment")),
		ofKind(appsv1.SchemeGroupVersion.WithKind("StatefulSet")),
		ofKind(appsv1.SchemeGroupVersion.WithKind("DaemonSet")),
	}
}

func ofKind(kind schema.GroupVersionKind) *metav1.PartialObjectMetadata {
	object := &metav1.PartialObjectMetadata{}
	object.SetGroupVersionKind(kind)
	return object
}
