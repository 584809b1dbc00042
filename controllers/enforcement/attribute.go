package enforcement

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Server-side field management records who wrote which field last.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management

// author is who wrote fields, and how. It is zero where nothing records it: a
// field that was removed belongs to nobody.
type author struct {
	manager   string
	operation metav1.ManagedFieldsOperationType
	// changed is when, to the second.
	changed *metav1.Time
	// version is that of the object.
	version string
	// operator says that nobody but the operator wrote what was found.
	operator bool
}

// attribute returns who, other than the operator, wrote any of the fields of an
// object last or, where nobody did, whether the operator wrote one.
func attribute(object metav1.Object, differ []difference) author {
	entries := object.GetManagedFields()
	paths := make([]fieldpath.Path, 0, len(differ))
	for _, difference := range differ {
		paths = append(paths, difference.path)
	}
	var newest *metav1.ManagedFieldsEntry
	for i := range entries {
		entry := &entries[i]
		if entry.Manager == v1alpha1.FieldManager || !ownsAny(entry, paths) {
			continue
		}
		if newest == nil || newest.Time.Before(entry.Time) {
			newest = entry
		}
	}
	if newest == nil {
		return author{version: object.GetResourceVersion(), operator: operatorWrote(entries, paths)}
	}
	return author{manager: newest.Manager, operation: newest.Operation, changed: newest.Time, version: object.GetResourceVersion()}
}

// LastAuthor returns who, other than the operator, last wrote any field of an
// object under the paths, and how; empty where nothing records it.
func LastAuthor(object metav1.Object, paths ...fieldpath.Path) (manager, operation string) {
	differ := make([]difference, 0, len(paths))
	for _, path := range paths {
		differ = append(differ, difference{path: path})
	}
	by := attribute(object, differ)
	return by.manager, string(by.operation)
}

func ownsAny(entry *metav1.ManagedFieldsEntry, paths []fieldpath.Path) bool {
	owns := false
	fieldsIn(entry).Iterate(func(owned fieldpath.Path) {
		owns = owns || slices.ContainsFunc(paths, func(path fieldpath.Path) bool {
			return len(owned) >= len(path) && owned[:len(path)].Equals(path)
		})
	})
	return owns
}

// operatorWrote says whether a field is recorded as the operator's as a whole. Of one
// whose parts are recorded, some may have been removed since.
func operatorWrote(entries []metav1.ManagedFieldsEntry, paths []fieldpath.Path) bool {
	return slices.ContainsFunc(entries, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == v1alpha1.FieldManager && slices.ContainsFunc(paths, fieldsIn(&entry).Has)
	})
}

// wroteIt says whether the operator wrote an object, whatever its labels say
// now: any field is still recorded as its own.
func wroteIt(entries []metav1.ManagedFieldsEntry) bool {
	return slices.ContainsFunc(entries, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == v1alpha1.FieldManager
	})
}

// OwnLabels returns the keys of an object's labels that the operator owns and
// nobody else does.
func OwnLabels(entries []metav1.ManagedFieldsEntry) sets.Set[string] {
	own, foreign := sets.New[string](), sets.New[string]()
	labels := fieldpath.MakePathOrDie("metadata", "labels")
	for i := range entries {
		keys := foreign
		if entries[i].Manager == v1alpha1.FieldManager {
			keys = own
		}
		fieldsIn(&entries[i]).Iterate(func(owned fieldpath.Path) {
			if len(owned) == len(labels)+1 && owned[:len(labels)].Equals(labels) && owned[len(labels)].FieldName != nil {
				keys.Insert(*owned[len(labels)].FieldName)
			}
		})
	}
	return own.Difference(foreign)
}

func fieldsIn(entry *metav1.ManagedFieldsEntry) *fieldpath.Set {
	fields := &fieldpath.Set{}
	if entry.FieldsV1 == nil {
		return fields
	}
	// The API server wrote it; what does not parse owns nothing.
	if err := fields.FromJSON(entry.FieldsV1.GetRawReader()); err != nil {
		return &fieldpath.Set{}
	}
	return fields
}
