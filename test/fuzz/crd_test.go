// Package fuzz fuzzes the operator's handling of baselines against that of the API server.
// All validation, defaulting and policy evaluation here is the code of Kubernetes.
package fuzz

import (
	"context"
	"os"
	"path/filepath"
	"sync"

	"k8s.io/apiextensions-apiserver/pkg/apis/apiextensions"
	apiextensionsv1 "k8s.io/apiextensions-apiserver/pkg/apis/apiextensions/v1"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/defaulting"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/objectmeta"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/schema/pruning"
	"k8s.io/apiextensions-apiserver/pkg/apiserver/validation"
	"k8s.io/apiextensions-apiserver/pkg/crdserverscheme"
	"k8s.io/apiextensions-apiserver/pkg/registry/customresource"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/endpoints/request"
	"k8s.io/apiserver/pkg/registry/rest"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// definition is the CustomResourceDefinition of SecurityBaseline as an API server serves
// it.
type definition struct {
	structural *schema.Structural
	strategy   rest.RESTCreateStrategy
}

var baselineDefinition = sync.OnceValues(func() (*definition, error) {
	data, err := os.ReadFile(filepath.FromSlash("../../config/crd/bases/securitybaseline.io_securitybaselines.yaml"))
	if err != nil {
		return nil, err
	}
	var crd apiextensionsv1.CustomResourceDefinition
	if err := yaml.UnmarshalStrict(data, &crd); err != nil {
		return nil, err
	}
	var internal apiextensions.CustomResourceValidation
	if err := apiextensionsv1.Convert_v1_CustomResourceValidation_To_apiextensions_CustomResourceValidation(crd.Spec.Versions[0].Schema, &internal, nil); err != nil {
		return nil, err
	}
	structural, err := schema.NewStructural(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	validator, _, err := validation.NewSchemaValidator(internal.OpenAPIV3Schema)
	if err != nil {
		return nil, err
	}
	return &definition{structural: structural, strategy: customresource.NewStrategy(crdserverscheme.NewUnstructuredObjectTyper(), false,
		v1alpha1.GroupVersion.WithKind("SecurityBaseline"), validator, nil, structural, &apiextensions.CustomResourceSubresourceStatus{}, nil, nil)}, nil
})

// admit returns a baseline as the API server would store it: with defaults, without
// unknown fields, and validated by schema and CEL. It returns an error if the API server
// would reject the baseline.
// https://github.com/kubernetes/kubernetes/blob/v1.37.2/staging/src/k8s.io/apiextensions-apiserver/pkg/apiserver/customresource_handler.go
func admit(object map[string]any) (*unstructured.Unstructured, error) {
	d, err := baselineDefinition()
	if err != nil {
		return nil, err
	}
	u := &unstructured.Unstructured{Object: object}
	defaulting.Default(u.Object, d.structural)
	meta, found, err := objectmeta.GetObjectMeta(u.Object, false)
	if err != nil {
		return nil, err
	}
	apiVersion := u.GetAPIVersion()
	kind := u.GetKind()
	pruning.Prune(u.Object, d.structural, true)
	defaulting.PruneNonNullableNullsWithoutDefaults(u.Object, d.structural)
	if err := objectmeta.Coerce(nil, u.Object, d.structural, false, false); err != nil {
		return nil, err
	}
	u.SetAPIVersion(apiVersion)
	u.SetKind(kind)
	if found {
		if err := objectmeta.SetObjectMeta(u.Object, meta); err != nil {
			return nil, err
		}
	}
	rest.FillObjectMetaSystemFields(u)
	ctx := request.WithRequestInfo(request.WithNamespace(context.Background(), ""), &request.RequestInfo{
		APIGroup: v1alpha1.GroupVersion.Group, APIVersion: v1alpha1.GroupVersion.Version, Resource: "securitybaselines", Verb: "create",
	})
	return u, rest.BeforeCreate(d.strategy, ctx, u)
}

// decode returns a YAML document as the API server decodes it.
func decode(data []byte) (map[string]any, error) {
	data, err := yaml.YAMLToJSON(data)
	if err != nil {
		return nil, err
	}
	object, _, err := unstructured.UnstructuredJSONScheme.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	return object.(runtime.Unstructured).UnstructuredContent(), nil
}
