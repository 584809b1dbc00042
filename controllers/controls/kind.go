package controls

import (
	"reflect"
	"slices"
	"sync"

	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"
)

// Kind is a kind of object in governed namespaces that controls manage or observe.
// Watches, cache options, what an evaluation reads and what it prunes follow from it.
type Kind struct {
	// Object and List are an empty object and an empty list of the kind.
	Object Object
	List   ObjectList

	// ManagedFields returns the fields of an object that the operator manages, its
	// labels excluded. It is nil for a kind that is only observed.
	ManagedFields func(Object) []Field

	// SetManagedFields sets the managed fields of an object to those of another one
	// and leaves the rest. It is nil for a kind whose fields are applied, because
	// Kubernetes itself creates the object.
	SetManagedFields func(actual, expected Object)

	// Immutable are the managed fields that the API server does not let change: an
	// object in which they differ is replaced.
	Immutable []fieldpath.Path

	// SharedName is the name of the one object of the kind that matters. Kubernetes
	// creates it in every namespace, and the operator owns only some of its fields:
	// it is never deleted, the fields are relinquished. The cache holds no other
	// object of the kind.
	SharedName string

	// HasManagedNamesOnly reports whether objects matter only if their name has the
	// operator's prefix. Events of others are ignored.
	HasManagedNamesOnly bool

	// Strip drops what no control reads, before an object enters the cache; nil if nothing.
	Strip func(Object)

	// IsChanged reports whether an update matters; nil if every update does.
	IsChanged func(before, after Object) bool
}

// Field is a field of an object and its value.
type Field struct {
	Path  fieldpath.Path
	Value any
}

// Kinds returns the kinds of objects that any control manages or observes. The slice is
// shared: callers must not change it.
func Kinds() []*Kind { return kindsOfAll() }

// kindsOfAll is collected once, because every evaluation of a namespace lists the kinds.
var kindsOfAll = sync.OnceValue(func() []*Kind {
	var kinds []*Kind
	for i := range All {
		for _, kind := range slices.Concat(All[i].Manages, All[i].Observes) {
			if !slices.Contains(kinds, kind) {
				kinds = append(kinds, kind)
			}
		}
	}
	return kinds
})

// ManagedKinds returns the kinds of objects that any control creates or changes.
func ManagedKinds() []*Kind {
	return slices.DeleteFunc(slices.Clone(Kinds()), func(kind *Kind) bool { return !kind.IsManaged() })
}

// KindOf returns the kind of an object, or nil if no control manages or observes it.
func KindOf(object Object) *Kind {
	return kindsByType()[reflect.TypeOf(object)]
}

// kindsByType is a map because the operator looks up the kind of every object it compares.
var kindsByType = sync.OnceValue(func() map[reflect.Type]*Kind {
	kinds := map[reflect.Type]*Kind{}
	for _, kind := range Kinds() {
		kinds[reflect.TypeOf(kind.Object)] = kind
	}
	return kinds
})

// IsShared reports whether an object is one that Kubernetes creates, and of which the
// operator owns only some fields.
func IsShared(object Object) bool {
	kind := KindOf(object)
	return kind != nil && kind.SharedName != "" && object.GetName() == kind.SharedName
}

// New returns an empty object of the kind.
func (k *Kind) New() Object {
	return k.Object.DeepCopyObject().(Object)
}

// NewList returns an empty list of the kind.
func (k *Kind) NewList() ObjectList {
	return k.List.DeepCopyObject().(ObjectList)
}

// Name returns the name of the kind, such as NetworkPolicy. The Go types of Kubernetes have
// the names of their kinds.
func (k *Kind) Name() string {
	return reflect.TypeOf(k.Object).Elem().Name()
}

// IsManaged reports whether the operator may write objects of the kind.
func (k *Kind) IsManaged() bool {
	return k.ManagedFields != nil
}
