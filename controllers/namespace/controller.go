// Package namespace is the controller of Namespaces. For each namespace it resolves which baselines
// govern, lets package enforcement apply them, and writes the namespace's BaselineReport.
package namespace

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/clockjump"
	"github.com/securitybaseline/operator/controllers/internal/events"
	"github.com/securitybaseline/operator/controllers/internal/handlers"
	"github.com/securitybaseline/operator/controllers/internal/inflight"
	"github.com/securitybaseline/operator/controllers/internal/kube"
	"github.com/securitybaseline/operator/controllers/internal/metadata"
	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
	"github.com/securitybaseline/operator/controllers/precedence"
	"github.com/securitybaseline/operator/controllers/report"
)

const (
	// workers is how many namespaces are reconciled at the same time. They mostly wait for the API
	// server. With 8, a cluster converges more slowly (docs/performance.md).
	workers = 16
	// reportTimeout is how long writing a report may take.
	reportTimeout = 10 * time.Second
)

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
	// InFlight tells other controllers which reconciles are running.
	InFlight *inflight.Tracker
}

// Reconciler applies to a namespace what its baselines ask for, and writes its report.
type Reconciler struct {
	Options
	enforcer *enforcement.Enforcer
	state    state
}

// New returns a Reconciler.
func New(options Options) *Reconciler {
	r := &Reconciler{Options: options}
	r.enforcer = enforcement.New(options.Client, options.Live, options.Clock, &r.state.enforcement)
	return r
}

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch;patch
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles;clusterrolebindings,verbs=list;watch
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets;daemonsets,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=securitybaseline.io,resources=securitybaselines,verbs=list;watch
// +kubebuilder:rbac:groups=securitybaseline.io,resources=baselinereports,verbs=get;list;watch;create;update;delete

// SetupWithManager watches everything that affects a namespace: itself, the objects in it of the
// kinds that controls manage or observe, the permissions of the operator, and all baselines. The
// permissions for the objects are beside the kinds, in package controls.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	controller := ctrl.NewControllerManagedBy(mgr).
		Named("namespace").
		WatchesMetadata(&corev1.Namespace{}, r.enqueueNamespaceOf()).
		Watches(&v1alpha1.SecurityBaseline{}, handlers.EnqueueNamespacesLowPriority(r.Client), builder.WithPredicates(handlers.SpecOrFinalizerChanged())).
		Watches(&rbacv1.ClusterRole{}, r.enqueueNamespacesBinding(), builder.WithPredicates(handlers.RulesChanged())).
		Watches(&rbacv1.ClusterRole{}, r.enqueueFailedNamespaces(), builder.WithPredicates(handlers.RulesChanged())).
		Watches(&rbacv1.ClusterRoleBinding{}, r.enqueueFailedNamespaces()).
		Watches(&v1alpha1.BaselineReport{}, enqueueReportNamespaceDelayed()).
		WatchesRawSource(clockjump.NewSource(r.Clock, handlers.EnqueueNamespacesLowPriority(r.Client)))
	// This includes objects of other authors: they can undo what the operator applies.
	for _, kind := range controls.Kinds() {
		controller = controller.Watches(kind.New(), r.enqueueNamespaceOf(), builder.WithPredicates(relevantEvents(kind)))
	}
	for _, workload := range metadata.Workloads() {
		controller = controller.WatchesMetadata(workload, r.enqueueOnWorkloadChange())
	}
	return controller.WithOptions(reconcilers.Options(workers)).Complete(r)
}

// Result is the result of evaluating a namespace.
type Result struct {
	Namespace  *metav1.PartialObjectMetadata
	Governance precedence.Governance
	Outcomes   []evaluation.Outcome
	// prior is the report before.
	prior *v1alpha1.BaselineReport
	// hasPendingRemovals is set if objects must be removed after the report is written.
	hasPendingRemovals bool
	// firstEventTime is when the first event arrived that led to the evaluation.
	firstEventTime time.Time
}

// Reconcile evaluates a namespace.
func (r *Reconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	defer r.InFlight.Begin()()
	r.state.failed.insert(request.Name)

	namespace := metadata.Namespace()
	if err := r.Client.Get(ctx, request.NamespacedName, namespace); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading the namespace: %w", err)
	}
	if namespace.UID == "" || !namespace.DeletionTimestamp.IsZero() {
		r.state.forget(request.Name)
		return ctrl.Result{}, nil
	}
	prior, err := r.readReport(ctx, namespace)
	if err != nil {
		return ctrl.Result{}, err
	}
	baselines, err := r.readBaselines(ctx, prior)
	if err != nil {
		return ctrl.Result{}, err
	}

	firstEventTime := r.state.firstEvents.Take(namespace.Name, r.Clock.Now())
	governance := precedence.Resolve(namespace, baselines, r.Protected, r.Clock.Now())
	outcomes, hasPendingRemovals, err := r.enforcer.Enforce(ctx, namespace, newTasks(governance, prior), func(baseline string) bool {
		return r.shouldPrune(baselines, baseline)
	})
	if err != nil {
		return ctrl.Result{}, err
	}
	result := Result{
		Namespace: namespace, Governance: governance, Outcomes: outcomes,
		prior: prior, hasPendingRemovals: hasPendingRemovals, firstEventTime: firstEventTime,
	}
	if !result.isComplete() {
		r.state.firstEvents.Mark(namespace.Name, firstEventTime)
	}
	return r.finish(ctx, result)
}

// readReport returns the report of a namespace, which is empty if there is none.
func (r *Reconciler) readReport(ctx context.Context, namespace *metav1.PartialObjectMetadata) (*v1alpha1.BaselineReport, error) {
	current := &v1alpha1.BaselineReport{}
	if err := r.Client.Get(ctx, reportKey(namespace.Name), current); client.IgnoreNotFound(err) != nil {
		return nil, fmt.Errorf("reading the report: %w", err)
	}
	if r.state.isReportCRDMissing.Load() || kube.IsOlderThanNamespace(current, namespace) || report.BelongsToFormerNamespace(current.BaselineReportData, namespace) {
		return &v1alpha1.BaselineReport{}, nil
	}
	return current, nil
}

// readBaselines returns all baselines except new ones that still lack their finalizer.
func (r *Reconciler) readBaselines(ctx context.Context, prior *v1alpha1.BaselineReport) ([]v1alpha1.SecurityBaseline, error) {
	var baselines v1alpha1.SecurityBaselineList
	if err := r.Client.List(ctx, &baselines); err != nil {
		return nil, fmt.Errorf("listing SecurityBaselines: %w", err)
	}
	return slices.DeleteFunc(baselines.Items, func(baseline v1alpha1.SecurityBaseline) bool {
		return precedence.IsMissingFinalizer(&baseline) && !prior.HasObserved(baseline.Name)
	}), nil
}

// isComplete reports whether no drift is left to revert.
func (r *Result) isComplete() bool {
	return !slices.ContainsFunc(r.Outcomes, func(outcome evaluation.Outcome) bool {
		return outcome.IsCacheStale || outcome.RequeueAfter > 0 || outcome.HasUnrevertedDrift
	})
}

// finish writes the report, records metrics and events, and decides when to reconcile again.
func (r *Reconciler) finish(ctx context.Context, result Result) (ctrl.Result, error) {
	// Reverted drifts must be reported even while the operator is shutting down.
	reportCtx, cancel := context.WithTimeout(context.WithoutCancel(ctx), reportTimeout)
	defer cancel()
	now := r.Clock.Now()
	pending := r.state.pendingDrifts.take(result.Namespace)
	var previous, next v1alpha1.BaselineReportData
	var unreported, unreportedPending []evaluation.Outcome
	err := r.writeReport(reportCtx, result.prior, result.Namespace.Name, func(current v1alpha1.BaselineReportData) v1alpha1.BaselineReportData {
		unreported = report.DropKnownUnreverted(current, result.Outcomes)
		unreportedPending = report.DropListed(current, pending)
		previous = current
		next = report.Next(current, result.Governance, mergeOutcomes(unreportedPending, unreported), now)
		return next
	})
	requeueAfter := r.nextRequeue(result, next, now)
	errs := append(outcomeErrors(result.Outcomes), err)

	result.Outcomes = unreported
	recordMetrics(ctx, result, err == nil)
	result.Outcomes = mergeOutcomes(unreportedPending, unreported)
	if err == nil {
		r.RecordEvents(result, previous, next)
	} else {
		r.state.pendingDrifts.keep(result.Namespace, result.Outcomes)
	}
	failed := errors.Join(errs...)
	if failed == nil && !hasFailed(result.Outcomes) {
		r.state.failed.remove(result.Namespace.Name)
	}
	return reconcilers.RequeueAfter(ctx, requeueAfter, failed)
}

// outcomeErrors returns the errors of the outcomes, each with its control.
func outcomeErrors(outcomes []evaluation.Outcome) []error {
	var errs []error
	for i := range outcomes {
		if err := outcomes[i].Err; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", outcomes[i].Control, err))
		}
	}
	return errs
}

func hasFailed(outcomes []evaluation.Outcome) bool {
	return slices.ContainsFunc(outcomes, func(outcome evaluation.Outcome) bool { return outcome.State == v1alpha1.StateFailed })
}
