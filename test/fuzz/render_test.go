package fuzz

import (
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/diff"
	"github.com/securitybaseline/operator/controllers/policies"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// baselineTemplate is a baseline that selects all namespaces. %s stands for further
// fields of the spec.
const baselineTemplate = "{apiVersion: securitybaseline.io/v1alpha1, kind: SecurityBaseline, metadata: {name: a}, spec: {namespaceSelector: {}, %s}}"

// edgeCases are specs that fuzzing found, by the field in the error of the CRD. The CRD
// accepts those without a field.
var edgeCases = map[string][]string{
	"spec.resources.quota": {
		`resources: {quota: {hard: {pods: "1e1.5"}}}`,
		`resources: {quota: {hard: {pods: "1e100"}}}`,
		`resources: {quota: {hard: {pods: "1e-100"}}}`,
		`resources: {quota: {hard: {pods: -1}}}`,
		`resources: {quota: {hard: {pods: 500m}}}`,
		`resources: {quota: {hard: {pods: 9007199254740993000}}}`,
		`resources: {quota: {hard: {foo: 1}}}`,
		`resources: {quota: {hard: {services: 1}, scopes: [Terminating]}}`,
		`resources: {quota: {hard: {services: 1}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: Exists}]}}}`,
		`resources: {quota: {hard: {pods: 1}, scopeSelector: {matchExpressions: [{scopeName: Foo, operator: Exists}]}}}`,
		`resources: {quota: {hard: {pods: 1}, scopeSelector: {matchExpressions: [{scopeName: Terminating, operator: In, values: [a]}]}}}`,
		`resources: {quota: {hard: {pods: 1}, scopeSelector: {matchExpressions: [{scopeName: PriorityClass, operator: In}]}}}`,
	},
	"spec.resources.limitRange.limits[0]": {
		`resources: {limitRange: {limits: [{type: Container, max: {pods: 1}}]}}`,
		`resources: {limitRange: {limits: [{type: Container, min: {ephemeral-storage: 2Gi}, max: {ephemeral-storage: 1Gi}}]}}`,
		`resources: {limitRange: {limits: [{type: Container, defaultRequest: {cpu: 2}, max: {cpu: 1}}]}}`,
		`resources: {limitRange: {limits: [{type: Container, min: {cpu: 2}, default: {cpu: 1}}]}}`,
		`resources: {limitRange: {limits: [{type: Container, min: {cpu: 2}, defaultRequest: {cpu: 1}}]}}`,
		`resources: {limitRange: {limits: [{type: Container, maxLimitRequestRatio: {cpu: 500m}}]}}`,
		`resources: {limitRange: {limits: [{type: Container, min: {cpu: 1}, max: {cpu: 2}, maxLimitRequestRatio: {cpu: 3}}]}}`,
		`resources: {limitRange: {limits: [{type: Container, min: {cpu: 0}, max: {cpu: 1e30}, maxLimitRequestRatio: {cpu: 3E}}]}}`,
		`resources: {limitRange: {limits: [{type: Container, min: {cpu: 1n}, max: {cpu: 100u}, maxLimitRequestRatio: {cpu: 2}}]}}`,
		`resources: {limitRange: {limits: [{type: Container, defaultRequest: {example.com/gpu: 1}, max: {example.com/gpu: 2}}]}}`,
		`resources: {limitRange: {limits: [{type: PersistentVolumeClaim, max: {storage: 1Gi, foo: 1}}]}}`,
	},
	"spec.exceptions[0].expirationTime": {
		`guard: {}, exceptions: [{name: a, namespaces: [a], controls: [Guard], reason: ten letters, expirationTime: "2025-02-30T00:00:00Z"}]`,
		`guard: {}, exceptions: [{name: a, namespaces: [a], controls: [Guard], reason: ten letters, expirationTime: "0000-00-01T00:00:00Z"}]`,
		`guard: {}, exceptions: [{name: a, namespaces: [a], controls: [Guard], reason: ten letters, expirationTime: "9999-12-31T23:59:59-23:59"}]`,
	},
	"spec.network.policies[0].spec.podSelector.matchExpressions[0].key": {
		`network: {policies: [{name: a, spec: {podSelector: {matchExpressions: [{operator: Exists, key: ` + longLabel + `}]}}}]}`,
	},
	"": {
		`guard: {}, priority: 1e9`,
	},
}

// readSamples returns the baselines in config/samples, by name.
func readSamples(tb testing.TB) map[string][]byte {
	tb.Helper()
	paths, err := filepath.Glob("../../config/samples/*.yaml")
	if err != nil {
		tb.Fatal(err)
	}
	documents := map[string][]byte{}
	for _, path := range paths {
		if documents[strings.TrimSuffix(filepath.Base(path), ".yaml")], err = os.ReadFile(path); err != nil {
			tb.Fatal(err)
		}
	}
	delete(documents, "kustomization")
	if len(documents) == 0 {
		tb.Fatal("got no samples, want at least one")
	}
	return documents
}

// seed is a sample and random data to mix into it.
type seed struct {
	sample string
	random []byte
}

func seeds(samples map[string][]byte) []seed {
	const random = 64
	all := make([]seed, 0, 2*len(samples)+random)
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		all = append(all, seed{sample: name}, seed{sample: name, random: []byte(name)})
	}
	for i := range byte(random) {
		all = append(all, seed{random: []byte{i, i, i, i, i, i, i, i}})
	}
	return all
}

// FuzzRender creates baselines from a sample, or from the template, and random data. For
// each baseline that the API server accepts, it checks that the operator can read it, and
// that rendering is deterministic and changes nothing. The API server must accept the
// rendered objects, and they must not look like drift afterwards.
func FuzzRender(f *testing.F) {
	samples := readSamples(f)
	for _, initial := range seeds(samples) {
		f.Add(initial.sample, initial.random)
	}
	f.Fuzz(func(t *testing.T, sample string, random []byte) {
		object, namespace := mixedBaseline(t, samples[sample], random)
		checkBaseline(t, object, namespace)
	})
}

// The CRD once accepted these specs, but the objects were rejected in each namespace or
// could not be read or written.
func TestEdgeCases_AreRejectedOrRendered(t *testing.T) {
	for field, specs := range edgeCases {
		for _, edge := range specs {
			t.Run(edge, func(t *testing.T) {
				object, namespace := mixedBaseline(t, fmt.Appendf(nil, baselineTemplate, edge), nil)
				switch _, err := admit(object); {
				case field == "" && err != nil:
					t.Errorf("got error %v, want none", err)
				case field == "":
					checkBaseline(t, object, namespace)
				case err == nil || !strings.Contains(err.Error(), field):
					t.Errorf("got error %v, want one for %s", err, field)
				}
			})
		}
	}
}

// checkBaseline checks a baseline. It skips the test if the CRD rejects it.
func checkBaseline(t *testing.T, object map[string]any, namespace controls.Namespace) {
	t.Helper()
	admitted, err := admit(object)
	if err != nil {
		t.Skip(err)
	}
	data, err := admitted.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	baseline := &v1alpha1.SecurityBaseline{}
	if err := json.Unmarshal(data, baseline); err != nil {
		t.Fatalf("decoding an accepted baseline: got error %v, want none\n%s", err, data)
	}
	// The operator writes the baseline back, and its times into reports.
	if data, err = json.Marshal(baseline); err != nil {
		t.Fatal(err)
	}
	if object, err = decode(data); err != nil {
		t.Fatal(err)
	}
	if _, err := admit(object); err != nil {
		t.Errorf("writing an accepted baseline back: got error %v, want none", err)
	}
	checkRendered(t, baseline, namespace)
	checkPolicyBindings(t, baseline)
}

func checkRendered(t *testing.T, baseline *v1alpha1.SecurityBaseline, namespace controls.Namespace) {
	t.Helper()
	before := baseline.DeepCopy()
	for _, control := range controls.All {
		if !control.IsDeclared(&baseline.Spec) {
			continue
		}
		desired := control.Render(baseline, namespace)
		repeated := control.Render(baseline, namespace)
		if differences := cmp.Diff(desired, repeated); differences != "" {
			t.Fatalf("rendering %s twice: the results differ:\n%s", control.Name, differences)
		}
		if differences := cmp.Diff(before, baseline); differences != "" {
			t.Fatalf("rendering %s changed the baseline (-want +got):\n%s", control.Name, differences)
		}
		if _, err := createInAPIServer(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace.Name, Labels: desired.NamespaceLabels}}); err != nil {
			t.Errorf("%s: creating a namespace with labels %v: got error %v, want none", control.Name, desired.NamespaceLabels, err)
		}
		for i, want := range desired.Objects {
			if controls.Revision(want) != controls.Revision(repeated.Objects[i]) {
				t.Errorf("%s: %s: got different revisions, want the same", control.Name, want.GetName())
			}
			got, err := createInAPIServer(want)
			if err != nil {
				t.Errorf("%s: creating %s: got error %v, want none", control.Name, want.GetName(), err)
				continue
			}
			if differ := diff.Objects(got, want).ReportPaths(); len(differ) > 0 {
				t.Errorf("%s: %s: got differences in %v after creation, want none (-want +got):\n%s", control.Name, want.GetName(), differ, cmp.Diff(want, got))
			}
		}
	}
}

// checkPolicyBindings checks the policy bindings for a baseline.
func checkPolicyBindings(t *testing.T, baseline *v1alpha1.SecurityBaseline) {
	t.Helper()
	cluster := policies.Cluster{Protected: precedence.ProtectedNamespaces("operator"), IsMutatingServed: true, Owner: metav1.OwnerReference{
		APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "securitybaselines.securitybaseline.io", UID: "u",
	}}
	for _, needed := range policies.Objects([]v1alpha1.SecurityBaseline{*baseline}, cluster) {
		want := needed.Object
		if specOf(want) == nil {
			continue // a policy: the same for all baselines
		}
		got, err := createInAPIServer(want)
		if err != nil {
			t.Errorf("creating %s: got error %v, want none", want.GetName(), err)
			continue
		}
		if !equality.Semantic.DeepEqual(specOf(got), specOf(want)) {
			t.Errorf("%s differs after creation (-want +got):\n%s", want.GetName(), cmp.Diff(specOf(want), specOf(got)))
		}
	}
}

// TestSeeds_AreMostlyAccepted checks the seeds, because rejected ones test little.
func TestSeeds_AreMostlyAccepted(t *testing.T) {
	samples := readSamples(t)
	accepted := 0
	all := seeds(samples)
	for _, initial := range all {
		object, _ := mixedBaseline(t, samples[initial.sample], initial.random)
		if _, err := admit(object); err != nil {
			t.Log(err)
			continue
		}
		accepted++
	}
	t.Logf("%d of %d", accepted, len(all))
	if accepted*2 < len(all) {
		t.Errorf("got %d of %d accepted seeds, want at least half", accepted, len(all))
	}
}
