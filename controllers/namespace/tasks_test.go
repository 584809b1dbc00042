package namespace

import (
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/precedence"
)

func TestShouldPrune(t *testing.T) {
	baseline := func(change func(*v1alpha1.SecurityBaseline)) []v1alpha1.SecurityBaseline {
		changed := v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
		change(&changed)
		return []v1alpha1.SecurityBaseline{{ObjectMeta: metav1.ObjectMeta{Name: "other"}}, changed}
	}
	deleted := new(metav1.Now())
	for _, test := range []struct {
		name      string
		baselines []v1alpha1.SecurityBaseline
		want      bool
	}{
		{name: "baseline is gone", baselines: nil, want: false},
		{name: "baseline exists and no longer asks for the objects", baselines: baseline(func(*v1alpha1.SecurityBaseline) {}), want: true},
		{name: "baseline is in Audit mode", baselines: baseline(func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Mode = v1alpha1.ModeAudit
		}), want: false},
		{name: "baseline in Audit mode is being deleted with deletionPolicy Remove", baselines: baseline(func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Mode = v1alpha1.ModeAudit
			b.DeletionTimestamp = deleted
			b.Spec.DeletionPolicy = v1alpha1.DeletionRemove
		}), want: true},
		{name: "baseline is being deleted", baselines: baseline(func(b *v1alpha1.SecurityBaseline) {
			b.DeletionTimestamp = deleted
		}), want: false},
		{name: "baseline is being deleted with deletionPolicy Remove", baselines: baseline(func(b *v1alpha1.SecurityBaseline) {
			b.DeletionTimestamp = deleted
			b.Spec.DeletionPolicy = v1alpha1.DeletionRemove
		}), want: true},
		{name: "selector is invalid", baselines: baseline(func(b *v1alpha1.SecurityBaseline) {
			b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "a", Operator: "Like"}}
		}), want: false},
	} {
		t.Run(test.name, func(t *testing.T) {
			reconciler := &Reconciler{Options: Options{Protected: precedence.ProtectedNamespaces()}}
			if got := reconciler.shouldPrune(test.baselines, "a"); got != test.want {
				t.Errorf("shouldPrune() = %t, want %t", got, test.want)
			}
		})
	}
}
