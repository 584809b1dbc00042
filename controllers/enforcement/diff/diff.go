// Package diff compares objects and labels with what a baseline expects, field by field.
// It is pure.
package diff

import (
	"maps"
	"slices"

	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/labels"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// Difference is a managed field, or a label, that differs from what is expected. A value
// of nil means that the field is absent.
type Difference struct {
	Path             fieldpath.Path
	Expected, Actual any
}

// Differences are all differences of one object.
type Differences []Difference

// Objects returns where an object differs from what is expected: its managed fields and
// the expected labels. Other labels and annotations belong to other authors.
func Objects(actual, expected controls.Object) Differences {
	differences := Labels(actual.GetLabels(), expected.GetLabels())
	managedFields := controls.KindOf(expected).ManagedFields
	actualFields := managedFields(actual)
	for i, field := range managedFields(expected) {
		if !equality.Semantic.DeepEqual(actualFields[i].Value, field.Value) {
			differences = append(differences, Difference{Path: field.Path, Expected: field.Value, Actual: actualFields[i].Value})
		}
	}
	return differences
}

// Labels returns which of the expected labels differ.
func Labels(actual, expected map[string]string) Differences {
	var differences Differences
	for _, key := range slices.Sorted(maps.Keys(expected)) {
		value, ok := actual[key]
		switch {
		case !ok:
			differences = append(differences, Difference{Path: LabelPath(key), Expected: expected[key]})
		case value != expected[key]:
			differences = append(differences, Difference{Path: LabelPath(key), Expected: expected[key], Actual: value})
		}
	}
	return differences
}

// LabelPath returns the path of a label.
func LabelPath(key string) fieldpath.Path {
	return fieldpath.MakePathOrDie("metadata", "labels", key)
}

// Overwrite sets the managed fields and the expected labels of an object as expected, and
// leaves the rest.
func Overwrite(actual, expected controls.Object) {
	actual.SetLabels(labels.Merge(actual.GetLabels(), expected.GetLabels()))
	if set := controls.KindOf(expected).SetManagedFields; set != nil {
		set(actual, expected)
	}
}

// MustReplace reports whether the API server does not let the differences of an object
// of a kind be updated, so that the object must be replaced.
func (d Differences) MustReplace(kind *controls.Kind) bool {
	return slices.ContainsFunc(kind.Immutable, d.Has)
}

// Has reports whether there is a difference at the path.
func (d Differences) Has(path fieldpath.Path) bool {
	return slices.ContainsFunc(d, func(difference Difference) bool { return difference.Path.Equals(path) })
}

// Paths returns the paths of the differences.
func (d Differences) Paths() []fieldpath.Path {
	paths := make([]fieldpath.Path, 0, len(d))
	for i := range d {
		paths = append(paths, d[i].Path)
	}
	return paths
}

// IgnoringBaseline returns the differences without those that only tell which baseline
// applied an object or a label.
func (d Differences) IgnoringBaseline() Differences {
	return slices.DeleteFunc(slices.Clone(d), func(difference Difference) bool {
		return difference.Actual != nil && isBaselineLabel(difference.Path)
	})
}

func isBaselineLabel(path fieldpath.Path) bool {
	return path.Equals(LabelPath(v1alpha1.BaselineLabel)) || slices.ContainsFunc(controls.All, func(control controls.Control) bool {
		return path.Equals(LabelPath(v1alpha1.GoverningBaselineLabel(control.Name)))
	})
}
