// Package controllers holds the operator's two reconcilers: one makes a
// namespace as its baselines say, one sums up a baseline's status.
package controllers

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"strings"
	"time"

	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/fields"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/cache"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller"
	"sigs.k8s.io/controller-runtime/pkg/controller/priorityqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/healthz"
	ctrlmetrics "sigs.k8s.io/controller-runtime/pkg/metrics"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/cacheoptions"
	"github.com/securitybaseline/operator/controllers/internal/clockjump"
	"github.com/securitybaseline/operator/controllers/internal/health"
	"github.com/securitybaseline/operator/controllers/internal/inflight"
	"github.com/securitybaseline/operator/controllers/internal/informers"
	"github.com/securitybaseline/operator/controllers/internal/leaderfence"
	"github.com/securitybaseline/operator/controllers/internal/memory"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/policies"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/report"
	"github.com/securitybaseline/operator/controllers/precedence"
)

const (
	// namespaceWorkers evaluate namespaces at the same time. They mostly wait for the API
	// server: with 8, everything is in place later (docs/performance.md).
	namespaceWorkers = 16
	// coalesce is how long changes of reports are collected before a status is
	// summed up.
	coalesce = time.Second
	// reportCheck is how long after a report was written it is looked at again.
	reportCheck = 10 * time.Second
	// firstRetry and lastRetry bound how soon an evaluation that failed
	// unexpectedly is tried again.
	firstRetry = 100 * time.Millisecond
	lastRetry  = 10 * time.Second
)

// maxProtected is how many protected namespaces a status can name: see
// AdmissionStatus.
const maxProtected = 256

// Options configure the operator.
type Options struct {
	// Now is the time; time.Now unless stated.
	Now func() time.Time

	// ProtectedNamespaces are never governed, in addition to the cluster's own.
	ProtectedNamespaces []string

	// OpenReports says that each BaselineReport is written as an openreports.io
	// Report too.
	OpenReports bool
}

// Ready returns a check that fails until the caches are filled.
func Ready(cache health.Syncer) healthz.Checker { return health.Ready(cache) }

// Live is a check that fails where a reconciliation does not end.
func Live(request *http.Request) error { return health.Live(request) }

// Scheme returns the kinds that the operator reads and writes.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(openreportsv1alpha1.Install(scheme))
	return scheme
}

// NewManager returns a manager with the operator's reconcilers, of a configuration
// that it makes the operator's own. Its scheme and cache are the operator's, the
// other options the caller's.
func NewManager(config *rest.Config, manager ctrl.Options, options Options) (ctrl.Manager, error) {
	// The API server's priority and fairness share it out better than a limit
	// here could.
	config.QPS = -1
	// Without them, every pod would seem to meet every level.
	config.WarningHandlerWithContext = enforcement.Warnings{}
	if manager.LeaderElection {
		config.Wrap((&leaderfence.Fence{Deadline: ptr.Deref(manager.RenewDeadline, leaderfence.DefaultRenewDeadline)}).Wrap)
	}
	manager.Scheme, manager.Cache = Scheme(), cacheOptions(options)
	mgr, err := ctrl.NewManager(config, manager)
	// Of the kinds whose options name them only this one can be missing.
	if options.OpenReports && meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("--openreports needs the CustomResourceDefinition reports.openreports.io in version %s: install it or leave the flag out",
			openreportsv1alpha1.GroupVersion.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("making the manager: %w", err)
	}
	return mgr, setup(mgr, options)
}

// cacheOptions returns what the cache holds: no managedFields, except those of
// namespaces, which tell whose a label is; of workloads nothing but where they
// are; of ServiceAccounts those named default; of Reports those named as ours.
func cacheOptions(options Options) cache.Options {
	keep := func(object any) (any, error) { return object, nil }
	byObject := map[client.Object]cache.ByObject{
		namespaceMetadata():      {Transform: keep},
		&corev1.ServiceAccount{}: {Field: fields.OneTermEqualSelector(metav1.ObjectNameField, controls.DefaultServiceAccount)},
	}
	for _, workload := range workloadMetadata() {
		byObject[workload] = cache.ByObject{Transform: stripMetadata}
	}
	if options.OpenReports {
		byObject[&openreportsv1alpha1.Report{}] = cache.ByObject{Field: fields.OneTermEqualSelector(metav1.ObjectNameField, v1alpha1.ReportName)}
	}
	return cache.Options{
		DefaultTransform: (&cacheoptions.Sharing{}).Transform,
		ByObject:         byObject,
		NewInformer:      informers.New,
		// Every watch is registered below: a read of anything else is a mistake,
		// not a reason to watch it.
		ReaderFailOnMissingInformer: true,
	}
}

// stripMetadata leaves of an object what tells it from others and when it
// changed.
func stripMetadata(object any) (any, error) {
	if whole, ok := object.(*metav1.PartialObjectMetadata); ok {
		return &metav1.PartialObjectMetadata{TypeMeta: whole.TypeMeta, ObjectMeta: metav1.ObjectMeta{
			Namespace: whole.Namespace, Name: whole.Name, UID: whole.UID, ResourceVersion: whole.ResourceVersion,
		}}, nil
	}
	return object, nil
}

// workloadMetadata returns the kinds whose changes tell that the pods of a
// namespace may have changed. The metadata tells that they did: that of pods
// would be ten times as much.
func workloadMetadata() []*metav1.PartialObjectMetadata {
	deployments, statefulSets, daemonSets := &metav1.PartialObjectMetadata{}, &metav1.PartialObjectMetadata{}, &metav1.PartialObjectMetadata{}
	deployments.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("Deployment"))
	statefulSets.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("StatefulSet"))
	daemonSets.SetGroupVersionKind(appsv1.SchemeGroupVersion.WithKind("DaemonSet"))
	return []*metav1.PartialObjectMetadata{deployments, statefulSets, daemonSets}
}

// setup adds the reconcilers to a manager.
func setup(mgr ctrl.Manager, options Options) error {
	now := options.Now
	if now == nil {
		now = time.Now
	}
	protected := precedence.Protected(options.ProtectedNamespaces...)
	if protected.Len() > maxProtected {
		return fmt.Errorf("%d namespaces are to be protected, at most %d can be: admission must know them; select by labels instead", protected.Len(), maxProtected)
	}
	if err := mgr.Add(memory.Thrift{Mgr: mgr}); err != nil {
		return fmt.Errorf("adding to the manager: %w", err)
	}
	writer := client.WithFieldOwner(mgr.GetClient(), v1alpha1.FieldManager)
	recorder := mgr.GetEventRecorder(v1alpha1.FieldManager)
	underWay, refused := &inflight.Evaluations{}, &refusals{}
	mutating, err := supportsMutating(mgr.GetRESTMapper())
	if err != nil {
		return err
	}
	namespaces := &namespaceReconciler{
		client:    writer,
		live:      mgr.GetAPIReader(),
		enforcer:  &enforcement.Enforcer{Client: writer, Live: mgr.GetAPIReader(), Now: now},
		protected: protected, evaluations: underWay, workloads: &workloads{}, noticed: &noticed{}, failing: &failing{}, unrecorded: &unrecorded{}, events: recorder, now: now,
	}
	if err := setupNamespaces(mgr, namespaces); err != nil {
		return fmt.Errorf("setting up the namespace controller: %w", err)
	}
	baselines := &baselineReconciler{
		client: writer, live: mgr.GetAPIReader(), protected: protected, evaluations: underWay, events: recorder, now: now,
		mutating: mutating, refusals: refused, identity: identity(writer),
	}
	if err := setupBaselines(mgr, baselines); err != nil {
		return fmt.Errorf("setting up the baseline controller: %w", err)
	}
	policies := &admissionReconciler{
		client: writer, live: mgr.GetAPIReader(), protected: protected, mutating: mutating, refusals: refused, events: recorder, now: now,
		placed: map[string]string{},
	}
	if err := setupAdmission(mgr, policies); err != nil {
		return fmt.Errorf("setting up the admission controller: %w", err)
	}
	if options.OpenReports {
		if err := setupOpenReports(mgr, &openReportReconciler{client: writer}); err != nil {
			return fmt.Errorf("setting up the openreports controller: %w", err)
		}
	}
	// Operators may run one after the other in one process.
	collector := metrics.StatusCollector{Cache: mgr.GetCache()}
	ctrlmetrics.Registry.Unregister(collector)
	if err := ctrlmetrics.Registry.Register(collector); err != nil {
		return fmt.Errorf("registering the metrics of statuses: %w", err)
	}
	return nil
}

// setupNamespaces watches all that bears on a namespace: itself, what is in it
// and every baseline.
func setupNamespaces(mgr ctrl.Manager, reconciler *namespaceReconciler) error {
	changed := reconciler.somethingChanged()
	controllers := ctrl.NewControllerManagedBy(mgr).
		Named("namespace").
		WatchesMetadata(&corev1.Namespace{}, changed).
		Watches(&v1alpha1.SecurityBaseline{}, everyNamespaceInTurn(mgr.GetClient()), builder.WithPredicates(changesWhatHolds())).
		// Those of other people too: they may undo what the operator does.
		Watches(&networkingv1.NetworkPolicy{}, changed).
		Watches(&rbacv1.RoleBinding{}, changed).
		Watches(&rbacv1.Role{}, changed, builder.WithPredicates(rulesChange())).
		Watches(&rbacv1.ClusterRole{}, whereBound(mgr.GetClient()), builder.WithPredicates(rulesChange())).
		Watches(&rbacv1.ClusterRole{}, reconciler.maySucceed(), builder.WithPredicates(rulesChange())).
		Watches(&rbacv1.ClusterRoleBinding{}, reconciler.maySucceed()).
		Watches(&corev1.ServiceAccount{}, changed).
		Watches(&corev1.LimitRange{}, changed, builder.WithPredicates(concernsUs())).
		Watches(&corev1.ResourceQuota{}, changed, builder.WithPredicates(concernsUs(), notOnlyStatus())).
		Watches(&v1alpha1.BaselineReport{}, itsNamespaceLater()).
		WatchesRawSource(clockjump.ClockSet(reconciler.now, everyNamespaceInTurn(mgr.GetClient())))
	for _, workload := range workloadMetadata() {
		controllers = controllers.WatchesMetadata(workload, reconciler.podsMayHaveChanged())
	}
	return controllers.WithOptions(controllerOptions(namespaceWorkers)).Complete(reconciler)
}

// setupBaselines watches what is summed up in a status. Namespaces come and go
// and change labels, so each bears on every baseline; reports on those that they
// name.
func setupBaselines(mgr ctrl.Manager, reconciler *baselineReconciler) error {
	every := coalesced(func(ctx context.Context, _ client.Object) sets.Set[string] {
		return baselinesThat(ctx, mgr.GetClient(), func(*v1alpha1.SecurityBaselineSpec) bool { return true })
	})
	sayingWhoMay := coalesced(func(ctx context.Context, _ client.Object) sets.Set[string] {
		return baselinesThat(ctx, mgr.GetClient(), func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.RBAC != nil })
	})
	itsBaseline := handler.EnqueueRequestsFromMapFunc(func(_ context.Context, object client.Object) []reconcile.Request {
		return []reconcile.Request{requestFor(object.GetLabels()[v1alpha1.BaselineLabel])}
	})
	controllers := ctrl.NewControllerManagedBy(mgr).
		Named("securitybaseline").
		For(&v1alpha1.SecurityBaseline{}).
		// What one says bears on what the others' admission must know.
		Watches(&v1alpha1.SecurityBaseline{}, every, builder.WithPredicates(changesWhatHolds())).
		Watches(&rbacv1.ClusterRole{}, sayingWhoMay, builder.WithPredicates(rulesChange())).
		Watches(&rbacv1.Role{}, sayingWhoMay, builder.WithPredicates(rulesChange())).
		Watches(&rbacv1.ClusterRoleBinding{}, sayingWhoMay).
		Watches(&rbacv1.RoleBinding{}, sayingWhoMay).
		WatchesMetadata(&corev1.Namespace{}, every).
		Watches(&v1alpha1.BaselineReport{}, coalesced(func(_ context.Context, object client.Object) sets.Set[string] {
			return baselinesIn(object.(*v1alpha1.BaselineReport))
		})).
		WatchesRawSource(clockjump.ClockSet(reconciler.now, every))
	for _, kind := range admissionKinds(reconciler.mutating) {
		controllers = controllers.Watches(kind, itsBaseline, builder.WithPredicates(ofABaseline()))
	}
	return controllers.WithOptions(controllerOptions(1)).Complete(reconciler)
}

// setupAdmission watches what says which admission policies are needed, and these
// themselves.
func setupAdmission(mgr ctrl.Manager, reconciler *admissionReconciler) error {
	once := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{admissionRequest}
	})
	controllers := ctrl.NewControllerManagedBy(mgr).
		Named("admission").
		Watches(&v1alpha1.SecurityBaseline{}, once, builder.WithPredicates(changesWhatHolds()))
	changed := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		reconciler.noticed.mark(admissionRequest.Name, reconciler.now())
		return []reconcile.Request{admissionRequest}
	})
	for _, kind := range admissionKinds(reconciler.mutating) {
		controllers = controllers.Watches(kind, changed, builder.WithPredicates(ofOurDomain()))
	}
	return controllers.WithOptions(controllerOptions(1)).Complete(reconciler)
}

// setupOpenReports watches the reports and what is written for each, which has the
// same name.
func setupOpenReports(mgr ctrl.Manager, reconciler *openReportReconciler) error {
	return ctrl.NewControllerManagedBy(mgr).
		Named("openreports").
		For(&v1alpha1.BaselineReport{}).
		Watches(&openreportsv1alpha1.Report{}, &handler.EnqueueRequestForObject{}).
		WithOptions(controllerOptions(1)).Complete(reconciler)
}

func controllerOptions(workers int) controller.Options {
	return controller.Options{
		MaxConcurrentReconciles: workers,
		RateLimiter:             workqueue.NewTypedItemExponentialFailureRateLimiter[reconcile.Request](firstRetry, lastRetry),
		ReconciliationTimeout:   health.EvaluationTimeout,
		// A standby fills its caches before it is elected.
		EnableWarmup: new(true),
	}
}

// requeueAfter returns the result of a reconciliation that is to be repeated after a
// while, if at all, and of which something may have failed. Where it is to be sooner
// than a retry need be, the error is logged: controller-runtime does not look again
// in time where one is returned.
func requeueAfter(ctx context.Context, after time.Duration, err error) (ctrl.Result, error) {
	if err != nil {
		if after == 0 || after > lastRetry {
			return ctrl.Result{}, err
		}
		ctrl.LoggerFrom(ctx).Error(err, "Reconciling; it is looked at again")
	}
	return ctrl.Result{RequeueAfter: after}, nil
}

// changesWhatHolds passes the changes of a baseline that bear on namespaces: not
// those of its status.
func changesWhatHolds() predicate.Predicate {
	return predicate.Or(predicate.GenerationChangedPredicate{}, predicate.Funcs{
		UpdateFunc: func(e event.UpdateEvent) bool {
			return precedence.MissingFinalizer(e.ObjectOld.(*v1alpha1.SecurityBaseline)) != precedence.MissingFinalizer(e.ObjectNew.(*v1alpha1.SecurityBaseline))
		},
	})
}

// concernsUs passes the objects that the operator made, or whose names it may
// want.
func concernsUs() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(object client.Object) bool {
		return strings.HasPrefix(object.GetName(), v1alpha1.ObjectNamePrefix)
	})
}

// ofOurDomain passes the admission policies and bindings whose names are the
// operator's.
func ofOurDomain() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(object client.Object) bool { return strings.HasSuffix(object.GetName(), policies.Domain) })
}

// ofABaseline passes the bindings of baselines.
func ofABaseline() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(object client.Object) bool { return object.GetLabels()[v1alpha1.BaselineLabel] != "" })
}

// rulesChange passes roles that come and go, and changes of what they grant.
func rulesChange() predicate.Predicate {
	rules := func(object client.Object) []rbacv1.PolicyRule {
		if role, ok := object.(*rbacv1.Role); ok {
			return role.Rules
		}
		return object.(*rbacv1.ClusterRole).Rules
	}
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		return !equality.Semantic.DeepEqual(rules(e.ObjectOld), rules(e.ObjectNew))
	}}
}

// notOnlyStatus passes changes of a ResourceQuota but for those of what is used.
func notOnlyStatus() predicate.Predicate {
	return predicate.Funcs{UpdateFunc: func(e event.UpdateEvent) bool {
		was, is := e.ObjectOld.(*corev1.ResourceQuota), e.ObjectNew.(*corev1.ResourceQuota)
		return !equality.Semantic.DeepEqual(was.Spec, is.Spec) || !equality.Semantic.DeepEqual(was.Labels, is.Labels)
	}}
}

// whereBound enqueues the namespaces in which a ClusterRole is bound.
func whereBound(reader client.Reader) handler.EventHandler {
	return handler.EnqueueRequestsFromMapFunc(func(ctx context.Context, role client.Object) []reconcile.Request {
		var bindings rbacv1.RoleBindingList
		if err := reader.List(ctx, &bindings, client.UnsafeDisableDeepCopy); err != nil {
			ctrl.LoggerFrom(ctx).Error(err, "Listing RoleBindings from the cache")
			return nil
		}
		var requests []reconcile.Request
		for i := range bindings.Items {
			if ref := &bindings.Items[i].RoleRef; ref.Kind == "ClusterRole" && ref.Name == role.GetName() {
				requests = append(requests, requestFor(bindings.Items[i].Namespace))
			}
		}
		return requests
	})
}

// maySucceed enqueues the namespaces whose evaluation failed, a moment after permissions
// changed: the operator may have been given what it lacked.
func (r *namespaceReconciler) maySucceed() handler.EventHandler {
	enqueue := func(q queue) {
		for _, namespace := range r.failing.all() {
			q.AddAfter(requestFor(namespace), heeded)
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, _ event.CreateEvent, q queue) { enqueue(q) },
		UpdateFunc: func(_ context.Context, _ event.UpdateEvent, q queue) { enqueue(q) },
		DeleteFunc: func(_ context.Context, _ event.DeleteEvent, q queue) { enqueue(q) },
	}
}

// queue is what handlers enqueue into.
type queue = workqueue.TypedRateLimitingInterface[reconcile.Request]

// requestFor asks for an evaluation of a namespace, or of a baseline: neither is
// in a namespace.
func requestFor(name string) reconcile.Request {
	return reconcile.Request{NamespacedName: client.ObjectKey{Name: name}}
}

// podsMayHaveChanged enqueues the namespace of a workload a while after it
// changed, if pods there stand in the way of a pod-security level. Where that is not
// known, it is remembered: an evaluation may be under way that asked before.
func (r *namespaceReconciler) podsMayHaveChanged() handler.EventHandler {
	enqueue := func(ctx context.Context, q queue, workload client.Object) {
		namespace := workload.GetNamespace()
		r.workloads.mark(namespace, r.now())
		current := &v1alpha1.BaselineReport{}
		if err := r.client.Get(ctx, reportKey(namespace), current, client.UnsafeDisableDeepCopy); err != nil || !report.HasUnsettledPods(current.BaselineReportData) {
			return // not governed, or nothing stands in the way
		}
		q.AddAfter(requestFor(namespace), workloadsSettle)
	}
	return handler.Funcs{
		UpdateFunc: func(ctx context.Context, e event.UpdateEvent, q queue) { enqueue(ctx, q, e.ObjectNew) },
		DeleteFunc: func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, q, e.Object) },
	}
}

// itsNamespaceLater enqueues the namespace of a report at once if the report is
// gone, and a while after it was written: somebody else may have written it. At
// once, an evaluation whose report differs each time would never end.
func itsNamespaceLater() handler.EventHandler {
	return handler.Funcs{
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			q.AddAfter(requestFor(e.ObjectNew.GetNamespace()), reportCheck)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { q.Add(requestFor(e.Object.GetNamespace())) },
	}
}

// somethingChanged enqueues the namespace in which something changed: at once, or in
// its turn where that is only what the operator did itself or what was there when it
// started.
func (r *namespaceReconciler) somethingChanged() handler.EventHandler {
	enqueue := func(q queue, object client.Object, urgent bool) {
		namespace := cmp.Or(object.GetNamespace(), object.GetName())
		r.noticed.mark(namespace, r.now())
		if urgent {
			q.Add(requestFor(namespace))
		} else {
			addInTurn(q, requestFor(namespace))
		}
	}
	return handler.Funcs{
		CreateFunc: func(_ context.Context, e event.CreateEvent, q queue) {
			made := e.Object.GetLabels()[v1alpha1.BaselineLabel] != ""
			enqueue(q, e.Object, !e.IsInInitialList && !made)
		},
		UpdateFunc: func(_ context.Context, e event.UpdateEvent, q queue) {
			// Of namespaces it is known who changed them.
			own := lastWrite(e.ObjectNew).After(lastWrite(e.ObjectOld))
			enqueue(q, e.ObjectNew, !own)
		},
		DeleteFunc: func(_ context.Context, e event.DeleteEvent, q queue) { enqueue(q, e.Object, true) },
	}
}

// lastWrite is when the operator last wrote an object, as far as the cache has its
// managedFields. That somebody else takes a field over does not change it.
func lastWrite(object client.Object) time.Time {
	var last time.Time
	for _, entry := range object.GetManagedFields() {
		if entry.Manager == v1alpha1.FieldManager && entry.Time != nil && entry.Time.After(last) {
			last = entry.Time.Time
		}
	}
	return last
}

// addInTurn enqueues requests behind those that are urgent.
func addInTurn(q queue, requests ...reconcile.Request) {
	if ordered, ok := q.(priorityqueue.PriorityQueue[reconcile.Request]); ok {
		ordered.AddWithOpts(priorityqueue.AddOpts{Priority: new(handler.LowPriority)}, requests...)
		return
	}
	for _, request := range requests {
		q.Add(request)
	}
}

// everyNamespaceInTurn enqueues every namespace behind those to which something
// happened: what somebody opened is closed while ten thousand others converge.
func everyNamespaceInTurn(reader client.Reader) handler.EventHandler {
	enqueue := func(ctx context.Context, q queue) {
		addInTurn(q, allNamespaces(ctx, reader)...)
	}
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, _ event.CreateEvent, q queue) { enqueue(ctx, q) },
		UpdateFunc:  func(ctx context.Context, _ event.UpdateEvent, q queue) { enqueue(ctx, q) },
		DeleteFunc:  func(ctx context.Context, _ event.DeleteEvent, q queue) { enqueue(ctx, q) },
		GenericFunc: func(ctx context.Context, _ event.GenericEvent, q queue) { enqueue(ctx, q) },
	}
}

func allNamespaces(ctx context.Context, reader client.Reader) []reconcile.Request {
	namespaces := namespaceMetadataList()
	if err := reader.List(ctx, namespaces, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing namespaces from the cache")
		return nil
	}
	requests := make([]reconcile.Request, 0, len(namespaces.Items))
	for i := range namespaces.Items {
		requests = append(requests, requestFor(namespaces.Items[i].Name))
	}
	return requests
}

// baselinesThat returns the names of the baselines of whose spec something holds.
func baselinesThat(ctx context.Context, reader client.Reader, holds func(*v1alpha1.SecurityBaselineSpec) bool) sets.Set[string] {
	names := sets.New[string]()
	var baselines v1alpha1.SecurityBaselineList
	if err := reader.List(ctx, &baselines, client.UnsafeDisableDeepCopy); err != nil {
		ctrl.LoggerFrom(ctx).Error(err, "Listing SecurityBaselines from the cache")
		return nil
	}
	for i := range baselines.Items {
		if holds(&baselines.Items[i].Spec) {
			names.Insert(baselines.Items[i].Name)
		}
	}
	return names
}

// baselinesIn returns the names of the baselines that a report speaks of.
func baselinesIn(current *v1alpha1.BaselineReport) sets.Set[string] {
	names := sets.New[string]()
	for _, observed := range current.ObservedBaselines {
		names.Insert(observed.Name)
	}
	for _, control := range current.Controls {
		names.Insert(control.Baseline)
	}
	return names
}

// coalesced enqueues the baselines that an object bears on, before or after a
// change, a moment later: many changes at once make one evaluation.
func coalesced(bearsOn func(context.Context, client.Object) sets.Set[string]) handler.EventHandler {
	enqueue := func(ctx context.Context, q queue, objects ...client.Object) {
		names := sets.New[string]()
		for _, object := range objects {
			names = names.Union(bearsOn(ctx, object))
		}
		for name := range names {
			q.AddAfter(requestFor(name), coalesce)
		}
	}
	return handler.Funcs{
		CreateFunc:  func(ctx context.Context, e event.CreateEvent, q queue) { enqueue(ctx, q, e.Object) },
		UpdateFunc:  func(ctx context.Context, e event.UpdateEvent, q queue) { enqueue(ctx, q, e.ObjectOld, e.ObjectNew) },
		DeleteFunc:  func(ctx context.Context, e event.DeleteEvent, q queue) { enqueue(ctx, q, e.Object) },
		GenericFunc: func(ctx context.Context, e event.GenericEvent, q queue) { enqueue(ctx, q, e.Object) },
	}
}
