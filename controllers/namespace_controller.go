package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforce"
	"github.com/securitybaseline/operator/controllers/report"
	"github.com/securitybaseline/operator/controllers/resolve"
)

const (
	// retryRefused is how soon what the API server refused is tried again, at
	// least; at most twice as late. No event tells that a permission was granted.
	retryRefused = 30 * time.Second
	// retryStale is how soon an evaluation is repeated that found the cache
	// behind the API server.
	retryStale = 100 * time.Millisecond
	// recordTimeout is how long writing a report may take.
	recordTimeout = 10 * time.Second
)

// namespaceReconciler makes one namespace as the baselines that select it say,
// and writes its report. It is the only writer in a governed namespace.
type namespaceReconciler struct {
	client    client.Client
	live      client.Reader
	enforcer  *enforce.Enforcer
	protected sets.Set[string]

	evaluations *evaluations
}

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=bind,resourceNames=view;edit;admin
// +kubebuilder:rbac:groups=securitybaseline.io,resources=baselinereports,verbs=get;list;watch;create;update;delete

// Reconcile evaluates a namespace.
func (r *namespaceReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	defer r.evaluations.begin()()

	namespace := namespaceMetadata()
	if err := r.client.Get(ctx, request.NamespacedName, namespace); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !namespace.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil
	}
	var baselines v1alpha1.SecurityBaselineList
	if err := r.client.List(ctx, &baselines); err != nil {
		return ctrl.Result{}, fmt.Errorf("listing SecurityBaselines: %w", err)
	}
	prior := &v1alpha1.BaselineReport{}
	if err := r.client.Get(ctx, reportKey(namespace.Name), prior); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading the report: %w", err)
	}

	baselines.Items = slices.DeleteFunc(baselines.Items, func(baseline v1alpha1.SecurityBaseline) bool {
		return unheld(&baseline) && !prior.Observes(baseline.Name)
	})
	governance := resolve.Govern(namespace, baselines.Items, r.protected)
	tasks := plan(namespace, governance, prior)
	outcomes, err := r.enforcer.Enforce(ctx, namespace, tasks, func(baseline string) bool { return r.gone(baselines.Items, baseline) })
	if err != nil {
		return ctrl.Result{}, err
	}
	return r.conclude(ctx, prior, governance, outcomes, namespace.Name)
}

// unheld says whether a baseline is to take what it gave along, and could be
// deleted before that because it bears no finalizer yet. It gives nothing to a
// namespace that it has not given anything to before.
func unheld(baseline *v1alpha1.SecurityBaseline) bool {
	return baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove && baseline.DeletionTimestamp.IsZero() &&
		!controllerutil.ContainsFinalizer(baseline, v1alpha1.Finalizer)
}

// plan says what is to be done for each control.
func plan(namespace *metav1.PartialObjectMetadata, governance resolve.Governance, prior *v1alpha1.BaselineReport) []enforce.Task {
	observed := controls.Namespace{
		Name: namespace.Name, Labels: namespace.Labels, OwnLabels: enforce.OwnLabels(namespace.ManagedFields),
	}
	tasks := make([]enforce.Task, 0, len(controls.All))
	for _, control := range controls.All {
		task := enforce.Task{
			Control: control, Baseline: governance.Governing[control.Name],
			Ledger: report.ControlIn(prior.BaselineReportData, control.Name),
		}
		if task.Baseline != nil {
			task.Desired = control.Render(task.Baseline, observed)
		}
		tasks = append(tasks, task)
	}
	return tasks
}

// gone says whether what a baseline gave is to be removed where nobody governs
// it any more: the baseline is there and does not want it, or is being deleted
// and takes it along. What a baseline that was deleted gave is retained, and
// what one whose selector does not parse gave stays until it does.
func (r *namespaceReconciler) gone(baselines []v1alpha1.SecurityBaseline, name string) bool {
	for i := range baselines {
		baseline := &baselines[i]
		if baseline.Name != name {
			continue
		}
		if !baseline.DeletionTimestamp.IsZero() {
			return baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove
		}
		_, err := resolve.Selector(baseline, r.protected)
		return err == nil
	}
	return false
}

// conclude logs the drifts, writes the report and says when to look again.
func (r *namespaceReconciler) conclude(ctx context.Context, prior *v1alpha1.BaselineReport, governance resolve.Governance,
	outcomes []enforce.Outcome, namespace string) (ctrl.Result, error) {
	var errs []error
	stale, refused := false, false
	for i := range outcomes {
		outcome := &outcomes[i]
		stale = stale || outcome.Stale
		refused = refused || outcome.State == v1alpha1.StateFailed
		if outcome.Err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", outcome.Control, outcome.Err))
		}
		for _, drift := range outcome.Drifts {
			log.FromContext(ctx).Info("Put a drift right", "baseline", drift.Baseline, "control", drift.Control,
				"object", drift.Object, "fields", drift.Fields, "manager", drift.Manager, "operation", drift.Operation, "action", drift.Action)
		}
	}
	// What was healed must be recorded, also while the operator is being stopped.
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	err := r.write(recording, prior, namespace, func(prior v1alpha1.BaselineReportData) v1alpha1.BaselineReportData {
		return report.Next(prior, governance, outcomes)
	})
	if err := errors.Join(append(errs, err)...); err != nil {
		return ctrl.Result{}, err
	}
	switch {
	case stale:
		return ctrl.Result{RequeueAfter: retryStale}, nil
	case refused:
		return ctrl.Result{RequeueAfter: wait.Jitter(retryRefused, 1)}, nil
	}
	return ctrl.Result{}, nil
}

// write writes the report if it differs from what it was, makes it where it is
// missing, and deletes it where there is nothing to report. A drift must not be
// lost, so where the cache was behind, next is computed again from the report as
// it is.
func (r *namespaceReconciler) write(ctx context.Context, current *v1alpha1.BaselineReport, namespace string,
	next func(v1alpha1.BaselineReportData) v1alpha1.BaselineReportData) error {
	err := r.writeOnce(ctx, current, namespace, next(current.BaselineReportData))
	if !behind(err) {
		return err
	}
	return retry.OnError(retry.DefaultRetry, behind, func() error {
		current := &v1alpha1.BaselineReport{}
		if err := r.live.Get(ctx, reportKey(namespace), current); client.IgnoreNotFound(err) != nil {
			return err
		}
		return r.writeOnce(ctx, current, namespace, next(current.BaselineReportData))
	})
}

func behind(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

func (r *namespaceReconciler) writeOnce(ctx context.Context, current *v1alpha1.BaselineReport, namespace string, next v1alpha1.BaselineReportData) error {
	exists, nothing := current.UID != "", len(next.Observed) == 0 && len(next.Controls) == 0
	desired := current.DeepCopy()
	desired.Name, desired.Namespace = v1alpha1.ReportName, namespace
	desired.BaselineReportData = next
	var err error
	switch {
	case nothing && exists:
		err = client.IgnoreNotFound(r.client.Delete(ctx, current, enforce.Exactly(current)))
	case nothing, exists && equality.Semantic.DeepEqual(current.BaselineReportData, next):
		return nil
	case exists:
		err = r.client.Update(ctx, desired)
	default:
		err = r.client.Create(ctx, desired)
	}
	if err == nil || enforce.Vanishing(err) {
		return nil
	}
	return fmt.Errorf("writing the report: %w", err)
}

func reportKey(namespace string) client.ObjectKey {
	return client.ObjectKey{Namespace: namespace, Name: v1alpha1.ReportName}
}

// namespaceMetadata returns an empty Namespace to be read from the cache, which
// holds the metadata only.
func namespaceMetadata() *metav1.PartialObjectMetadata {
	namespace := &metav1.PartialObjectMetadata{}
	namespace.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("Namespace"))
	return namespace
}

// namespaceMetadataList returns an empty list of the same.
func namespaceMetadataList() *metav1.PartialObjectMetadataList {
	namespaces := &metav1.PartialObjectMetadataList{}
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	return namespaces
}
