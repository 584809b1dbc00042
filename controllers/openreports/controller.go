// Package openreports is the controller that writes each BaselineReport as an openreports.io Report
// too, for viewers such as Policy Reporter. It is off unless --openreports is set.
package openreports

import (
	"context"
	"fmt"

	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/kube"
	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
)

// Reconciler writes a Report of the same name for each BaselineReport. It is the only writer of
// that Report, keeps nothing in memory, and records no events. The garbage collector deletes the
// Report with the BaselineReport.
type Reconciler struct {
	client client.Client
}

// New returns a Reconciler. writer reads from the cache and writes as the operator's field manager.
func New(writer client.Client) *Reconciler { return &Reconciler{client: writer} }

// This controller has no RBAC markers: its permissions are in config/openreports, so that only
// installations that use it grant them.

// SetupWithManager watches the BaselineReports and the Reports.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("openreports").
		For(&v1alpha1.BaselineReport{}).
		Watches(&openreportsv1alpha1.Report{}, &handler.EnqueueRequestForObject{}).
		WithOptions(reconcilers.Options(1)).Complete(r)
}

// Reconcile writes the Report of a BaselineReport.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	source := &v1alpha1.BaselineReport{}
	if err := r.client.Get(ctx, request.NamespacedName, source); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err) // the garbage collector deletes the Report
	}
	current := &openreportsv1alpha1.Report{}
	if err := r.client.Get(ctx, request.NamespacedName, current); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading the Report: %w", err)
	}
	exists := current.UID != ""
	if exists && current.Labels[v1alpha1.ManagedByLabel] != v1alpha1.ManagedByValue {
		log.FromContext(ctx).Info("Skipping Report: it exists but is not managed by the operator")
		return ctrl.Result{}, nil
	}
	desired := desiredReport(source, current)
	var err error
	switch {
	case !exists:
		err = r.client.Create(ctx, &desired)
	case isUpToDate(current, &desired):
		return ctrl.Result{}, nil
	default:
		err = r.client.Update(ctx, &desired)
	}
	if err != nil && !reconcilers.IsStaleWrite(err) && !kube.IsNamespaceTerminating(err) {
		return ctrl.Result{}, fmt.Errorf("writing the Report: %w", err)
	}
	// If the cache was stale, its next event leads to another reconcile.
	return ctrl.Result{}, nil
}

// desiredReport returns the Report of a BaselineReport, with the metadata that current has.
func desiredReport(source *v1alpha1.BaselineReport, current *openreportsv1alpha1.Report) openreportsv1alpha1.Report {
	desired := convert(source)
	desired.ObjectMeta = *current.ObjectMeta.DeepCopy()
	desired.Name = source.Name
	desired.Namespace = source.Namespace
	metav1.SetMetaDataLabel(&desired.ObjectMeta, v1alpha1.ManagedByLabel, v1alpha1.ManagedByValue)
	desired.OwnerReferences = []metav1.OwnerReference{
		{APIVersion: v1alpha1.GroupVersion.String(), Kind: "BaselineReport", Name: source.Name, UID: source.UID},
	}
	return desired
}

// isUpToDate reports whether two Reports are equal in all that the operator writes, except labels.
func isUpToDate(actual, desired *openreportsv1alpha1.Report) bool {
	return equality.Semantic.DeepEqual(actual.OwnerReferences, desired.OwnerReferences) && equality.Semantic.DeepEqual(actual.Scope, desired.Scope) &&
		equality.Semantic.DeepEqual(actual.Results, desired.Results) && actual.Summary == desired.Summary && actual.Source == desired.Source
}
