// Package admissionobjects reads the operator's admission policies and bindings from the cache and
// compares them with the desired ones. Two controllers need it: one applies the objects, the other
// reports in a baseline's status whether they are in place. The four kinds have no common Go type;
// no upstream issue asks for one.
package admissionobjects

import (
	"context"
	"fmt"
	"strings"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/securitybaseline/operator/controllers/policies"
)

// Kinds returns an object of each kind of admission policy and binding that the operator applies.
// isMutatingServed reports whether the API server serves MutatingAdmissionPolicy v1.
func Kinds(isMutatingServed bool) []client.Object {
	kinds := []client.Object{&admissionregistrationv1.ValidatingAdmissionPolicy{}, &admissionregistrationv1.ValidatingAdmissionPolicyBinding{}}
	if isMutatingServed {
		kinds = append(kinds, &admissionregistrationv1.MutatingAdmissionPolicy{}, &admissionregistrationv1.MutatingAdmissionPolicyBinding{})
	}
	return kinds
}

// IsMutatingServed reports whether the API server serves MutatingAdmissionPolicy v1. Kubernetes
// does by default since 1.36.
func IsMutatingServed(mapper meta.RESTMapper) (bool, error) {
	kind := admissionregistrationv1.SchemeGroupVersion.WithKind("MutatingAdmissionPolicy")
	_, err := mapper.RESTMapping(kind.GroupKind(), kind.Version)
	if meta.IsNoMatchError(err) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("discovering MutatingAdmissionPolicy: %w", err)
	}
	return true, nil
}

// List returns the policies and bindings in the operator's domain, by ID.
func List(ctx context.Context, reader client.Reader, isMutatingServed bool) (map[string]client.Object, error) {
	found := map[string]client.Object{}
	lists := []client.ObjectList{&admissionregistrationv1.ValidatingAdmissionPolicyList{}, &admissionregistrationv1.ValidatingAdmissionPolicyBindingList{}}
	if isMutatingServed {
		lists = append(lists, &admissionregistrationv1.MutatingAdmissionPolicyList{}, &admissionregistrationv1.MutatingAdmissionPolicyBindingList{})
	}
	for _, list := range lists {
		if err := reader.List(ctx, list); err != nil {
			return nil, fmt.Errorf("listing admission policies and bindings: %w", err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			if object := item.(client.Object); strings.HasSuffix(object.GetName(), policies.Domain) {
				found[ID(object)] = object
			}
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading admission policies and bindings: %w", err)
		}
	}
	return found, nil
}

// ID returns Kind/name of a policy or binding.
func ID(object client.Object) string {
	gvk, err := apiutil.GVKForObject(object, clientgoscheme.Scheme)
	if err != nil {
		panic(fmt.Sprintf("the scheme must hold every kind of admission policy: %v", err))
	}
	return gvk.Kind + "/" + object.GetName()
}

// IsUpToDate reports whether an object has the desired labels and spec. It may have other labels,
// and any annotations.
func IsUpToDate(actual, desired client.Object) bool {
	for key, value := range desired.GetLabels() {
		if actual.GetLabels()[key] != value {
			return false
		}
	}
	return equality.Semantic.DeepEqual(specOf(actual), specOf(desired))
}

func specOf(object client.Object) any {
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
