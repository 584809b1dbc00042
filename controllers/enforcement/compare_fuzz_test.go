package enforcement

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
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/randfill"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// made returns an object of each kind that the operator makes, with random data
// in the fields that are the operator's.
func made(random []byte) []client.Object {
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
	policy, binding, account := &networkingv1.NetworkPolicy{}, &rbacv1.RoleBinding{}, &corev1.ServiceAccount{}
	limits, quota := &corev1.LimitRange{}, &corev1.ResourceQuota{}
	filler.Fill(&policy.Spec)
	filler.Fill(&binding.RoleRef)
	filler.Fill(&binding.Subjects)
	filler.Fill(&account.AutomountServiceAccountToken)
	filler.Fill(&limits.Spec)
	filler.Fill(&quota.Spec)
	objects := []client.Object{policy, binding, account, limits, quota}
	for _, object := range objects {
		object.SetName("security-baseline-a")
		object.SetLabels(map[string]string{v1alpha1.BaselineLabel: "a", v1alpha1.ControlLabel: string(controls.All[0].Name), v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue})
	}
	account.SetName(controls.DefaultServiceAccount)
	return objects
}

// asked returns what is the operator's of an object, as a whole.
func asked(object client.Object) []any {
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

// places returns the paths of all that is in a JSON value.
func places(value any, path fieldpath.Path) []fieldpath.Path {
	all := []fieldpath.Path{path}
	switch value := value.(type) {
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(value)) {
			all = append(all, places(value[key], append(path.Copy(), fieldpath.PathElement{FieldName: &key}))...)
		}
	case []any:
		for i := range value {
			all = append(all, places(value[i], append(path.Copy(), fieldpath.PathElement{Index: &i}))...)
		}
	}
	return all
}

// mutated returns a JSON value in which what is at a path is another.
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

// another returns a value in place of another one, or nil for none.
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

// specPath is of many fields.
var specPath = fieldpath.MakePathOrDie("spec")

// own are the paths below which what is there is the operator's.
var own = []fieldpath.Path{
	specPath, fieldpath.MakePathOrDie("roleRef"), fieldpath.MakePathOrDie("subjects"),
	fieldpath.MakePathOrDie("automountServiceAccountToken"),
	labelPath(v1alpha1.BaselineLabel), labelPath(v1alpha1.ControlLabel), labelPath(v1alpha1.ManagedByLabel),
}

// FuzzCompare changes one place of what is the operator's in an object, and checks
// that this is found, named and put right, unless it means the same to the API
// server, and that what is somebody else's is neither found nor touched.
func FuzzCompare(f *testing.F) {
	for kind := range uint(5) {
		for at := range uint(24) {
			f.Add([]byte{byte(at), byte(kind), 1, 2, 3, 4, 5, 6}, kind, at, "Egress")
			f.Add([]byte{byte(at), byte(kind), 6, 5, 4, 3, 2, 1}, kind, at, "")
		}
	}
	f.Fuzz(func(t *testing.T, random []byte, kind, at uint, text string) {
		text = strings.ToValidUTF8(text, "") // JSON has no other
		objects := made(random)
		want := objects[kind%uint(len(objects))]
		have := want.DeepCopyObject().(client.Object)
		theirs := map[string]string{"theirs": text}
		have.SetLabels(labels.Merge(theirs, have.GetLabels()))
		have.SetAnnotations(theirs)
		if differ := differences(have, want); len(differ) > 0 {
			t.Fatalf("an object differs from itself in %v", differ)
		}

		path := change(t, have, at, text)
		same := equality.Semantic.DeepEqual(asked(have), asked(want))
		differ := differences(have, want)
		switch named := slices.ContainsFunc(differ, func(d difference) bool { return covers(d.path, path) }); {
		case same && len(differ) > 0:
			t.Fatalf("%s means the same, but differs in %v", path, differ)
		case !same && !named:
			t.Fatalf("%s was changed, but what differs is %v:\n%s", path, differ, cmp.Diff(asked(want), asked(have)))
		}
		if len(differ) > 1 {
			t.Fatalf("one place was changed, %s, but what differs is %v", path, differ)
		}
		if shared(want) || replaces(differ) {
			return // it is applied, or made anew
		}
		overwrite(have, want)
		if differ := differences(have, want); len(differ) > 0 {
			t.Errorf("%s is not put right: %v", path, differ)
		}
		if diff := cmp.Diff(labels.Merge(theirs, want.GetLabels()), labels.Set(have.GetLabels())); diff != "" {
			t.Errorf("labels (-want +got):\n%s", diff)
		}
		if diff := cmp.Diff(theirs, have.GetAnnotations()); diff != "" {
			t.Errorf("annotations (-want +got):\n%s", diff)
		}
	})
}

// change changes what is at one place of an object, if an API server could have
// it, and returns its path.
func change(t *testing.T, object client.Object, at uint, text string) fieldpath.Path {
	t.Helper()
	data, err := json.Marshal(object)
	if err != nil {
		t.Fatal(err)
	}
	var value map[string]any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	all := slices.DeleteFunc(places(value, nil), func(path fieldpath.Path) bool {
		return path.Equals(specPath) || !slices.ContainsFunc(own, func(own fieldpath.Path) bool { return covers(own, path) })
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

// covers says whether something is at a path or below it.
func covers(path, something fieldpath.Path) bool {
	return len(something) >= len(path) && something[:len(path)].Equals(path)
}
