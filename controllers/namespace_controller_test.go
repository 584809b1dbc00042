package controllers

import (
	"context"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/precedence"
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
			reconciler := &namespaceReconciler{protected: precedence.ProtectedNamespaces()}
			if got := reconciler.gone(test.baselines, "a"); got != test.want {
				t.Errorf("want %t, got %t", test.want, got)
			}
		})
	}
}

// answering is a client whose updates end so.
type answering struct {
	client.Client
	err error
}

func (a *answering) Update(context.Context, client.Object, ...client.UpdateOption) error {
	return a.err
}

// Where the CRD of reports is gone, what the cache has of them is no ledger, until one is
// written again.
func TestReportsAreKnownNotToBeServed(t *testing.T) {
	gone := apierrors.NewGenericServerResponse(http.StatusNotFound, "put", v1alpha1.GroupVersion.WithResource("baselinereports").GroupResource(), "", "404 page not found", 0, true)
	writer := &answering{}
	r := &namespaceReconciler{client: writer}
	existing := &v1alpha1.BaselineReport{ObjectMeta: metav1.ObjectMeta{UID: "a"}}
	differs := v1alpha1.BaselineReportData{ObservedBaselines: []v1alpha1.ObservedBaseline{{Name: "a"}}}
	same := v1alpha1.BaselineReport{ObjectMeta: existing.ObjectMeta, BaselineReportData: differs}
	for _, step := range []struct {
		what     string
		current  *v1alpha1.BaselineReport
		answer   error
		unserved bool
	}{
		{"it is written", existing, nil, false},
		{"its kind is not known", existing, gone, true},
		{"there is nothing to write", &same, nil, true},
		{"there is no answer", existing, context.DeadlineExceeded, true},
		{"it is written again", existing, nil, false},
		{"it has changed meanwhile", existing, apierrors.NewConflict(v1alpha1.GroupVersion.WithResource("baselinereports").GroupResource(), "a", nil), false},
	} {
		writer.err = step.answer
		err := r.writeOnce(t.Context(), step.current, "n", differs)
		if (err == nil) != (step.answer == nil || step.current == &same) || r.unserved.Load() != step.unserved {
			t.Errorf("%s: unserved is %t, and the error %v", step.what, r.unserved.Load(), err)
		}
	}
}
