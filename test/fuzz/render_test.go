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
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/controllers/policies"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// header is a baseline that selects everything and says nothing yet.
const baselineTemplate = "{apiVersion: securitybaseline.io/v1alpha1, kind: SecurityBaseline, metadata: {name: a}, spec: {namespaceSelector: {}, %s}}"

// edges are what fuzzing found, by the field that the CRD names as it refuses it; what it
// takes has none.
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

// samples are the documents of config/samples, by name.
func samples(tb testing.TB) map[string][]byte {
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
		tb.Fatal("there are no samples")
	}
	return documents
}

// seed is a sample and random data that is mixed into it.
type seed struct {
	sample string
	random []byte
}

func seeds(samples map[string][]byte) []seed {
	const random = 64
	seeds := make([]seed, 0, 2*len(samples)+random)
	for _, name := range slices.Sorted(maps.Keys(samples)) {
		seeds = append(seeds, seed{name, nil}, seed{name, []byte(name)})
	}
	for i := range byte(random) {
		seeds = append(seeds, seed{"", []byte{i, i, i, i, i, i, i, i}})
	}
	return seeds
}

// FuzzRender checks of any baseline that the API server takes that the operator can
// read it, that rendering it is deterministic and changes nothing, that the API
// server takes all that is rendered, and that what it then returns does not look
// like a drift. It makes baselines of a sample, or of none, and random data.
func FuzzRender(f *testing.F) {
	samples := samples(f)
	for _, seed := range seeds(samples) {
		f.Add(seed.sample, seed.random)
	}
	f.Fuzz(func(t *testing.T, sample string, random []byte) {
		object, namespace := mixedBaseline(t, samples[sample], random)
		checkBaseline(t, object, namespace)
	})
}

// What fuzzing found: it was taken once, and then refused in each namespace, or could
// not be read or written.
func TestEdges(t *testing.T) {
	for field, specs := range edgeCases {
		for _, edge := range specs {
			t.Run(edge, func(t *testing.T) {
				object, namespace := mixedBaseline(t, fmt.Appendf(nil, baselineTemplate, edge), nil)
				switch _, err := admit(object); {
				case field == "" && err != nil:
					t.Errorf("it is refused: %v", err)
				case field == "":
					checkBaseline(t, object, namespace)
				case err == nil || !strings.Contains(err.Error(), field):
					t.Errorf("it is not refused for its %s: %v", field, err)
				}
			})
		}
	}
}

// check checks a baseline, unless the CRD refuses it.
func checkBaseline(t *testing.T, object map[string]any, namespace controls.Namespace) {
	t.Helper()
	taken, err := admit(object)
	if err != nil {
		t.Skip(err)
	}
	data, err := taken.MarshalJSON()
	if err != nil {
		t.Fatal(err)
	}
	baseline := &v1alpha1.SecurityBaseline{}
	if err := json.Unmarshal(data, baseline); err != nil {
		t.Fatalf("the API server takes what the operator cannot read: %v\n%s", err, data)
	}
	// The operator writes it back, and its times into reports.
	if data, err = json.Marshal(baseline); err != nil {
		t.Fatal(err)
	}
	if object, err = decode(data); err != nil {
		t.Fatal(err)
	}
	if _, err := admit(object); err != nil {
		t.Errorf("the API server refuses what it took when the operator writes it back: %v", err)
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
		desired, again := control.Render(baseline, namespace), control.Render(baseline, namespace)
		if diff := cmp.Diff(desired, again); diff != "" {
			t.Fatalf("%s is rendered in two ways:\n%s", control.Name, diff)
		}
		if diff := cmp.Diff(before, baseline); diff != "" {
			t.Fatalf("rendering %s changes the baseline:\n%s", control.Name, diff)
		}
		if _, err := createInAPIServer(&corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace.Name, Labels: desired.NamespaceLabels}}); err != nil {
			t.Errorf("%s: the API server refuses the labels %v: %v", control.Name, desired.NamespaceLabels, err)
		}
		for i, want := range desired.Objects {
			if controls.Revision(want) != controls.Revision(again.Objects[i]) {
				t.Errorf("%s: %s has two revisions", control.Name, want.GetName())
			}
			have, err := createInAPIServer(want)
			if err != nil {
				t.Errorf("%s: the API server refuses %s: %v", control.Name, want.GetName(), err)
				continue
			}
			if differ := enforcement.Differing(have, want); len(differ) > 0 {
				t.Errorf("%s: %s differs in %v as soon as it is written:\n%s", control.Name, want.GetName(), differ, cmp.Diff(want, have))
			}
		}
	}
}

// checkBindings checks the bindings of admission policies that a baseline needs.
func checkPolicyBindings(t *testing.T, baseline *v1alpha1.SecurityBaseline) {
	t.Helper()
	cluster := policies.Cluster{Protected: precedence.Protected("operator"), Mutating: true, Owner: metav1.OwnerReference{
		APIVersion: "apiextensions.k8s.io/v1", Kind: "CustomResourceDefinition", Name: "securitybaselines.securitybaseline.io", UID: "u",
	}}
	for _, needed := range policies.Objects([]v1alpha1.SecurityBaseline{*baseline}, cluster) {
		want := needed.Object
		if specOf(want) == nil {
			continue // a policy, which is the same for every baseline
		}
		have, err := createInAPIServer(want)
		if err != nil {
			t.Errorf("the API server refuses %s: %v", want.GetName(), err)
			continue
		}
		if !equality.Semantic.DeepEqual(specOf(have), specOf(want)) {
			t.Errorf("%s differs as soon as it is written:\n%s", want.GetName(), cmp.Diff(specOf(want), specOf(have)))
		}
	}
}

// A fuzzer whose inputs are refused proves nothing.
func TestTheCRDTakesMostSeeds(t *testing.T) {
	samples, taken := samples(t), 0
	all := seeds(samples)
	for _, seed := range all {
		object, _ := mixedBaseline(t, samples[seed.sample], seed.random)
		if _, err := admit(object); err != nil {
			t.Log(err)
			continue
		}
		taken++
	}
	t.Logf("%d of %d", taken, len(all))
	if taken*2 < len(all) {
		t.Errorf("the CRD takes only %d of %d seeds", taken, len(all))
	}
}
