package controllers

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/resolve"
)

func TestGone(t *testing.T) {
	baseline := func(change func(*v1alpha1.SecurityBaseline)) []v1alpha1.SecurityBaseline {
		out := v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
		change(&out)
		return []v1alpha1.SecurityBaseline{{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, out}
	}
	deleted := new(metav1.Now())
	for _, test := range []struct {
		name      string
		baselines []v1alpha1.SecurityBaseline
		want      bool
	}{
		{"what a baseline gave that is no more is retained", nil, false},
		{"what a baseline gave that does not want it any more goes", baseline(func(*v1alpha1.SecurityBaseline) {}), true},
		{"what a baseline in Audit mode gave stays as it is", baseline(func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Mode = v1alpha1.ModeAudit
		}), false},
		{"unless it is deleted and takes it along", baseline(func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Mode, b.DeletionTimestamp, b.Spec.DeletionPolicy = v1alpha1.ModeAudit, deleted, v1alpha1.DeletionRemove
		}), true},
		{"what a baseline gave that is deleted is retained", baseline(func(b *v1alpha1.SecurityBaseline) {
			b.DeletionTimestamp = deleted
		}), false},
		{"unless it takes it along", baseline(func(b *v1alpha1.SecurityBaseline) {
			b.DeletionTimestamp, b.Spec.DeletionPolicy = deleted, v1alpha1.DeletionRemove
		}), true},
		{"a selector that does not parse takes nothing away", baseline(func(b *v1alpha1.SecurityBaseline) {
			b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
		}), false},
	} {
		t.Run(test.name, func(t *testing.T) {
			reconciler := &namespaceReconciler{protected: resolve.Protected()}
			if got := reconciler.gone(test.baselines, "a"); got != test.want {
				t.Errorf("want %t, got %t", test.want, got)
			}
		})
	}
}
