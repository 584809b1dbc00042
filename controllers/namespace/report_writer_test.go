package namespace

import (
	"context"
	"net/http"
	"testing"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// updateClient is a client whose updates return err.
type updateClient struct {
	client.Client
	err error
}

func (c *updateClient) Update(context.Context, client.Object, ...client.UpdateOption) error {
	return c.err
}

// Without the CRD of reports, the reports in the cache are no inventory, until one is written
// again.
func TestWriteReportOnce_RemembersWhetherTheCRDIsMissing(t *testing.T) {
	resource := v1alpha1.GroupVersion.WithResource("baselinereports").GroupResource()
	missing := apierrors.NewGenericServerResponse(http.StatusNotFound, "put", resource, "", "404 page not found", 0, true)
	writer := &updateClient{}
	reconciler := &Reconciler{Options: Options{Client: writer}}
	existing := &v1alpha1.BaselineReport{ObjectMeta: metav1.ObjectMeta{UID: "a"}}
	next := v1alpha1.BaselineReportData{ObservedBaselines: []v1alpha1.ObservedBaseline{{Name: "a"}}}
	unchanged := &v1alpha1.BaselineReport{ObjectMeta: existing.ObjectMeta, BaselineReportData: next}
	for _, step := range []struct {
		name        string
		current     *v1alpha1.BaselineReport
		err         error
		wantError   bool
		wantMissing bool
	}{
		{name: "the update succeeds", current: existing, wantMissing: false},
		{name: "the kind is unknown", current: existing, err: missing, wantError: true, wantMissing: true},
		{name: "there is nothing to write", current: unchanged, wantMissing: true},
		{name: "there is no answer", current: existing, err: context.DeadlineExceeded, wantError: true, wantMissing: true},
		{name: "the update succeeds again", current: existing, wantMissing: false},
		{name: "the report has changed", current: existing, err: apierrors.NewConflict(resource, "a", nil), wantError: true, wantMissing: false},
	} {
		writer.err = step.err
		err := reconciler.writeReportOnce(t.Context(), step.current, "n", next)
		if (err != nil) != step.wantError {
			t.Errorf("%s: got error %v, want an error: %t", step.name, err, step.wantError)
		}
		if got := reconciler.state.isReportCRDMissing.Load(); got != step.wantMissing {
			t.Errorf("%s: isReportCRDMissing = %t, want %t", step.name, got, step.wantMissing)
		}
	}
}
