package policies

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"sync"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/yaml"

	policyfiles "github.com/securitybaseline/operator/config/policies"
	"github.com/securitybaseline/operator/controllers/controls"
)

// policiesNamed returns copies of the objects in config/policies that have one of the names.
// It also returns the Audit variants that have one of the names.
func policiesNamed(names sets.Set[string]) []controls.Object {
	var objects []controls.Object
	for _, object := range loadFiles() {
		if names.Has(object.GetName()) {
			objects = append(objects, object.DeepCopyObject().(controls.Object))
		}
		policy, ok := object.(*admissionregistrationv1.ValidatingAdmissionPolicy)
		if !ok || !names.Has(auditPrefix+policy.Name) {
			continue
		}
		for _, r := range rules() {
			if r.Name+Domain == policy.Name {
				objects = append(objects, r.auditVariant(policy))
			}
		}
	}
	return objects
}

// auditVariant returns a copy of the rule's policy for Audit mode. It never rejects a request,
// not even if its evaluation fails. It matches namespaces without the operator's labels.
func (r *rule) auditVariant(policy *admissionregistrationv1.ValidatingAdmissionPolicy) *admissionregistrationv1.ValidatingAdmissionPolicy {
	variant := policy.DeepCopy()
	variant.Name = auditPrefix + policy.Name
	variant.Spec.FailurePolicy = new(admissionregistrationv1.Ignore)
	variant.Spec.MatchConstraints.NamespaceSelector = nil
	variant.Spec.MatchConstraints.ObjectSelector = nil
	if r.isClusterWide() {
		return variant
	}
	variant.Spec.MatchConditions = append(variant.Spec.MatchConditions,
		admissionregistrationv1.MatchCondition{
			Name:       "not-excluded",
			Expression: "!has(params.spec.excludeNamespaces) || !(request.namespace in params.spec.excludeNamespaces)",
		},
		admissionregistrationv1.MatchCondition{
			Name: "not-excepted",
			Expression: fmt.Sprintf("!has(params.spec.exceptions) || !has(params.status.admission) || !has(params.status.admission.exceptions) || "+
				"!params.spec.exceptions.exists(e, e.name in params.status.admission.exceptions && '%s' in e.controls && request.namespace in e.namespaces)", r.control),
		})
	return variant
}

// loadFiles returns the objects in config/policies. They are shared: callers must copy an
// object before they change it.
var loadFiles = sync.OnceValue(func() []controls.Object {
	names, err := fs.Glob(policyfiles.Files, "*.yaml")
	if err != nil {
		panic(fmt.Sprintf("listing config/policies: %v", err))
	}
	var objects []controls.Object
	for _, name := range names {
		if name == "kustomization.yaml" {
			continue
		}
		decoded, err := decodeFile(name)
		if err != nil {
			// The files are part of the executable, so this is a programming error.
			panic(fmt.Sprintf("decoding config/policies/%s: %v", name, err))
		}
		objects = append(objects, decoded...)
	}
	return objects
})

// decoder decodes admission policies and their bindings.
var decoder = sync.OnceValue(func() runtime.Decoder {
	scheme := runtime.NewScheme()
	if err := admissionregistrationv1.AddToScheme(scheme); err != nil {
		panic(fmt.Sprintf("adding admissionregistration/v1 to the scheme: %v", err))
	}
	return serializer.NewCodecFactory(scheme).UniversalDeserializer()
})

// decodeFile returns the objects in one file of config/policies.
func decodeFile(name string) ([]controls.Object, error) {
	data, err := policyfiles.Files.ReadFile(name)
	if err != nil {
		return nil, err
	}
	var objects []controls.Object
	documents := yaml.NewYAMLReader(bufio.NewReader(bytes.NewReader(data)))
	for {
		document, err := documents.Read()
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, err
		}
		object, _, err := decoder().Decode(document, nil, nil)
		if err != nil {
			return nil, err
		}
		objects = append(objects, object.(controls.Object))
	}
}
