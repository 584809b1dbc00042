package diff

import (
	"encoding/json"
	"maps"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/resource"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// randomObjects returns an object of each managed kind, with random data in the managed
// fields.
func randomObjects(random []byte) []controls.Object {
	filler := randfill.NewFromGoFuzz(random).NilChance(0.3).NumElements(0, 3).Funcs(
		func(quantity *resource.Quantity, c randfill.Continue) {
			*quantity = *resource.NewMilliQuantity(c.Int63n(1e9), resource.DecimalSI)
		},
		func(port *intstr.IntOrString, c randfill.Continue) {
			*port = intstr.FromInt32(c.Int31())
			if c.Bool() {
				*port = intstr.FromString(c.String(0))
			}
		},
	)
	policy := &networkingv1.NetworkPolicy{}
	binding := &rbacv1.RoleBinding{}
	account := &corev1.ServiceAccount{}
	limits := &corev1.LimitRange{}
	quota := &corev1.ResourceQuota{}
	filler.Fill(&policy.Spec)
	filler.Fill(&binding.RoleRef)
	filler.Fill(&binding.Subjects)
	filler.Fill(&account.AutomountServiceAccountToken)
	filler.Fill(&limits.Spec)
	filler.Fill(&quota.Spec)
	objects := []controls.Object{policy, binding, account, limits, quota}
	for _, object := range objects {
		object.SetName("security-baseline-a")
		object.SetLabels(map[string]string{v1alpha1.BaselineLabel: "a", v1alpha1.ControlLabel: string(controls.All[0].Name), v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})
	}
	account.SetName(controls.DefaultServiceAccount)
	return objects
}

// managedParts returns the managed parts of an object, each as a whole.
func managedParts(object controls.Object) []any {
	marks := map[string]string{}
	for _, key := range []string{v1alpha1.BaselineLabel, v1alpha1.ControlLabel, v1alpha1.ManagedByLabel} {
		if value, ok := object.GetLabels()[key]; ok {
			marks[key] = value
		}
	}
	switch object := object.(type) {
	case *networkingv1.NetworkPolicy:
		return []any{marks, object.Spec}
	case *rbacv1.RoleBinding:
		return []any{marks, object.RoleRef, object.Subjects}
	case *corev1.ServiceAccount:
		return []any{marks, object.AutomountServiceAccountToken}
	case *corev1.LimitRange:
		return []any{marks, object.Spec}
	case *corev1.ResourceQuota:
		return []any{marks, object.Spec}
	}
	return nil
}

// allPaths returns the paths of everything in a JSON value.
func allPaths(value any, path fieldpath.Path) []fieldpath.Path {
	all := []fieldpath.Path{path}
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			all = append(all, allPaths(value[key], append(path.Copy(), fieldpath.PathElement{FieldName: &key}))...)
		}
	case []any:
		for i := range value {
			all = append(all, allPaths(value[i], append(path.Copy(), fieldpath.PathElement{Index: &i}))...)
		}
	}
	return all
}

// mutated returns a JSON value with another value at a path.
func mutated(value any, path fieldpath.Path, text string) any {
	if len(path) == 0 {
		return another(value, text)
	}
	switch value := value.(type) {
	case map[string]any:
		changed, key := maps.Clone(value), *path[0].FieldName
		if changed[key] = mutated(value[key], path[1:], text); changed[key] == nil {
			delete(changed, key)
		}
		return changed
	case []any:
		changed, i := slices.Clone(value), *path[0].Index
		if changed[i] = mutated(value[i], path[1:], text); changed[i] == nil {
			return slices.Delete(changed, i, i+1)
		}
		return changed
	}
	return value
}

// another returns a value that differs from the given one, or nil to remove it.
func another(value any, text string) any {
	if text == "" {
		return nil
	}
	switch value := value.(type) {
	case bool:
		return !value
	case float64:
		return value + float64(len(text))
	case []any:
		if len(value) == 0 {
			return []any{text}
		}
		return append(slices.Clone(value), value[0])
	case map[string]any:
		changed := maps.Clone(value)
		changed[text] = text
		return changed
	}
	return text
}

// specPath covers several managed fields.
var specPath = fieldpath.MakePathOrDie("spec")

// managedPaths are the paths at or below which a value is managed.
var managedPaths = []fieldpath.Path{
	specPath, fieldpath.MakePathOrDie("roleRef"), fieldpath.MakePathOrDie("subjects"),
	fieldpath.MakePathOrDie("automountServiceAccountToken"),
	LabelPath(v1alpha1.BaselineLabel), LabelPath(v1alpha1.ControlLabel), LabelPath(v1alpha1.ManagedByLabel),
}

// FuzzCompare changes one managed value of an object. It checks that the difference is found,
// named and overwritten, unless it means the same to the API server, and that foreign labels
// and annotations are neither found nor changed.
func FuzzCompare(f *testing.F) {
	for kind := range uint(5) {
		for at := range uint(24) {
			f.Add([]byte{byte(at), byte(kind), 1, 2, 3, 4, 5, 6}, kind, at, "Egress")
			f.Add([]byte{byte(at), byte(kind), 6, 5, 4, 3, 2, 1}, kind, at, "")
		}
	}
	f.Fuzz(func(t *testing.T, random []byte, kind, at uint, text string) {
		text = strings.ToValidUTF8(text, "") // JSON has no other
		objects := randomObjects(random)
		expected := objects[kind%uint(len(objects))]
		actual := expected.DeepCopyObject().(controls.Object)
		foreign := map[string]string{"foreign": text}
		actual.SetLabels(labels.Merge(foreign, actual.GetLabels()))
		actual.SetAnnotations(foreign)
		if differences := Objects(actual, expected); len(differences) > 0 {
			t.Fatalf("got differences %v of an object from itself, want none", differences)
		}

		path := change(t, actual, at, text)
		same := equality.Semantic.DeepEqual(managedParts(actual), managedParts(expected))
		differences := Objects(actual, expected)
		switch named := slices.ContainsFunc(differences, func(d Difference) bool { return covers(d.Path, path) }); {
		case same && len(differences) > 0:
			t.Fatalf("%s means the same: got differences %v, want none", path, differences)
		case !same && !named:
			t.Fatalf("%s was changed: got differences %v\n%s", path, differences, cmp.Diff(managedParts(expected), managedParts(actual)))
		}
		if len(differences) > 1 {
			t.Fatalf("%s was changed: got differences %v, want one", path, differences)
		}
		if controls.IsShared(expected) || differences.MustReplace(controls.KindOf(expected)) {
			return // it is applied or replaced
		}
		Overwrite(actual, expected)
		if differences := Objects(actual, expected); len(differences) > 0 {
			t.Errorf("%s is not overwritten: got differences %v", path, differences)
		}
		if diff := cmp.Diff(labels.Merge(foreign, expected.GetLabels()), labels.Set(actual.GetLabels())); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(foreign, actual.GetAnnotations()); diff != "" {
			t.Errorf("annotations (-want +got):\n%s", diff)
		}
	})
}

// change changes what is at one place of an object, if an API server could actual
// it, and returns its path.
func change(t *testing.T, object controls.Object, at uint, text string) fieldpath.Path {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(allPaths(value, nil), func(path fieldpath.Path) bool {
		return path.Equals(specPath) || !slices.ContainsFunc(managedPaths, func(managed fieldpath.Path) bool { return covers(managed, path) })
	})
	path := all[at%uint(len(all))]
	if data, err = json.Marshal(mutated(value, path, text)); err != nil {
		t.Fatal(err)
	}
	changed := reflect.New(reflect.TypeOf(object).Elem())
	if err := json.Unmarshal(data, changed.Interface()); err != nil {
		t.Skip(err)
	}
	reflect.ValueOf(object).Elem().Set(changed.Elem())
	return path
}

// covers reports whether other is at a path or below it.
func covers(path, other fieldpath.Path) bool {
	return len(other) >= len(path) && other[:len(path)].Equals(path)
}
