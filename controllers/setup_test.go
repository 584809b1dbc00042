package controllers

import (
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// A namespace whose label somebody takes over from the operator is urgent: the
// operator's entry is another then, but not newer.
func TestWhoWroteANamespaceLast(t *testing.T) {
	at := func(second int64) *metav1.Time { return new(metav1.NewTime(time.Unix(second, 0))) }
	written := func(entries ...metav1.ManagedFieldsEntry) time.Time {
		namespace := namespaceMetadata()
		namespace.ManagedFields = entries
		return lastWrite(namespace)
	}
	ours := metav1.ManagedFieldsEntry{Manager: v1alpha1.FieldManager, Time: at(1), FieldsV1: metav1.NewFieldsV1(`{"f:metadata":{}}`)}
	before := written(ours)

	robbed := ours
	robbed.FieldsV1 = metav1.NewFieldsV1("{}")
	if written(robbed, metav1.ManagedFieldsEntry{Manager: "kubectl-label", Time: at(9)}).After(before) {
		t.Error("what somebody else took over passes for the operator's own write")
	}
	again := ours
	again.Time = at(2)
	if !written(again).After(before) || !before.After(written()) {
		t.Error("the operator's own write is not known for it")
	}
}
