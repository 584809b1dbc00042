// Package cacheoptions decides what the operator caches, and keeps the cache small. Most of what
// the operator caches is equal in every namespace that a baseline governs, but client-go decodes
// and keeps a copy for each. This package keeps one copy of equal values, and drops what the
// operator does not read. docs/design/scale.md has the measurements. It can shrink to the latter if
// client-go interns what it decodes: https://github.com/kubernetes/kubernetes/issues/137109.
package cacheoptions

import (
	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/internal/informers"
	"github.com/securitybaseline/operator/controllers/internal/metadata"
)

// New returns the options of the operator's cache:
//   - of Namespaces, the metadata with managedFields, which show who owns a label;
//   - of workloads, what identifies them and their resourceVersion;
//   - of kinds of which controls share one object with Kubernetes, only the objects with its name;
//   - of openreports.io Reports, if withOpenReports is set, only those with the operator's name;
//   - of everything else, all fields except managedFields.
func New(withOpenReports bool) cache.Options {
	keepAll := func(object any) (any, error) { return object, nil }
	byObject := map[client.Object]cache.ByObject{
		metadata.Namespace(): {Transform: keepAll},
	}
	for _, kind := range controls.Kinds() {
		if kind.SharedName != "" {
			byObject[kind.New()] = cache.ByObject{Field: fields.OneTermEqualSelector(metav1.ObjectNameField, kind.SharedName)}
		}
	}
	for _, workload := range metadata.Workloads() {
		byObject[workload] = cache.ByObject{Transform: stripMetadata}
	}
	if withOpenReports {
		byObject[&openreportsv1alpha1.Report{}] = cache.ByObject{Field: fields.OneTermEqualSelector(metav1.ObjectNameField, v1alpha1.ReportName)}
	}
	return cache.Options{
		DefaultTransform: (&interner{}).transform,
		ByObject:         byObject,
		NewInformer:      informers.New,
		// Each controller registers its watches. A read of any other kind is a bug and must not
		// start a watch.
		ReaderFailOnMissingInformer: true,
	}
}

// stripMetadata drops all metadata except what identifies an object and its version.
func stripMetadata(object any) (any, error) {
	if whole, ok := object.(*metav1.PartialObjectMetadata); ok {
		return &metav1.PartialObjectMetadata{TypeMeta: whole.TypeMeta, ObjectMeta: metav1.ObjectMeta{
			Namespace: whole.Namespace, Name: whole.Name, UID: whole.UID, ResourceVersion: whole.ResourceVersion,
		}}, nil
	}
	return object, nil
}
