package controls

import (
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// TestRender_MatchesGoldenFiles renders each testdata/NAME.yaml, which holds a baseline
// and a namespace, and compares the result with testdata/NAME.golden.yaml. Run
// "go test -update" to rewrite the golden files.
func TestRender_MatchesGoldenFiles(t *testing.T) {
	inputs, err := filepath.Glob("testdata/*.yaml")
	if err != nil {
		t.Fatal(err)
	}
	for _, input := range inputs {
		name, isInput := strings.CutSuffix(filepath.Base(input), ".yaml")
		if strings.HasSuffix(name, ".golden") || !isInput {
			continue
		}
		t.Run(name, func(t *testing.T) {
			var in struct {
				Baseline  v1alpha1.SecurityBaseline
				Namespace struct {
					Labels, OwnedLabels map[string]string
					// ReachedLevel is a level and a version.
					ReachedLevel   []string
					HasDefaultDeny bool
					// Objects are unmanaged objects of kinds in the table.
					Objects []json.RawMessage
				}
			}
			readYAML(t, input, &in)
			in.Baseline.Name = "production"
			labels := map[string]string{}
			maps.Copy(labels, in.Namespace.Labels)
			maps.Copy(labels, in.Namespace.OwnedLabels)
			namespace := Namespace{
				Name: "payments", Labels: labels, OwnedLabels: sets.KeySet(in.Namespace.OwnedLabels), HasDefaultDeny: in.Namespace.HasDefaultDeny,
			}
			if reached := in.Namespace.ReachedLevel; len(reached) == 2 {
				namespace.ReachedLevel = levelVersion(t, reached[0], reached[1])
			}
			for _, data := range in.Namespace.Objects {
				namespace.Unmanaged = append(namespace.Unmanaged, readObject(t, data))
			}
			golden := strings.TrimSuffix(input, ".yaml") + ".golden.yaml"
			got := renderAll(t, &in.Baseline, namespace)
			if *update {
				if err := os.WriteFile(golden, []byte(got), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), got); diff != "" {
				t.Errorf("rendered objects differ from %s (-want +got):\n%s", golden, diff)
			}
		})
	}
}

func readYAML(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatal(err)
	}
}

// readObject returns an object of a kind in the table.
func readObject(t *testing.T, data json.RawMessage) Object {
	t.Helper()
	var meta metav1.TypeMeta
	if err := json.Unmarshal(data, &meta); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(Kinds(), func(kind *Kind) bool { return kind.Name() == meta.Kind })
	if i < 0 {
		t.Fatalf("no control manages or observes objects of kind %q", meta.Kind)
	}
	object := Kinds()[i].New()
	if err := yaml.UnmarshalStrict(data, object); err != nil {
		t.Fatal(err)
	}
	return object
}

// renderAll renders every control that the baseline declares, as YAML.
func renderAll(t *testing.T, baseline *v1alpha1.SecurityBaseline, namespace Namespace) string {
	t.Helper()
	var out strings.Builder
	for _, control := range All {
		if !control.IsDeclared(&baseline.Spec) {
			continue
		}
		desired := control.Render(baseline, namespace)
		summary := map[string]any{"control": control.Name}
		if len(desired.NamespaceLabels) > 0 {
			summary["namespaceLabels"] = desired.NamespaceLabels
		}
		if desired.StricterLabels.Len() > 0 {
			summary["stricterLabels"] = sets.List(desired.StricterLabels)
		}
		if len(desired.Findings) > 0 {
			summary["findings"] = desired.Findings
		}
		if len(desired.Violations) > 0 {
			summary["violations"] = desired.Violations
		}
		documents := []any{summary}
		for _, object := range desired.Objects {
			documents = append(documents, object)
		}
		for _, document := range documents {
			data, err := yaml.Marshal(document)
			if err != nil {
				t.Fatal(err)
			}
			out.WriteString("---\n" + string(data))
		}
	}
	return out.String()
}

// assertEqual fails the test if got differs from want. subject names what is compared.
func assertEqual[T any](t *testing.T, subject string, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", subject, diff)
	}
}

func TestRevision_ChangesWithRequirementsOnly(t *testing.T) {
	baseline := func(change func(*v1alpha1.SecurityBaselineSpec)) *v1alpha1.SecurityBaseline {
		out := &v1alpha1.SecurityBaseline{}
		out.Name = "a"
		out.Spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "baseline"}
		change(&out.Spec)
		return out
	}
	revision := func(b *v1alpha1.SecurityBaseline, namespace Namespace) string {
		return Revision(podSecurity.Render(b, namespace).NamespaceLabels)
	}
	unchanged := func(*v1alpha1.SecurityBaselineSpec) {}
	want := revision(baseline(unchanged), Namespace{Name: "n"})

	if got := revision(baseline(unchanged), Namespace{Name: "n"}); got != want {
		t.Errorf("revision of the same baseline: got %s, want %s", got, want)
	}
	// Otherwise an owner could hide drift by setting a stricter level for a moment.
	stricter := Namespace{Name: "n", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}
	if got := revision(baseline(unchanged), stricter); got != want {
		t.Errorf("revision with a stricter level of the owner: got %s, want %s", got, want)
	}
	changed := baseline(func(spec *v1alpha1.SecurityBaselineSpec) { spec.PodSecurity.Enforce = "restricted" })
	if got := revision(changed, Namespace{Name: "n"}); got == want {
		t.Errorf("revision with another level: got %s, want a different one", got)
	}
	renamed := baseline(unchanged)
	renamed.Name = "b"
	if got := revision(renamed, Namespace{Name: "n"}); got == want {
		t.Errorf("revision of another baseline: got %s, want a different one", got)
	}
}

func BenchmarkRender(b *testing.B) {
	data, err := os.ReadFile("testdata/network-policies.yaml")
	if err != nil {
		b.Fatal(err)
	}
	var in struct{ Baseline v1alpha1.SecurityBaseline }
	if err := yaml.Unmarshal(data, &in); err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		for _, object := range network.Render(&in.Baseline, Namespace{Name: "payments"}).Objects {
			Revision(object)
		}
	}
}
