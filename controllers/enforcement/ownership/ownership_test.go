package ownership

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func entry(manager string, at int, fields string) metav1.ManagedFieldsEntry {
	written := metav1.NewTime(time.Unix(int64(at), 0))
	return metav1.ManagedFieldsEntry{Manager: manager, Operation: "Update", Time: &written, FieldsV1: metav1.NewFieldsV1(fields)}
}

func TestLastAuthor(t *testing.T) {
	const operator = v1alpha1.FieldManager
	for _, test := range []struct {
		name    string
		entries []metav1.ManagedFieldsEntry
		want    string
	}{
		{"no entry", nil, ""},
		{"only the operator", []metav1.ManagedFieldsEntry{entry(operator, 1, `{"f:spec":{"f:ingress":{}}}`)}, ""},
		{"another field", []metav1.ManagedFieldsEntry{entry("them", 1, `{"f:spec":{"f:egress":{}}}`)}, ""},
		{"the field", []metav1.ManagedFieldsEntry{entry("them", 1, `{"f:spec":{"f:ingress":{}}}`)}, "them"},
		{"a part of the field", []metav1.ManagedFieldsEntry{entry("them", 1, `{"f:spec":{"f:ingress":{"f:x":{}}}}`)}, "them"},
		{"newest of several", []metav1.ManagedFieldsEntry{
			entry("first", 1, `{"f:spec":{"f:ingress":{}}}`), entry("last", 3, `{"f:spec":{"f:ingress":{}}}`), entry("second", 2, `{"f:spec":{"f:ingress":{}}}`),
		}, "last"},
		{"entry that does not parse", []metav1.ManagedFieldsEntry{entry("them", 1, `{`)}, ""},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := LastAuthor(&metav1.ObjectMeta{ManagedFields: test.entries}, fieldpath.MakePathOrDie("spec", "ingress"))
			if got.Manager != test.want {
				t.Errorf("got manager %q, want %q", got.Manager, test.want)
			}
		})
	}
}

func TestOwnedLabels_ExcludesSharedAndForeign(t *testing.T) {
	got := OwnedLabels(&metav1.ObjectMeta{ManagedFields: []metav1.ManagedFieldsEntry{
		entry(v1alpha1.FieldManager, 1, `{"f:metadata":{"f:labels":{".":{},"f:ours":{},"f:both":{}},"f:annotations":{"f:x":{}}}}`),
		entry("them", 1, `{"f:metadata":{"f:labels":{"f:both":{},"f:theirs":{}}}}`),
	}})
	if want := sets.New("ours"); !got.Equal(want) {
		t.Errorf("got %v, want %v", got, want)
	}
}

// managed returns an entry of managedFields.
func managed(t *testing.T, manager string, operation metav1.ManagedFieldsOperationType, paths ...fieldpath.Path) metav1.ManagedFieldsEntry {
	t.Helper()
	entry := metav1.ManagedFieldsEntry{Manager: manager, Operation: operation}
	if err := setFields(&entry, fieldpath.NewSet(paths...)); err != nil {
		t.Fatal(err)
	}
	return entry
}

func TestTransferToOperator(t *testing.T) {
	annotation := fieldpath.MakePathOrDie("metadata", "annotations", v1alpha1.CreationLabelsAnnotation)
	enforce := fieldpath.MakePathOrDie("metadata", "labels", "pod-security.kubernetes.io/enforce")
	team := fieldpath.MakePathOrDie("metadata", "labels", "team")
	images := fieldpath.MakePathOrDie("metadata", "labels", "images.securitybaseline.io/baseline")
	const apply, update = metav1.ManagedFieldsOperationApply, metav1.ManagedFieldsOperationUpdate
	for _, test := range []struct {
		name    string
		entries []metav1.ManagedFieldsEntry
		want    map[string][]fieldpath.Path
	}{
		{"recorded as the creator's", []metav1.ManagedFieldsEntry{managed(t, "kubectl-create", update, enforce, team, annotation)},
			map[string][]fieldpath.Path{"kubectl-create": {team}, v1alpha1.FieldManager: {enforce}}},
		{"operator owns another label", []metav1.ManagedFieldsEntry{managed(t, v1alpha1.FieldManager, apply, images), managed(t, "kubectl-create", update, enforce, annotation)},
			map[string][]fieldpath.Path{"kubectl-create": nil, v1alpha1.FieldManager: {enforce, images}}},
		{"operator updated but did not apply", []metav1.ManagedFieldsEntry{managed(t, v1alpha1.FieldManager, update, annotation)},
			map[string][]fieldpath.Path{v1alpha1.FieldManager: {enforce}}},
	} {
		t.Run(test.name, func(t *testing.T) {
			got, err := TransferToOperator(test.entries, fieldpath.NewSet(enforce), fieldpath.NewSet(annotation), metav1.Now())
			if err != nil {
				t.Fatal(err)
			}
			owns := map[string]*fieldpath.Set{}
			for i := range got {
				if fields := fieldsOf(&got[i]); owns[got[i].Manager] == nil {
					owns[got[i].Manager] = fields
				} else {
					owns[got[i].Manager] = owns[got[i].Manager].Union(fields)
				}
			}
			for manager, paths := range test.want {
				if want := fieldpath.NewSet(paths...); owns[manager] == nil || !want.Equals(owns[manager]) {
					t.Errorf("manager %s: got fields %s, want %s", manager, owns[manager], want)
				}
			}
			if diff := cmp.Diff(len(test.want), len(owns)); diff != "" {
				t.Errorf("managers (-want +got):\n%s", diff)
			}
		})
	}
}
