package namespace

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/kube"
	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
)

// writeReport creates, updates or deletes the report of a namespace, so that it has the data that
// next returns for the current data. A drift must not be lost, so if the cache was stale, it reads
// the report from the API server and calls next again.
func (r *Reconciler) writeReport(ctx context.Context, current *v1alpha1.BaselineReport, namespace string,
	next func(v1alpha1.BaselineReportData) v1alpha1.BaselineReportData) error {
	err := r.writeReportOnce(ctx, current, namespace, next(current.BaselineReportData))
	if !reconcilers.IsStaleWrite(err) {
		return err
	}
	return retry.OnError(retry.DefaultRetry, reconcilers.IsStaleWrite, func() error {
		latest := &v1alpha1.BaselineReport{}
		if err := r.Live.Get(ctx, reportKey(namespace), latest); client.IgnoreNotFound(err) != nil {
			return err
		}
		return r.writeReportOnce(ctx, latest, namespace, next(latest.BaselineReportData))
	})
}

func (r *Reconciler) writeReportOnce(ctx context.Context, current *v1alpha1.BaselineReport, namespace string, next v1alpha1.BaselineReportData) error {
	exists := current.UID != ""
	isEmpty := len(next.ObservedBaselines) == 0 && len(next.Controls) == 0
	desired := current.DeepCopy()
	desired.Name = v1alpha1.ReportName
	desired.Namespace = namespace
	desired.BaselineReportData = next
	var err error
	switch {
	case isEmpty && exists:
		err = client.IgnoreNotFound(r.Client.Delete(ctx, current, kube.DeletePreconditions(current)))
	case isEmpty, exists && equality.Semantic.DeepEqual(current.BaselineReportData, next):
		return nil
	case exists:
		err = r.Client.Update(ctx, desired)
	default:
		err = r.Client.Create(ctx, desired)
	}
	if isMissing := isCRDMissing(err); isMissing || err == nil {
		r.state.isReportCRDMissing.Store(isMissing) // other errors do not show whether it is
	}
	if err == nil || kube.IsNamespaceTerminating(err) {
		return nil
	}
	return fmt.Errorf("writing the report: %w", err)
}

// isCRDMissing reports whether a write failed because the CRD of reports is missing, or is being
// deleted so that no report can be created.
func isCRDMissing(err error) bool {
	return apierrors.IsMethodNotSupported(err) || apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

// reportKey returns the key of the report of a namespace.
func reportKey(namespace string) client.ObjectKey {
	return client.ObjectKey{Namespace: namespace, Name: v1alpha1.ReportName}
}
