// Package baseline is the controller of SecurityBaselines. It summarizes the reports of all
// namespaces in the status of a baseline, and keeps a baseline by a finalizer until the objects
// that it manages are removed.
package baseline

import (
	"context"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/admissionobjects"
	"github.com/securitybaseline/operator/controllers/internal/clockjump"
	"github.com/securitybaseline/operator/controllers/internal/events"
	"github.com/securitybaseline/operator/controllers/internal/handlers"
	"github.com/securitybaseline/operator/controllers/internal/inflight"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
	"github.com/securitybaseline/operator/controllers/report"
)

// statusDelay is how long events are collected before a status is updated.
const statusDelay = time.Second

// PolicyErrors reports why an admission policy or binding could not be applied.
type PolicyErrors interface {
	// ApplyError returns the error of the last attempt to apply the object with that Kind/name, or
	// nil if it succeeded.
	ApplyError(id string) error
}

// Options are what a Reconciler needs. All fields are required.
type Options struct {
	// Client reads from the cache and writes as the operator's field manager.
	Client client.Client
	// Live reads from the API server.
	Live     client.Reader
	Recorder events.Recorder
	Clock    clock.PassiveClock
	// Protected are the namespaces that no baseline governs.
	Protected sets.Set[string]
	// InFlight records which reconciles of namespaces are running.
	InFlight *inflight.Tracker
	// IsMutatingServed is set if the API server serves MutatingAdmissionPolicy v1.
	IsMutatingServed bool
	PolicyErrors     PolicyErrors
}

// Reconciler updates the status and the finalizer of a SecurityBaseline. It is the only writer of
// both.
type Reconciler struct {
	Options
	state state
}

// New returns a Reconciler.
func New(options Options) *Reconciler {
	return &Reconciler{
		Options: options,
		state:   newState(),
	}
}

// +kubebuilder:rbac:groups=securitybaseline.io,resources=securitybaselines,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups=securitybaseline.io,resources=securitybaselines/status,verbs=update
// +kubebuilder:rbac:groups=securitybaseline.io,resources=baselinereports,verbs=list;watch
// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles;clusterrolebindings;roles;rolebindings,verbs=list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,verbs=list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingadmissionpolicies;mutatingadmissionpolicybindings,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager watches everything that a status summarizes. Namespaces are created and deleted
// and change labels, so an event of one affects every baseline. A report affects the baselines that
// it names.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	enqueueAll := handlers.Debounce(statusDelay, func(ctx context.Context, _ client.Object) sets.Set[string] {
		return r.baselineNamesMatching(ctx, func(*v1alpha1.SecurityBaselineSpec) bool { return true })
	})
	enqueueRBACBaselines := handlers.Debounce(statusDelay, func(ctx context.Context, _ client.Object) sets.Set[string] {
		return r.baselineNamesMatching(ctx, func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.RBAC != nil })
	})
	controller := ctrl.NewControllerManagedBy(mgr).
		Named("securitybaseline").
		For(&v1alpha1.SecurityBaseline{}).
		// A baseline's spec affects status.admission of all other baselines.
		Watches(&v1alpha1.SecurityBaseline{}, enqueueAll, builder.WithPredicates(handlers.SpecOrFinalizerChanged())).
		Watches(&rbacv1.ClusterRole{}, enqueueRBACBaselines, builder.WithPredicates(handlers.RulesChanged())).
		Watches(&rbacv1.Role{}, enqueueRBACBaselines, builder.WithPredicates(handlers.RulesChanged())).
		Watches(&rbacv1.ClusterRoleBinding{}, enqueueRBACBaselines).
		Watches(&rbacv1.RoleBinding{}, enqueueRBACBaselines).
		WatchesMetadata(&corev1.Namespace{}, enqueueAll).
		Watches(&v1alpha1.BaselineReport{}, enqueueReportedBaselines()).
		WatchesRawSource(clockjump.NewSource(r.Clock, enqueueAll))
	for _, kind := range admissionobjects.Kinds(r.IsMutatingServed) {
		controller = controller.Watches(kind, enqueueOwningBaseline(), builder.WithPredicates(baselineLabelPredicate()))
	}
	return controller.WithOptions(reconcilers.Options(1)).Complete(r)
}

// Reconcile brings a baseline's status up to date.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	baseline := &v1alpha1.SecurityBaseline{}
	if err := r.Client.Get(ctx, request.NamespacedName, baseline); err != nil {
		if apierrors.IsNotFound(err) {
			metrics.ForgetBaseline(request.Name)
			return ctrl.Result{}, nil
		}
		return ctrl.Result{}, fmt.Errorf("reading the baseline: %w", err)
	}
	if !baseline.DeletionTimestamp.IsZero() {
		return r.finalize(ctx, baseline)
	}
	// Without a finalizer, a baseline that retains its objects can be deleted after the operator is
	// uninstalled.
	if err := r.setFinalizer(ctx, baseline, baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove); err != nil {
		return ctrl.Result{}, err
	}
	if remaining := r.state.throttle.remaining(); remaining > 0 {
		return ctrl.Result{RequeueAfter: remaining}, nil
	}
	now := r.Clock.Now()
	pause := r.state.throttle.start()
	status, err := r.status(ctx, baseline, now) // reads only the cache
	pause()
	if err != nil {
		return ctrl.Result{}, err
	}
	isUpdated, err := r.updateStatus(ctx, baseline, status)
	if err != nil {
		return ctrl.Result{}, err
	}
	if isUpdated {
		r.recordExpiryEvents(baseline, report.DueDeadlines(baseline, now))
	}
	// No control is counted if the selector is invalid.
	if status.Namespaces.Pending == 0 && len(status.Controls) > 0 {
		metrics.MarkEvaluated(baseline.Name, status.Controls, now)
	}
	return ctrl.Result{RequeueAfter: nextRequeue(baseline, &status, now)}, nil
}

// nextRequeue returns the delay after which a status must be updated without an event.
func nextRequeue(baseline *v1alpha1.SecurityBaseline, status *v1alpha1.SecurityBaselineStatus, now time.Time) time.Duration {
	if meta.IsStatusConditionTrue(status.Conditions, v1alpha1.ConditionReconciling) && status.Namespaces.Pending == 0 {
		return statusDelay // no event reports that an admission policy was rejected
	}
	return reconcilers.DurationUntil(report.NextDeadline(baseline, now), now)
}

// updateStatus writes the status if it has changed, and reports whether it did.
func (r *Reconciler) updateStatus(ctx context.Context, baseline *v1alpha1.SecurityBaseline, status v1alpha1.SecurityBaselineStatus) (bool, error) {
	if equality.Semantic.DeepEqual(baseline.Status, status) {
		return false, nil
	}
	updated := baseline.DeepCopy()
	updated.Status = status
	// At the version that was read: a status must never describe a spec that it was not computed
	// from.
	err := r.Client.Status().Update(ctx, updated)
	if err != nil && !reconcilers.IsConflictOrNotFound(err) {
		return false, fmt.Errorf("updating the status: %w", err)
	}
	return err == nil, nil
}
