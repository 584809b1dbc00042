package controllers

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/sets"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/controller-runtime/pkg/log"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/ownership"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/kube"
	"github.com/securitybaseline/operator/controllers/internal/ttlmap"
	"github.com/securitybaseline/operator/controllers/policies"
)

// crdName is the name of the CustomResourceDefinition of SecurityBaseline.
const crdName = "securitybaselines.securitybaseline.io"

var crdKind = schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"}

// admissionReconciler keeps the admission policies and bindings as all baselines
// together need them. There is one request only: admissionRequest.
type admissionReconciler struct {
	client    client.Client
	live      client.Reader
	protected sets.Set[string]
	// mutating says that the API server has MutatingAdmissionPolicy v1.
	mutating bool
	refusals *refusals
	events   events.EventRecorder
	now      func() time.Time

	noticed noticed
	pace    ttlmap.RateLimiter
	// placed are fingerprints of what was seen or put in place, by Kind/name. What
	// differs although it is wanted as it was then, somebody changed.
	placed map[string]string
}

// admissionRequest is what leads to the admissionReconciler.
var admissionRequest = requestFor("admission")

// refusals are why objects that baselines need at admission could not be written,
// by Kind/name.
type refusals struct {
	mutex sync.Mutex
	why   map[string]error
}

func (r *refusals) set(id string, err error) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	if err == nil {
		delete(r.why, id)
		return
	}
	if r.why == nil {
		r.why = map[string]error{}
	}
	r.why[id] = err
}

func (r *refusals) of(id string) error {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return r.why[id]
}

// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=validatingadmissionpolicies;validatingadmissionpolicybindings,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=admissionregistration.k8s.io,resources=mutatingadmissionpolicies;mutatingadmissionpolicybindings,verbs=get;list;watch;create;update;delete
// +kubebuilder:rbac:groups=apiextensions.k8s.io,resources=customresourcedefinitions,verbs=get,resourceNames=securitybaselines.securitybaseline.io

// Reconcile puts the policies and bindings in place, heals them, and removes what
// no baseline needs any more.
func (r *admissionReconciler) Reconcile(ctx context.Context, _ ctrl.Request) (ctrl.Result, error) {
	crd := &metav1.PartialObjectMetadata{}
	crd.SetGroupVersionKind(crdKind)
	if err := r.live.Get(ctx, client.ObjectKey{Name: crdName}, crd); client.IgnoreNotFound(err) != nil {
		return ctrl.Result{}, fmt.Errorf("reading CustomResourceDefinition %s: %w", crdName, err)
	}
	if crd.UID == "" || !crd.DeletionTimestamp.IsZero() {
		return ctrl.Result{}, nil // the operator is being uninstalled
	}
	var baselines v1alpha1.SecurityBaselineList
	if err := r.client.List(ctx, &baselines); err != nil {
		return ctrl.Result{}, fmt.Errorf("listing SecurityBaselines: %w", err)
	}
	have, err := admissionObjects(ctx, r.client, r.mutating)
	if err != nil {
		return ctrl.Result{}, err
	}
	owner := metav1.OwnerReference{APIVersion: crdKind.GroupVersion().String(), Kind: crdKind.Kind, Name: crd.Name, UID: crd.UID}
	noticed, again := r.noticed.take(admissionRequest.Name, r.now()), time.Duration(0)
	var errs []error
	for _, want := range policies.Objects(baselines.Items, policies.Cluster{Protected: r.protected, Mutating: r.mutating, Owner: owner}) {
		id := admissionID(want.Object)
		left, err := r.put(ctx, have[id], want, noticed)
		delete(have, id)
		r.refusals.set(id, err)
		if err != nil {
			errs = append(errs, fmt.Errorf("putting %s in place: %w", id, err))
		}
		if left > 0 && (again == 0 || left < again) {
			again = left
		}
	}
	for id, object := range have {
		if object.GetLabels()[v1alpha1.ManagedByLabel] != v1alpha1.ManagedByValue || !object.GetDeletionTimestamp().IsZero() {
			continue
		}
		delete(r.placed, id)
		if err := r.client.Delete(ctx, object, kube.DeletePreconditions(object)); !movedOn(err) {
			errs = append(errs, fmt.Errorf("removing %s: %w", id, err))
		}
	}
	if again > 0 {
		r.noticed.mark(admissionRequest.Name, noticed)
	}
	return requeueAfter(ctx, again, errors.Join(errs...))
}

// put makes an object as wanted, unless it was put right a moment ago: then it
// returns how soon it may be again. have is nil where it is missing.
func (r *admissionReconciler) put(ctx context.Context, have client.Object, want policies.Needed, noticed time.Time) (time.Duration, error) {
	id, revision := admissionID(want.Object), controls.Revision(want.Object)
	if have != nil && asNeeded(have, want.Object) && equality.Semantic.DeepEqual(have.GetOwnerReferences(), want.GetOwnerReferences()) {
		r.placed[id] = revision
		return 0, nil
	}
	if r.placed[id] != revision {
		log.FromContext(ctx).Info("Putting an admission policy or binding in place", "object", id)
		written, err := r.write(ctx, have, want.Object)
		if written {
			r.placed[id] = revision
		}
		return 0, err
	}
	if left := r.pace.Remaining(id, r.now()); left > 0 {
		return left, nil
	}
	drift, err := r.drift(ctx, have)
	if err != nil {
		return 0, err
	}
	if written, err := r.write(ctx, have, want.Object); !written || err != nil {
		return 0, err
	}
	r.pace.Record(id, r.now())
	drift.Object = id
	r.tell(ctx, want, drift, r.now().Sub(noticed))
	return 0, nil
}

// drift says what was done to an object, by whose hand as far as that is recorded,
// and what is done about it. have is nil where it was deleted.
func (r *admissionReconciler) drift(ctx context.Context, have client.Object) (*v1alpha1.Drift, error) {
	if have == nil {
		return &v1alpha1.Drift{Operation: evaluation.OperationDelete, Action: v1alpha1.DriftCreated}, nil
	}
	live := have.DeepCopyObject().(client.Object)
	if err := r.live.Get(ctx, client.ObjectKeyFromObject(have), live); client.IgnoreNotFound(err) != nil {
		return nil, err
	}
	author := ownership.LastAuthor(live, fieldpath.MakePathOrDie("spec"), fieldpath.MakePathOrDie("metadata"))
	return &v1alpha1.Drift{
		Manager: author.Manager, Operation: author.Operation, Action: v1alpha1.DriftConfigured, Fields: []v1alpha1.FieldDifference{{Path: "spec"}},
	}, nil
}

// write makes an object, or makes it right at the version that was compared, and
// says whether it did. Where it came too late, the event that says so is under
// way.
func (r *admissionReconciler) write(ctx context.Context, have, want client.Object) (bool, error) {
	if have == nil {
		err := r.client.Create(ctx, want)
		return err == nil, client.IgnoreAlreadyExists(err)
	}
	healed := want.DeepCopyObject().(client.Object)
	healed.SetUID(have.GetUID())
	healed.SetResourceVersion(have.GetResourceVersion())
	healed.SetAnnotations(have.GetAnnotations())
	healed.SetFinalizers(have.GetFinalizers())
	healed.SetLabels(labels.Merge(have.GetLabels(), want.GetLabels()))
	err := r.client.Update(ctx, healed)
	if movedOn(err) {
		return err == nil, nil
	}
	return false, err
}

// asNeeded says whether an object is as wanted; what others add to its labels and
// annotations is theirs.
func asNeeded(have, want client.Object) bool {
	for key, value := range want.GetLabels() {
		if have.GetLabels()[key] != value {
			return false
		}
	}
	return equality.Semantic.DeepEqual(admissionSpec(have), admissionSpec(want))
}

func admissionSpec(object client.Object) any {
	switch object := object.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicy:
		return object.Spec
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		return object.Spec
	case *admissionregistrationv1.MutatingAdmissionPolicy:
		return object.Spec
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		return object.Spec
	}
	return nil
}

// admissionKinds returns an object of each kind that is written at admission.
func admissionKinds(mutating bool) []client.Object {
	kinds := []client.Object{&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}}
	if mutating {
		kinds = append(kinds, &admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{})
	}
	return kinds
}

// admissionObjects returns, by Kind/name, the policies and bindings whose names
// are the operator's.
func admissionObjects(ctx context.Context, reader client.Reader, mutating bool) (map[string]client.Object, error) {
	have := map[string]client.Object{}
	lists := []client.ObjectList{&admissionregistrationv1.ValidatingAdmissionPolicyList{}, &admissionregistrationv1.ValidatingAdmissionPolicyBindingList{}}
	if mutating {
		lists = append(lists, &admissionregistrationv1.MutatingAdmissionPolicyList{}, &admissionregistrationv1.MutatingAdmissionPolicyBindingList{})
	}
	for _, list := range lists {
		if err := reader.List(ctx, list); err != nil {
			return nil, fmt.Errorf("listing admission policies and bindings: %w", err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			if object := item.(client.Object); strings.HasSuffix(object.GetName(), policies.Domain) {
				have[admissionID(object)] = object
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading admission policies and bindings: %w", err)
		}
	}
	return have, nil
}

// admissionID names a policy or binding, as Kind/name.
func admissionID(object client.Object) string {
	gvk, err := apiutil.GVKForObject(object, clientgoscheme.Scheme)
	if err != nil {
		panic(fmt.Sprintf("the scheme holds every kind of admission policy: %v", err))
	}
	return gvk.Kind + "/" + object.GetName()
}

// supportsMutating says whether the API server has MutatingAdmissionPolicy v1,
// which Kubernetes has by default from 1.36 on.
func supportsMutating(mapper meta.RESTMapper) (bool, error) {
	kind := admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy")
	_, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("finding out whether there is MutatingAdmissionPolicy: %w", err)
	}
	return true, nil
}
