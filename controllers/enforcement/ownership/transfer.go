package ownership

import (
	"bytes"
	"fmt"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// TransferToOperator returns managedFields in which the fields at the paths belong to the
// operator alone, as if it had applied them. The fields to drop belong to no manager.
func TransferToOperator(entries []metav1.ManagedFieldsEntry, transfer, drop *fieldpath.Set) ([]metav1.ManagedFieldsEntry, error) {
	taken := transfer.Union(drop)
	operatorFields := transfer
	var others []metav1.ManagedFieldsEntry
	var operator *metav1.ManagedFieldsEntry
	for i := range entries {
		entry := entries[i].DeepCopy()
		fields := fieldsOf(entry)
		if isAppliedByOperator(entry) {
			operator = entry
			operatorFields = transfer.Union(fields)
			continue
		}
		if !fields.Intersection(taken).Empty() {
			if err := setFields(entry, fields.Difference(taken)); err != nil {
				return nil, err
			}
		}
		others = append(others, *entry)
	}
	if operator == nil {
		operator = &metav1.ManagedFieldsEntry{
			Manager: v1alpha1.FieldManager, Operation: metav1.ManagedFieldsOperationApply,
			APIVersion: "v1", FieldsType: "FieldsV1", Time: new(metav1.Now()),
		}
	}
	if err := setFields(operator, operatorFields); err != nil {
		return nil, err
	}
	return append(others, *operator), nil
}

func isAppliedByOperator(entry *metav1.ManagedFieldsEntry) bool {
	return entry.Manager == v1alpha1.FieldManager && entry.Operation == metav1.ManagedFieldsOperationApply && entry.Subresource == ""
}

func setFields(entry *metav1.ManagedFieldsEntry, fields *fieldpath.Set) error {
	var data bytes.Buffer
	if err := fields.ToJSONStream(&data); err != nil {
		return fmt.Errorf("writing managedFields: %w", err)
	}
	entry.FieldsV1 = metav1.NewFieldsV1(data.String())
	return nil
}
