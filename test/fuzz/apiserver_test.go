package fuzz

import (
	"context"
	"encoding/json"
	"fmt"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"k8s.io/kubernetes/pkg/api/legacyscheme"
	_ "k8s.io/kubernetes/pkg/apis/admissionregistration/install" // registers conversions and defaults
	_ "k8s.io/kubernetes/pkg/apis/core/install"                  // registers conversions and defaults
	_ "k8s.io/kubernetes/pkg/apis/networking/install"            // registers conversions and defaults
	_ "k8s.io/kubernetes/pkg/apis/rbac/install"                  // registers conversions and defaults
	"k8s.io/kubernetes/pkg/registry/admissionregistration/mutatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/resolver"
	"k8s.io/kubernetes/pkg/registry/admissionregistration/validatingadmissionpolicybinding"
	"k8s.io/kubernetes/pkg/registry/core/limitrange"
	"k8s.io/kubernetes/pkg/registry/core/namespace"
	"k8s.io/kubernetes/pkg/registry/core/resourcequota"
	"k8s.io/kubernetes/pkg/registry/core/serviceaccount"
	"k8s.io/kubernetes/pkg/registry/networking/networkpolicy"
	"k8s.io/kubernetes/pkg/registry/rbac/rolebinding"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
)

// createStrategies hold how the API server creates each kind of object that the operator
// writes.
var createStrategies = map[string]rest.RESTCreateStrategy{
	"NetworkPolicy":  networkpolicy.Strategy,
	"RoleBinding":    rolebinding.Strategy,
	"ServiceAccount": serviceaccount.Strategy,
	"LimitRange":     limitrange.Strategy,
	"ResourceQuota":  resourcequota.Strategy,
	"Namespace":      namespace.Strategy,
	// Without an authorizer, the permission to refer to parameters is not checked.
	"ValidatingAdmissionPolicyBinding": validatingadmissionpolicybinding.NewStrategy(nil, nil, resolver.ResourceResolverFunc(nil)),
	"MutatingAdmissionPolicyBinding":   mutatingadmissionpolicybinding.NewStrategy(nil, nil, resolver.ResourceResolverFunc(nil)),
}

// createInAPIServer returns the object as the API server would store and return it, or
// the error of the rejection.
func createInAPIServer(object client.Object) (client.Object, error) {
	gvk, err := apiutil.GVKForObject(object, legacyscheme.Scheme)
	if err != nil {
		return nil, err
	}
	strategy := createStrategies[gvk.Kind]
	if strategy == nil {
		return nil, fmt.Errorf("there is no strategy for %s", gvk)
	}
	codec := legacyscheme.Codecs.LegacyCodec(gvk.GroupVersion())
	object = object.DeepCopyObject().(client.Object)
	object.GetObjectKind().SetGroupVersionKind(gvk)
	sent, err := json.Marshal(object)
	if err != nil {
		return nil, err
	}
	internal, err := runtime.Decode(codec, sent)
	if err != nil {
		return nil, err
	}
	ctx := request.WithRequestInfo(request.WithNamespace(context.Background(), object.GetNamespace()), &request.RequestInfo{
		APIGroup: gvk.Group, APIVersion: gvk.Version, Verb: "create",
	})
	rest.FillObjectMetaSystemFields(internal.(client.Object))
	if err := rest.BeforeCreate(strategy, ctx, internal); err != nil {
		return nil, err
	}
	data, err := runtime.Encode(codec, internal)
	if err != nil {
		return nil, err
	}
	live, _, err := legacyscheme.Codecs.UniversalDeserializer().Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	return live.(client.Object), nil
}

// specOf returns the spec of a policy binding, or nil for other objects.
func specOf(object client.Object) any {
	switch object := object.(type) {
	case *admissionregistrationv1.ValidatingAdmissionPolicyBinding:
		return object.Spec
	case *admissionregistrationv1.MutatingAdmissionPolicyBinding:
		return object.Spec
	}
	return nil
}
