package controllers

import (
	"context"
	"fmt"
	"time"

	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/inflight"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/report"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// baselineReconciler sums the reports up into the status of a SecurityBaseline,
// of which it is the only writer, and holds it by a finalizer while what it gave
// is being removed.
type baselineReconciler struct {
	client      client.Client
	live        client.Reader
	protected   sets.Set[string]
	evaluations *inflight.Evaluations
	events      events.EventRecorder
	now         func() time.Time
	// mutating says that the API server has MutatingAdmissionPolicy v1.
	mutating bool
	refusals *refusals
	// respite is until when no status is summed up.
	respite respite
	// identity returns the user that the operator is.
	identity func(context.Context) (string, error)
}

// +kubebuilder:rbac:groups=securitybaseline.io,resources=securitybaselines,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=securitybaseline.io,resources=securitybaselines/status,verbs=update

// Reconcile brings a baseline's status up to date.
func (r *baselineReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	baseline := &v1alpha1.SecurityBaseline{}
	if err := r.client.Get(ctx, request.NamespacedName, baseline); err != nil {
		if apierrors.IsNotFound(err) {
			metrics.ForgetBaseline(request.Name)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("reading the baseline: %w", err)
	}
	if !baseline.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, baseline)
	}
	// Only a baseline that takes what it gave along needs to be held: one that
	// retains it can be deleted with the operator long gone.
	if err := r.setFinalizer(ctx, baseline, baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove); err != nil {
		return ctrl.Result{}, err
	}
	if left := r.respite.left(); left > 0 {
		return ctrl.Result{RequeueAfter: left}, nil
	}
	start, now := time.Now(), r.now()
	status, err := r.status(ctx, baseline, now) // without waiting for anybody
	r.respite.after(start)
	if err != nil {
		return ctrl.Result{}, err
	}
	written, err := r.updateStatus(ctx, baseline, status)
	if err != nil {
		return ctrl.Result{}, err
	}
	if written {
		r.announce(baseline, report.DueDeadlines(baseline, now))
	}
	// With a selector that does not parse, no control is counted.
	if status.Namespaces.Pending == 0 && len(status.Controls) > 0 {
		metrics.MarkEvaluated(baseline.Name, status.Controls, now)
	}
	again := until(report.NextDeadline(baseline, now), now)
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReconciling) && status.Namespaces.Pending == 0 {
		again = coalesce // no event tells that a policy was refused
	}
	return ctrl.Result{RequeueAfter: again}, nil
}

// respite keeps statuses from taking more than half of a CPU, however many namespaces and
// baselines there are: while everything converges, each report that changes bears on
// them. There is one worker, so it needs no lock.
type respite struct{ until time.Time }

// left returns how long nothing is to be summed up.
func (r *respite) left() time.Duration { return time.Until(r.until) }

// after rests for as long as it took since a start.
func (r *respite) after(start time.Time) {
	now := time.Now()
	r.until = now.Add(now.Sub(start))
}

// until returns how long it is from now; zero if the time is.
func until(when, now time.Time) time.Duration {
	if when.IsZero() {
		return 0
	}
	return max(when.Sub(now), time.Millisecond)
}

func (r *baselineReconciler) status(ctx context.Context, baseline *v1alpha1.SecurityBaseline, now time.Time) (v1alpha1.SecurityBaselineStatus, error) {
	selects, err := precedence.Selector(baseline, r.protected)
	if err != nil {
		return report.InvalidSelector(baseline, err, now), nil
	}
	// What is read here is only looked at, so it need not be copied.
	namespaces := namespaceMetadataList()
	if err := r.client.List(ctx, namespaces, client.UnsafeDisableDeepCopy); err != nil {
		return v1alpha1.SecurityBaselineStatus{}, fmt.Errorf("listing namespaces: %w", err)
	}
	var reports v1alpha1.BaselineReportList
	if err := r.client.List(ctx, &reports, client.UnsafeDisableDeepCopy); err != nil {
		return v1alpha1.SecurityBaselineStatus{}, fmt.Errorf("listing reports: %w", err)
	}
	var selected []string
	for i := range namespaces.Items {
		if selects(&namespaces.Items[i]) {
			selected = append(selected, namespaces.Items[i].Name)
		}
	}
	byNamespace := make(map[string]*v1alpha1.BaselineReport, len(reports.Items))
	for i := range reports.Items {
		byNamespace[reports.Items[i].Namespace] = &reports.Items[i]
	}
	cluster, err := r.cluster(ctx, baseline, selected, now)
	if err != nil {
		return v1alpha1.SecurityBaselineStatus{}, err
	}
	return report.Summarize(baseline, selected, byNamespace, cluster, now), nil
}

// updateStatus writes a status that differs, and says whether it did.
func (r *baselineReconciler) updateStatus(ctx context.Context, baseline *v1alpha1.SecurityBaseline, status v1alpha1.SecurityBaselineStatus) (bool, error) {
	if equality.Semantic.DeepEqual(baseline.Status, status) {
		return false, nil
	}
	updated := baseline.DeepCopy()
	updated.Status = status
	// At the version that was read, so that a status never describes a spec that
	// it has not seen.
	err := r.client.Status().Update(ctx, updated)
	if !movedOn(err) {
		return false, fmt.Errorf("updating the status: %w", err)
	}
	return err == nil, nil
}

// setFinalizer makes the baseline bear the operator's finalizer, or not.
func (r *baselineReconciler) setFinalizer(ctx context.Context, baseline *v1alpha1.SecurityBaseline, want bool) error {
	if controllerutil.ContainsFinalizer(baseline, v1alpha1.Finalizer) == want {
		return nil
	}
	before := baseline.DeepCopy()
	if want {
		controllerutil.AddFinalizer(baseline, v1alpha1.Finalizer)
	} else {
		controllerutil.RemoveFinalizer(baseline, v1alpha1.Finalizer)
	}
	patch := client.MergeFromWithOptions(before, client.MergeFromWithOptimisticLock{})
	if err := r.client.Patch(ctx, baseline, patch); !movedOn(err) {
		return fmt.Errorf("updating the finalizer: %w", err)
	}
	return nil
}

// movedOn says whether a write succeeded, or came too late: the object has
// changed or is gone, and the event that says so is under way.
func movedOn(err error) bool {
	return err == nil || apierrors.IsConflict(err) || apierrors.IsNotFound(err)
}
