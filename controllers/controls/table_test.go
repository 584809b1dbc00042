package controls

import (
	"reflect"
	"strings"
	"testing"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// sectionField returns the field of the spec that has a JSON name.
func sectionField(name string) (reflect.StructField, bool) {
	spec := reflect.TypeFor[v1alpha1.SecurityBaselineSpec]()
	for field := range spec.Fields() {
		if jsonName, _, _ := strings.Cut(field.Tag.Get("json"), ","); jsonName == name {
			return field, true
		}
	}
	return reflect.StructField{}, false
}

func TestAll_EveryControlHasSection(t *testing.T) {
	for _, control := range All {
		field, ok := sectionField(control.Section)
		if !ok {
			t.Errorf("the section %q of control %s is no field of SecurityBaselineSpec; add the field, or correct Section", control.Section, control.Name)
			continue
		}
		if field.Name != string(control.Name) {
			t.Errorf("the section %q of control %s is the field %s; name the field like the control", control.Section, control.Name, field.Name)
		}
	}
}

// Every pointer to a struct in the spec is the section of a control.
func TestAll_EverySectionHasControl(t *testing.T) {
	spec := reflect.TypeFor[v1alpha1.SecurityBaselineSpec]()
	for field := range spec.Fields() {
		if field.Type.Kind() != reflect.Pointer || field.Type.Elem().Kind() != reflect.Struct {
			continue
		}
		hasControl := false
		for _, control := range All {
			hasControl = hasControl || string(control.Name) == field.Name
		}
		if !hasControl {
			t.Errorf("no control in controls.All has the section %s; add the control to the table", field.Name)
		}
	}
}

func TestAll_ManagedKindsAreComplete(t *testing.T) {
	for _, control := range All {
		for _, kind := range control.Manages {
			switch {
			case kind.ManagedFields == nil:
				t.Errorf("control %s manages %s without ManagedFields; add them, or move the kind to Observes", control.Name, kind.Name())
			case kind.SetManagedFields == nil && kind.SharedName == "":
				t.Errorf("control %s manages %s without SetManagedFields; add it, so that drift can be reverted", control.Name, kind.Name())
			}
		}
	}
}

// A kind that a control only observes must not be pruned. A control that reads a kind which
// another control manages declares nothing: Unmanaged holds the objects of all kinds.
func TestAll_ObservedKindsAreNotManaged(t *testing.T) {
	for _, control := range All {
		for _, kind := range control.Observes {
			if kind.IsManaged() {
				t.Errorf("control %s observes %s, but the kind has ManagedFields, so its objects could be pruned; remove it from Observes: Unmanaged has its objects anyway", control.Name, kind.Name())
			}
		}
	}
}

func TestKindOf_KnowsEveryKind(t *testing.T) {
	for _, kind := range Kinds() {
		if got := KindOf(kind.New()); got != kind {
			t.Errorf("KindOf(%s): got %v, want the kind itself", kind.Name(), got)
		}
		if got, want := reflect.TypeOf(kind.NewList()).Elem().Name(), kind.Name()+"List"; got != want {
			t.Errorf("list of %s: got %s, want %s", kind.Name(), got, want)
		}
	}
}
