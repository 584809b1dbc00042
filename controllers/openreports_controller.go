package controllers

import (
	"context"
	"fmt"

	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/kube"
	"github.com/securitybaseline/operator/controllers/report"
)

// openReportReconciler writes each BaselineReport as an openreports.io Report of the
// same name too. It is the only writer of that, which goes with the BaselineReport.
// Its permissions are in config/openreports, for those who want it.
type openReportReconciler struct{ client client.Client }

// Reconcile makes the Report say what the BaselineReport says.
func (r *openReportReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	source := &v1alpha1.BaselineReport{}
	if err := r.client.Get(ctx, request.NamespacedName, source); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // the garbage collector takes the Report along
	}
	current := &openreportsv1alpha1.Report{}
	if err := r.client.Get(ctx, request.NamespacedName, current); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading the Report: %w", err)
	}
	exists := current.UID != ""
	if exists && current.Labels[v1alpha1.ManagedByLabel] != v1alpha1.ManagedByValue {
		log.FromContext(ctx).Info("A Report of this name exists that the operator did not make; it is left alone")
		return ctrl.Result{}, nil
	}
	desired := report.OpenReport(source)
	desired.ObjectMeta = *current.ObjectMeta.DeepCopy()
	desired.Name, desired.Namespace = source.Name, source.Namespace
	metav1.SetMetaDataLabel(&desired.ObjectMeta, v1alpha1.ManagedByLabel, v1alpha1.ManagedByValue)
	owner := metav1.OwnerReference{APIVersion: v1alpha1.GroupVersion.String(), Kind: "BaselineReport", Name: source.Name, UID: source.UID}
	desired.OwnerReferences = []metav1.OwnerReference{owner}

	var err error
	switch {
	case !exists:
		err = r.client.Create(ctx, &desired)
	case saysTheSame(current, &desired):
		return ctrl.Result{}, nil
	default:
		err = r.client.Update(ctx, &desired)
	}
	if err != nil && !behind(err) && !kube.IsNamespaceTerminating(err) {
		return ctrl.Result{}, fmt.Errorf("writing the Report: %w", err)
	}
	// Where the cache was behind, what it learns leads here again.
	return ctrl.Result{}, nil
}

func saysTheSame(a, b *openreportsv1alpha1.Report) bool {
	return equality.Semantic.DeepEqual(a.OwnerReferences, b.OwnerReferences) && equality.Semantic.DeepEqual(a.Scope, b.Scope) &&
		equality.Semantic.DeepEqual(a.Results, b.Results) && a.Summary == b.Summary && a.Source == b.Source
}
