package fuzz

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"slices"
	"strings"
	"sync"
	"testing"
	"unicode/utf8"

	"github.com/distribution/reference"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apiserver/pkg/admission"
	"k8s.io/apiserver/pkg/admission/plugin/cel"
	"k8s.io/apiserver/pkg/admission/plugin/policy/validating"
	celconfig "k8s.io/apiserver/pkg/apis/cel"
	"k8s.io/apiserver/pkg/authentication/user"
	"k8s.io/apiserver/pkg/cel/environment"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// imagesPolicy is config/policies/images.yaml, compiled like in the API server.
// https://github.com/kubernetes/kubernetes/blob/v1.37.2/staging/src/k8s.io/apiserver/pkg/admission/plugin/policy/validating/plugin.go
var imagesPolicy = sync.OnceValues(func() (validating.Validator, error) {
	data, err := os.ReadFile("../../config/policies/images.yaml")
	if err != nil {
		return nil, err
	}
	var policy admissionregistrationv1.ValidatingAdmissionPolicy
	if err := yaml.UnmarshalStrict(data, &policy); err != nil {
		return nil, err
	}
	compiler, err := cel.NewCompositedCompiler(environment.MustBaseEnvSet(environment.DefaultCompatibilityVersion()))
	if err != nil {
		return nil, err
	}
	with := cel.OptionalVariableDeclarations{HasParams: true, HasAuthorizer: true}
	for _, variable := range policy.Spec.Variables {
		result := compiler.CompileAndStoreVariable(&validating.Variable{Name: variable.Name, Expression: variable.Expression}, with, environment.StoredExpressions)
		if result.Error != nil {
			return nil, result.Error
		}
	}
	var validations, messages []cel.ExpressionAccessor
	for _, validation := range policy.Spec.Validations {
		validations = append(validations, &validating.ValidationCondition{Expression: validation.Expression, Message: validation.Message, Reason: validation.Reason})
		messages = append(messages, &validating.MessageExpressionCondition{MessageExpression: validation.MessageExpression})
	}
	return validating.NewValidator(
		compiler.CompileCondition(validations, with, environment.StoredExpressions), nil,
		compiler.CompileCondition(nil, with, environment.StoredExpressions),
		compiler.CompileCondition(messages, cel.OptionalVariableDeclarations{HasParams: true}, environment.StoredExpressions),
		policy.Spec.FailurePolicy, nil,
	), nil
})

// evaluateImagesPolicy returns the decisions of the policy about a pod with this image:
// whether it is a valid reference, whether its registry is allowed, and whether it has a
// digest.
func evaluateImagesPolicy(t *testing.T, image string, baseline *unstructured.Unstructured) []validating.PolicyDecision {
	t.Helper()
	policy, err := imagesPolicy()
	if err != nil {
		t.Fatal(err)
	}
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{Name: "a", Namespace: "a"}, Spec: corev1.PodSpec{Containers: []corev1.Container{{Name: "app", Image: image}}},
	}
	pods := corev1.SchemeGroupVersion.WithResource("pods")
	kind := corev1.SchemeGroupVersion.WithKind("Pod")
	attributes := &admission.VersionedAttributes{
		Attributes: admission.NewAttributesRecord(pod, nil, kind, pod.Namespace, pod.Name, pods, "", admission.Create,
			&metav1.CreateOptions{}, false, &user.DefaultInfo{Name: "alice"}),
		VersionedKind: kind, VersionedObject: admission.NewLazyObject(pod),
	}
	result := policy.Validate(context.Background(), pods, attributes, baseline, nil, celconfig.RuntimeCELCostBudget, nil)
	for i, decision := range result.Decisions {
		if decision.Evaluation == validating.EvalError {
			t.Fatalf("validation %d of %q: %s", i, image, decision.Message)
		}
	}
	if len(result.Decisions) != 3 {
		t.Fatalf("got %d decisions, want 3: %v", len(result.Decisions), result.Decisions)
	}
	return result.Decisions
}

// imageID matches complete and abbreviated image IDs. A container runtime interprets
// them as images that are already on the node.
var imageID = regexp.MustCompile("^sha(256|384|512):[^/]*$")

// parseImage parses an image with distribution/reference, like the kubelet.
func parseImage(image string) (reference.Named, error) {
	named, err := reference.ParseNormalizedNamed(image)
	switch {
	case err != nil:
		return nil, err
	case imageID.MatchString(image):
		return nil, errors.New("image ID instead of a reference")
	case reference.Domain(named) == "":
		return nil, errors.New("reference without a host")
	}
	return named, nil
}

// isAllowed reports whether the registry and path of an image match one of the allowed
// registries.
func isAllowed(named reference.Named, registries []string) bool {
	return slices.ContainsFunc(registries, func(registry string) bool {
		host, path, _ := strings.Cut(strings.TrimSuffix(registry, "/"), "/")
		return strings.EqualFold(host, reference.Domain(named)) &&
			(path == "" || strings.HasPrefix(reference.Path(named)+"/", path+"/"))
	})
}

// FuzzImages checks that the images policy parses images like distribution/reference,
// and that it applies allowed registries correctly.
func FuzzImages(f *testing.F) {
	const digest = "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
	registryLists := []string{strings.Join(registries, " "), "docker.io", "localhost", "a.b:1/c/ quay.io/d", ""}
	for i, image := range []string{
		"nginx", "library/nginx", "docker.io/nginx:1", "index.docker.io/a/b", "DOCKER.IO/library/nginx", "a/b/c", "registry.example.com", "registry.example.com/a:v1",
		"registry.example.com/a@" + digest, "Registry.Example.com/a:v1@" + digest, "registry.example.com.evil.io/a", "user@registry.example.com/a",
		"https://registry.example.com/a", "registry.example.com//a", "registry.example.com./a", "harbor.example.com:5000/team/app", "harbor.example.com:5000/team-b",
		"harbor.example.com:5000/team:1", "harbor.example.com:/team/app", "ghcr.io/acme", "localhost/a", "localhost:5000/a", "LOCALHOST/a", "[2001:db8::1]:5000/a", "[::1]/a",
		"[::]:1", "mixed.example.com/a/b", "Mixed/a", "NGINX", "a:V1", "a@md5:0123456789abcdef0123456789abcdef", "a@" + digest[:20], digest, digest[7:], "sha256:5000/a",
		"sha512:abc", "a__b/c--d", "a_b/c___d", "a..b", ".a", "a-", "\u2028", "ü", "a b", "%", strings.Repeat("a", 256), "a.b/" + strings.Repeat("a/", 127) + "c", "a:" + strings.Repeat("t", 129),
	} {
		f.Add(image, registryLists[0], false)
		f.Add(image, registryLists[1+i%(len(registryLists)-1)], true)
	}
	f.Fuzz(func(t *testing.T, image, allow string, requireDigest bool) {
		if image != strings.TrimSpace(image) || image == "" || !utf8.ValidString(image) {
			t.Skip("Kubernetes rejects the image")
		}
		images := v1alpha1.Images{RequireDigest: requireDigest}
		registries := strings.Fields(allow)
		images.AllowedRegistries = registries
		object, _ := mixedBaseline(t, fmt.Appendf(nil, baselineTemplate, ""), nil)
		var err error
		if object["spec"].(map[string]any)["images"], err = runtime.DefaultUnstructuredConverter.ToUnstructured(&images); err != nil {
			t.Fatal(err)
		}
		baseline, err := admit(object)
		if err != nil {
			t.Skip(err)
		}
		named, err := parseImage(image)
		want := []bool{err == nil, true, true}
		if err == nil {
			digested, ok := named.(reference.Digested)
			want[1] = len(registries) == 0 || isAllowed(named, registries)
			want[2] = !requireDigest || ok && digested.Digest().Algorithm() == "sha256"
		}
		for i, decision := range evaluateImagesPolicy(t, image, baseline) {
			if got := decision.Action == validating.ActionAdmit; got != want[i] {
				t.Errorf("image %q with registries %q, validation %d: got %t (%s), want %t as distribution/reference parses %v (%v)", image, registries, i, got, decision.Message, want[i], named, err)
			}
		}
	})
}
