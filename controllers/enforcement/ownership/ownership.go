// Package ownership reads and rewrites managedFields: which fields of an object the
// operator owns, and which author changed a field last. It is pure.
//
// Server-side field management records which field manager wrote a field last.
// https://kubernetes.io/docs/reference/using-api/server-side-apply/#field-management
package ownership

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// Author is the field manager that changed fields last, and how. It is zero where the
// author is unknown: nothing records who removed a field.
type Author struct {
	Manager   string
	Operation string
	// ChangeTime is when the author changed the fields, to the second.
	ChangeTime *metav1.Time
	// IsOperator reports whether only the operator is recorded as an author.
	IsOperator bool
}

// LastAuthor returns the last author of any field at or below the paths, other than the
// operator. Where there is none, it returns whether the operator wrote one of them.
func LastAuthor(object metav1.Object, paths ...fieldpath.Path) Author {
	entries := object.GetManagedFields()
	var newest *metav1.ManagedFieldsEntry
	for i := range entries {
		entry := &entries[i]
		if entry.Manager == v1alpha1.FieldManager || !hasAnyField(entry, paths) {
			continue
		}
		if newest == nil || newest.Time.Before(entry.Time) {
			newest = entry
		}
	}
	if newest == nil {
		return Author{IsOperator: hasOperatorField(entries, paths)}
	}
	return Author{Manager: newest.Manager, Operation: string(newest.Operation), ChangeTime: newest.Time}
}

// IsWrittenByOperator reports whether the operator wrote any field of an object, whatever the
// object's labels say.
func IsWrittenByOperator(object metav1.Object) bool {
	return slices.ContainsFunc(object.GetManagedFields(), func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == v1alpha1.FieldManager
	})
}

// OwnedLabels returns the keys of an object's labels that the operator owns and no other
// field manager does.
func OwnedLabels(object metav1.Object) sets.Set[string] {
	own := sets.New[string]()
	foreign := sets.New[string]()
	labels := fieldpath.MakePathOrDie("metadata", "labels")
	entries := object.GetManagedFields()
	for i := range entries {
		keys := foreign
		if entries[i].Manager == v1alpha1.FieldManager {
			keys = own
		}
		fieldsOf(&entries[i]).Iterate(func(owned fieldpath.Path) {
			if len(owned) == len(labels)+1 && owned[:len(labels)].Equals(labels) && owned[len(labels)].FieldName != nil {
				keys.Insert(*owned[len(labels)].FieldName)
			}
		})
	}
	return own.Difference(foreign)
}

func hasAnyField(entry *metav1.ManagedFieldsEntry, paths []fieldpath.Path) bool {
	owns := false
	fieldsOf(entry).Iterate(func(owned fieldpath.Path) {
		owns = owns || slices.ContainsFunc(paths, func(path fieldpath.Path) bool {
			return len(owned) >= len(path) && owned[:len(path)].Equals(path)
		})
	})
	return owns
}

// hasOperatorField reports whether a whole field is recorded as the operator's. If
// only parts of a field are recorded, other parts may have been removed since.
func hasOperatorField(entries []metav1.ManagedFieldsEntry, paths []fieldpath.Path) bool {
	return slices.ContainsFunc(entries, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == v1alpha1.FieldManager && slices.ContainsFunc(paths, fieldsOf(&entry).Has)
	})
}

func fieldsOf(entry *metav1.ManagedFieldsEntry) *fieldpath.Set {
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
