package controllers

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync/atomic"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/util/retry"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/inflight"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/report"
	"github.com/securitybaseline/operator/controllers/precedence"
)

const (
	// retryRefused is how soon what the API server refused is tried again, at
	// least; at most twice as late. Not every reason why it did is watched.
	retryRefused = 30 * time.Second
	// heeded is how long the API server takes to heed a change of permissions, at
	// most.
	heeded = time.Second
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
	enforcer  *enforcement.Enforcer
	protected sets.Set[string]

	evaluations *inflight.Evaluations
	workloads   *workloads
	noticed     *noticed
	failing     *failing
	unrecorded  *unrecorded
	events      events.EventRecorder
	now         func() time.Time
	// unserved says that there are no reports: their CRD is gone, or goes. What the
	// cache still has of them is no ledger.
	unserved atomic.Bool
}

// +kubebuilder:rbac:groups="",resources=namespaces,verbs=list;watch;patch
// +kubebuilder:rbac:groups=networking.k8s.io,resources=networkpolicies,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=rolebindings,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=rbac.authorization.k8s.io,resources=clusterroles,verbs=bind,resourceNames=view;edit;admin
// +kubebuilder:rbac:groups="",resources=serviceaccounts,verbs=get;list;watch;patch
// +kubebuilder:rbac:groups="",resources=limitranges;resourcequotas,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=apps,resources=deployments;statefulsets;daemonsets,verbs=list;watch
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch
// +kubebuilder:rbac:groups=securitybaseline.io,resources=baselinereports,verbs=get;list;watch;create;update;delete

// Reconcile evaluates a namespace.
func (r *namespaceReconciler) Reconcile(ctx context.Context, request ctrl.Request) (ctrl.Result, error) {
	defer r.evaluations.Begin()()
	r.failing.mark(request.Name, r.now())

	namespace := namespaceMetadata()
	if err := r.client.Get(ctx, request.NamespacedName, namespace); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading the namespace: %w", err)
	}
	if namespace.UID == "" || !namespace.DeletionTimestamp.IsZero() {
		r.workloads.forget(request.Name)
		r.noticed.forget(request.Name)
		r.failing.forget(request.Name)
		r.unrecorded.forget(request.Name)
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
	if r.unserved.Load() || enforcement.Precedes(prior, namespace) || report.BelongsToFormerNamespace(prior.BaselineReportData, namespace) {
		prior = &v1alpha1.BaselineReport{}
	}

	baselines.Items = slices.DeleteFunc(baselines.Items, func(baseline v1alpha1.SecurityBaseline) bool {
		return precedence.MissingFinalizer(&baseline) && !prior.HasObserved(baseline.Name)
	})
	noticed := r.noticed.take(namespace.Name, r.now())
	governance := precedence.Resolve(namespace, baselines.Items, r.protected, r.now())
	tasks := plan(governance, prior)
	outcomes, again, err := r.enforcer.Enforce(ctx, namespace, tasks, func(baseline string) bool { return r.gone(baselines.Items, baseline) })
	if err != nil {
		return ctrl.Result{}, err
	}
	done := evaluation{namespace, prior, governance, outcomes, again, noticed}
	if !done.finished() {
		r.noticed.mark(namespace.Name, noticed)
	}
	return r.conclude(ctx, done)
}

// plan says what is to be done for each control.
func plan(governance precedence.Governance, prior *v1alpha1.BaselineReport) []enforcement.Task {
	tasks := make([]enforcement.Task, 0, len(controls.All))
	outdated := !slices.Equal(prior.ObservedBaselines, report.Observed(governance))
	for _, control := range controls.All {
		governing := governance.Governing[control.Name]
		ledger := report.FindGoverning(prior.BaselineReportData, control.Name)
		if ledger == nil && governing != nil {
			// It may have been in Audit mode.
			ledger = report.FindControl(prior.BaselineReportData, control.Name, governing.Name)
		}
		tasks = append(tasks, enforcement.Task{Control: control, Baseline: governing, Ledger: ledger, Outdated: outdated, Outranked: governance.Overridden[control.Name]})
		for i, auditing := range governance.Auditing[control.Name] {
			var peer *v1alpha1.SecurityBaseline
			if i > 0 {
				peer = governance.Auditing[control.Name][0]
			}
			tasks = append(tasks, enforcement.Task{
				Peer: peer, Outdated: outdated,
				Control: control, Baseline: auditing, Rival: governing, Ahead: governing != nil && precedence.HasPrecedence(governing, auditing),
				Ledger:  report.FindControl(prior.BaselineReportData, control.Name, auditing.Name),
				Current: slices.Contains(prior.ObservedBaselines, v1alpha1.ObservedBaseline{Name: auditing.Name, Generation: auditing.Generation}),
			})
		}
	}
	return tasks
}

// gone says whether what a baseline gave is to be removed where nobody governs
// it any more: the baseline is there and does not want it, or is being deleted
// and takes it along. What a baseline that was deleted gave is retained, what one
// in Audit mode gave stays as it is, and what one whose selector does not parse
// gave stays until it does.
func (r *namespaceReconciler) gone(baselines []v1alpha1.SecurityBaseline, name string) bool {
	for i := range baselines {
		baseline := &baselines[i]
		if baseline.Name != name {
			continue
		}
		if !baseline.DeletionTimestamp.IsZero() {
			return baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove
		}
		_, err := precedence.Selector(baseline, r.protected)
		return err == nil && !baseline.Spec.IsAudit()
	}
	return false
}

// evaluation is what was found in a namespace and done about it.
type evaluation struct {
	namespace  *metav1.PartialObjectMetadata
	prior      *v1alpha1.BaselineReport
	governance precedence.Governance
	outcomes   []enforcement.Outcome
	// again says that something is to be removed when the report is written.
	again bool
	// noticed is when the first of the events came that led to it.
	noticed time.Time
}

// finished says whether nothing is left to be put right.
func (e *evaluation) finished() bool {
	return !slices.ContainsFunc(e.outcomes, func(outcome enforcement.Outcome) bool {
		return outcome.Stale || outcome.After > 0 || outcome.Unhealed
	})
}

// conclude writes the report, tells of drifts and says when to look again.
func (r *namespaceReconciler) conclude(ctx context.Context, done evaluation) (ctrl.Result, error) {
	var errs []error
	for i := range done.outcomes {
		if err := done.outcomes[i].Err; err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", done.outcomes[i].Control, err))
		}
	}
	// What was healed must be recorded, also while the operator is being stopped.
	recording, cancel := context.WithTimeout(context.WithoutCancel(ctx), recordTimeout)
	defer cancel()
	now := r.now()
	var before, next v1alpha1.BaselineReportData
	var fresh, missing []enforcement.Outcome
	held := r.unrecorded.take(done.namespace)
	err := r.write(recording, done.prior, done.namespace.Name, func(prior v1alpha1.BaselineReportData) v1alpha1.BaselineReportData {
		fresh, missing = report.DropReported(prior, done.outcomes), report.DropRecorded(prior, held)
		before, next = prior, report.Next(prior, done.governance, joined(missing, fresh), now)
		return next
	})
	again := r.lookAgain(done, next, now)
	done.outcomes = fresh
	r.count(ctx, done, err == nil)
	done.outcomes = joined(missing, fresh)
	if err == nil {
		r.tell(done, before, next)
	} else {
		r.unrecorded.keep(done.namespace, done.outcomes)
	}
	failed := errors.Join(append(errs, err)...)
	if failed == nil && !slices.ContainsFunc(done.outcomes, func(outcome enforcement.Outcome) bool { return outcome.State == v1alpha1.StateFailed }) {
		r.failing.forget(done.namespace.Name)
	}
	return requeueAfter(ctx, again, failed)
}

// lookAgain returns how soon a namespace is to be evaluated again although
// nothing happens to it; zero if it need not be.
func (r *namespaceReconciler) lookAgain(done evaluation, next v1alpha1.BaselineReportData, now time.Time) time.Duration {
	var soonest time.Duration
	in := func(after time.Duration) {
		if after > 0 && (soonest == 0 || after < soonest) {
			soonest = after
		}
	}
	if done.again {
		in(retryStale)
	}
	unsettled := false
	for i := range done.outcomes {
		outcome := &done.outcomes[i]
		unsettled = unsettled || outcome.Unsettled
		if outcome.PodSecurity != nil && outcome.PodSecurity.Provisional {
			in(firstLook)
		}
		switch {
		case outcome.Stale:
			in(retryStale)
		case outcome.After > 0:
			in(outcome.After)
		case outcome.State == v1alpha1.StateFailed:
			in(wait.Jitter(retryRefused, 1))
		}
	}
	if unsettled {
		in(r.workloads.lookAgain(done.namespace.Name, now))
	}
	in(until(done.governance.NextExpirationTime, now))
	for i := range next.Drifts {
		if ends := report.ContestEndTime(&next.Drifts[i]); now.Before(ends) {
			in(until(ends, now))
		}
	}
	return soonest
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

// isUnserved says whether the API server does not know reports, or takes no new ones
// because their CRD is being deleted.
func isUnserved(err error) bool {
	return apierrors.IsMethodNotSupported(err) || apierrors.IsNotFound(err) && apierrors.HasStatusCause(err, metav1.CauseTypeUnexpectedServerResponse)
}

func behind(err error) bool {
	return apierrors.IsConflict(err) || apierrors.IsAlreadyExists(err) || apierrors.IsNotFound(err)
}

func (r *namespaceReconciler) writeOnce(ctx context.Context, current *v1alpha1.BaselineReport, namespace string, next v1alpha1.BaselineReportData) error {
	exists, nothing := current.UID != "", len(next.ObservedBaselines) == 0 && len(next.Controls) == 0
	desired := current.DeepCopy()
	desired.Name, desired.Namespace = v1alpha1.ReportName, namespace
	desired.BaselineReportData = next
	var err error
	switch {
	case nothing && exists:
		err = client.IgnoreNotFound(r.client.Delete(ctx, current, enforcement.Exactly(current)))
	case nothing, exists && equality.Semantic.DeepEqual(current.BaselineReportData, next):
		return nil
	case exists:
		err = r.client.Update(ctx, desired)
	default:
		err = r.client.Create(ctx, desired)
	}
	if unserved := isUnserved(err); unserved || err == nil {
		r.unserved.Store(unserved) // any other error does not say
	}
	if err == nil || enforcement.Vanishing(err) {
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
