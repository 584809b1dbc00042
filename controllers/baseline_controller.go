package controllers

import (
	"context"
	"fmt"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforce"
	"github.com/securitybaseline/operator/controllers/report"
	"github.com/securitybaseline/operator/controllers/resolve"
)

const (
	// removalPoll is how often a baseline that is being deleted looks whether
	// everything is gone.
	removalPoll = time.Second
	// removalTimeout is how long a baseline that is being deleted waits while
	// nobody reports that a removal failed.
	removalTimeout = 5 * time.Minute
)

// baselineReconciler sums the reports up into the status of a SecurityBaseline,
// of which it is the only writer, and holds it by a finalizer while what it gave
// is being removed.
type baselineReconciler struct {
	client      client.Client
	live        client.Reader
	protected   sets.Set[string]
	evaluations *sync.RWMutex
	now         func() time.Time
}

// +kubebuilder:rbac:groups=securitybaseline.io,resources=securitybaselines,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=securitybaseline.io,resources=securitybaselines/status,verbs=update

// Reconcile brings a baseline's status up to date.
func (r *baselineReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	baseline := &v1alpha1.SecurityBaseline{}
	if err := r.client.Get(ctx, request.NamespacedName, baseline); err != nil {
		return ctrl.Result{}, client.IgnoreNotFound(err)
	}
	if !baseline.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, baseline)
	}
	// Only a baseline that takes what it gave along needs to be held: one that
	// retains it can be deleted with the operator long gone.
	if err := r.setFinalizer(ctx, baseline, baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove); err != nil {
		return ctrl.Result{}, err
	}
	status, err := r.status(ctx, baseline)
	if err != nil {
		return ctrl.Result{}, err
	}
	return ctrl.Result{}, r.updateStatus(ctx, baseline, status)
}

func (r *baselineReconciler) status(ctx context.Context, baseline *v1alpha1.SecurityBaseline) (v1alpha1.SecurityBaselineStatus, error) {
	selects, err := resolve.Selector(baseline, r.protected)
	if err != nil {
		return report.InvalidSelector(baseline, err, r.now()), nil
	}
	// What is read here is only looked at, so it need not be copied.
	var namespaces metav1.PartialObjectMetadataList
	namespaces.SetGroupVersionKind(corev1.SchemeGroupVersion.WithKind("NamespaceList"))
	if err := r.client.List(ctx, &namespaces, client.UnsafeDisableDeepCopy); err != nil {
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
		if reports.Items[i].Name == v1alpha1.ReportName {
			byNamespace[reports.Items[i].Namespace] = &reports.Items[i]
		}
	}
	return report.Status(baseline, selected, byNamespace, r.now()), nil
}

func (r *baselineReconciler) updateStatus(ctx context.Context, baseline *v1alpha1.SecurityBaseline, status v1alpha1.SecurityBaselineStatus) error {
	if equality.Semantic.DeepEqual(baseline.Status, status) {
		return nil
	}
	updated := baseline.DeepCopy()
	updated.Status = status
	// At the version that was read, so that a status never describes a spec that
	// it has not seen; where the spec has moved on, its event is under way.
	if err := r.client.Status().Update(ctx, updated); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("updating the status: %w", err)
	}
	return nil
}

// finalize lets a baseline go when what it gave is handed over, removed or to be
// retained. It is never held up by a namespace that is going away, nor for long
// by one in which the removal fails: that is reported there, and left.
func (r *baselineReconciler) finalize(ctx context.Context, baseline *v1alpha1.SecurityBaseline) (ctrl.Result, error) {
	if !controllerutil.ContainsFinalizer(baseline, v1alpha1.Finalizer) {
		return ctrl.Result{}, nil
	}
	left := sets.New[string]()
	if baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove {
		var err error
		if left, err = r.leftovers(ctx, baseline.Name); err != nil {
			return ctrl.Result{}, err
		}
	}
	if left.Len() == 0 {
		return ctrl.Result{}, r.setFinalizer(ctx, baseline, false)
	}
	if r.now().Sub(baseline.DeletionTimestamp.Time) > removalTimeout {
		log.FromContext(ctx).Info("Giving up the removal of what the baseline gave", "namespaces", sets.List(left), "after", removalTimeout)
		return ctrl.Result{}, r.setFinalizer(ctx, baseline, false)
	}
	return ctrl.Result{RequeueAfter: removalPoll}, r.updateStatus(ctx, baseline, report.Removing(baseline, left.Len(), r.now()))
}

// leftovers returns the namespaces in which something that a baseline gave may
// still be removed.
func (r *baselineReconciler) leftovers(ctx context.Context, baseline string) (sets.Set[string], error) {
	left, err := r.leftoversIn(ctx, r.client, baseline)
	if err != nil || left.Len() > 0 {
		return left, err
	}
	// The cache may be behind, and evaluations under way that began before the
	// baseline was deleted. Those that begin from now on see that it was.
	r.evaluations.Lock()
	r.evaluations.Unlock() //nolint:staticcheck // to wait is the purpose
	return r.leftoversIn(ctx, r.live, baseline)
}

func (r *baselineReconciler) leftoversIn(ctx context.Context, reader client.Reader, baseline string) (sets.Set[string], error) {
	left, err := enforce.GivenIn(ctx, reader, baseline)
	if err != nil {
		return nil, err
	}
	for name := range left {
		settled, err := r.settled(ctx, name, baseline)
		if err != nil {
			return nil, err
		}
		if settled {
			left.Delete(name)
		}
	}
	return left, nil
}

// settled says whether nothing more will be removed from a namespace: it is
// going away, or a removal failed and its report says so.
func (r *baselineReconciler) settled(ctx context.Context, name, baseline string) (bool, error) {
	namespace := namespaceMetadata()
	if err := r.client.Get(ctx, client.ObjectKey{Name: name}, namespace); err != nil {
		return true, client.IgnoreNotFound(err)
	}
	if !namespace.DeletionTimestamp.IsZero() {
		return true, nil
	}
	ledger := &v1alpha1.BaselineReport{}
	if err := r.client.Get(ctx, reportKey(name), ledger); err != nil {
		return false, client.IgnoreNotFound(err)
	}
	for _, control := range ledger.Controls {
		removing := !observes(ledger, baseline) && control.Baseline == baseline
		if removing && (control.State == v1alpha1.StateFailed || control.State == v1alpha1.StateConflict) {
			return true, nil
		}
	}
	return false, nil
}

func observes(ledger *v1alpha1.BaselineReport, baseline string) bool {
	for _, observed := range ledger.Observed {
		if observed.Name == baseline {
			return true
		}
	}
	return false
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
	if err := r.client.Patch(ctx, baseline, patch); client.IgnoreNotFound(err) != nil {
		return fmt.Errorf("updating the finalizer: %w", err)
	}
	return nil
}
