package enforcement

import (
	"testing"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// Another author can remove the label of an object that was created just before an operator
// ended, so that the inventory has another object of the name, or none.
func TestCanWrite(t *testing.T) {
	written := func(manager string) []metav1.ManagedFieldsEntry {
		return []metav1.ManagedFieldsEntry{{Manager: manager}}
	}
	label := map[string]string{v1alpha1.BaselineLabel: "a"}
	for _, test := range []struct {
		name      string
		meta      metav1.ObjectMeta
		inventory []v1alpha1.InventoryEntry
		want      bool
	}{
		{"has the label", metav1.ObjectMeta{Labels: label}, nil, true},
		{"in the inventory", metav1.ObjectMeta{UID: "it"}, []v1alpha1.InventoryEntry{{Object: "NetworkPolicy/p", UID: "it"}}, true},
		{"another object in the inventory, written by the operator", metav1.ObjectMeta{UID: "it", ManagedFields: written(v1alpha1.FieldManager)},
			[]v1alpha1.InventoryEntry{{Object: "NetworkPolicy/p", UID: "another"}}, true},
		{"not in the inventory, written by the operator", metav1.ObjectMeta{UID: "it", ManagedFields: written(v1alpha1.FieldManager)}, nil, true},
		{"another object in the inventory, written by another author", metav1.ObjectMeta{UID: "it", ManagedFields: written("kubectl")},
			[]v1alpha1.InventoryEntry{{Object: "NetworkPolicy/p", UID: "another"}}, false},
		{"unknown object", metav1.ObjectMeta{UID: "it"}, nil, false},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.meta.Name = "p"
			task := &evaluation.Task{Previous: &v1alpha1.ControlReport{Inventory: test.inventory}}
			if got := canWrite(task, &networkingv1.NetworkPolicy{ObjectMeta: test.meta}); got != test.want {
				t.Errorf("got %t, want %t", got, test.want)
			}
		})
	}
}
