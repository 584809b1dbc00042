// Package admissionpolicy is the controller of the admission policies and bindings that all
// baselines together need. It applies and reverts them, and removes those that no baseline needs.
package admissionpolicy

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/builder"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/predicate"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/admissionobjects"
	"github.com/securitybaseline/operator/controllers/internal/events"
	"github.com/securitybaseline/operator/controllers/internal/handlers"
	"github.com/securitybaseline/operator/controllers/internal/reconcilers"
	"github.com/securitybaseline/operator/controllers/policies"
)

// crdName is the name of the CustomResourceDefinition of SecurityBaseline.
const crdName = "securitybaselines.securitybaseline.io"

var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// singleton is the only request of this controller: all policies are reconciled together.
var singleton = handlers.RequestFor("admission-policies")

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
	// IsMutatingServed is set if the API server serves MutatingAdmissionPolicy v1.
	IsMutatingServed bool
}

// Reconciler applies the admission policies and bindings. It is the only writer of these.
type Reconciler struct {
	Options
	state state
}

// New returns a Reconciler.
func New(options Options) *Reconciler {
	return &Reconciler{
		Options: options,
		state:   state{applied: map[string]string{}},
	}
}

// ApplyError returns why the policy or binding with that Kind/name could not be applied, or nil if
// it was.
func (r *Reconciler) ApplyError(id string) error { return r.state.applyErrors.get(id) }

// +kubebuilder:rbac:groups=securitybaseline.io,resources=securitybaselines,verbs=get;list;watch
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingadmissionpolicies;mutatingadmissionpolicybindings,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get,resourceNames=securitybaselines.securitybaseline.io
// +kubebuilder:rbac:groups=events.k8s.io,resources=events,verbs=create;patch

// SetupWithManager watches the baselines, and the policies and bindings in the operator's domain.
func (r *Reconciler) SetupWithManager(mgr ctrl.Manager) error {
	enqueueSingleton := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		return []reconcile.Request{singleton}
	})
	enqueueOnPolicyChange := handler.EnqueueRequestsFromMapFunc(func(context.Context, client.Object) []reconcile.Request {
		r.state.firstEvent.Mark(singleton.Name, r.Clock.Now())
		return []reconcile.Request{singleton}
	})
	controller := ctrl.NewControllerManagedBy(mgr).
		Named("admissionpolicy").
		Watches(&v1alpha1.SecurityBaseline{}, enqueueSingleton, builder.WithPredicates(handlers.SpecOrFinalizerChanged()))
	for _, kind := range admissionobjects.Kinds(r.IsMutatingServed) {
		controller = controller.Watches(kind, enqueueOnPolicyChange, builder.WithPredicates(policySuffixPredicate()))
	}
	return controller.WithOptions(reconcilers.Options(1)).Complete(r)
}

// policySuffixPredicate passes the policies and bindings in the operator's domain.
func policySuffixPredicate() predicate.Predicate {
	return predicate.NewPredicateFuncs(func(object client.Object) bool { return strings.HasSuffix(object.GetName(), policies.Domain) })
}

// Reconcile applies and reverts the policies and bindings that baselines need, and removes those
// that none needs any longer.
func (r *Reconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(crdKind)
	if err := r.Live.Get(ctx, client.ObjectKey{Name: crdName}, crd); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading CustomResourceDefinition %s: %w", crdName, err)
	}
	if crd.UID == "" || !crd.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // the operator is being uninstalled
	}
	var baselines v1alpha1.SecurityBaselineList
	if err := r.Client.List(ctx, &baselines); err != nil {
		return ctrl.Result{}, fmt.Errorf("listing SecurityBaselines: %w", err)
	}
	existing, err := admissionobjects.List(ctx, r.Client, r.IsMutatingServed)
	if err != nil {
		return ctrl.Result{}, err
	}
	owner := metav1.OwnerReference{APIVersion: crdKind.GroupVersion().String(), Kind: crdKind.Kind, Name: crd.Name, UID: crd.UID}
	needed := policies.Objects(baselines.Items, policies.Cluster{Protected: r.Protected, IsMutatingServed: r.IsMutatingServed, Owner: owner})

	firstEventTime := r.state.firstEvent.Take(singleton.Name, r.Clock.Now())
	requeueAfter, errs := r.applyAll(ctx, needed, existing, firstEventTime)
	errs = append(errs, r.removeUnneeded(ctx, needed, existing)...)
	if requeueAfter > 0 {
		r.state.firstEvent.Mark(singleton.Name, firstEventTime)
	}
	return reconcilers.RequeueAfter(ctx, requeueAfter, errors.Join(errs...))
}

// applyAll applies the needed objects. It returns the delay after which it must run again, or zero
// if that is not necessary.
func (r *Reconciler) applyAll(ctx context.Context, needed []policies.Needed, existing map[string]client.Object, firstEventTime time.Time) (time.Duration, []error) {
	var requeueAfter time.Duration
	var errs []error
	for _, object := range needed {
		id := admissionobjects.ID(object.Object)
		remaining, err := r.apply(ctx, existing[id], object, firstEventTime)
		r.state.applyErrors.set(id, err)
		if err != nil {
			errs = append(errs, fmt.Errorf("applying %s: %w", id, err))
		}
		if remaining > 0 && (requeueAfter == 0 || remaining < requeueAfter) {
			requeueAfter = remaining
		}
	}
	return requeueAfter, errs
}
