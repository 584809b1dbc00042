package controls

import (
	"flag"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/apimachinery/pkg/util/sets"
	podsecurityapi "k8s.io/pod-security-admission/api"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

var update = flag.Bool("update", false, "write the golden files anew")

// TestRender renders each testdata/NAME.yaml, a baseline and a namespace, and
// compares with testdata/NAME.golden.yaml. To write these anew: go test -update.
func TestRender(t *testing.T) {
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
					Labels, OwnLabels map[string]string
					// Enforced is a level and a version.
					Enforced []string
					Denied   bool
				}
			}
			read(t, input, &in)
			in.Baseline.Name = "production"
			labels := map[string]string{}
			maps.Copy(labels, in.Namespace.Labels)
			maps.Copy(labels, in.Namespace.OwnLabels)
			namespace := Namespace{Name: "payments", Labels: labels, OwnedLabels: sets.KeySet(in.Namespace.OwnLabels), HasDefaultDeny: in.Namespace.Denied}
			if reached := in.Namespace.Enforced; len(reached) == 2 {
				namespace.ReachedLevel = levelVersion(t, reached[0], reached[1])
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
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func read(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := yaml.UnmarshalStrict(data, into); err != nil {
		t.Fatal(err)
	}
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
			summary["keptLabels"] = sets.List(desired.StricterLabels)
		}
		if len(desired.Findings) > 0 {
			summary["findings"] = desired.Findings
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

func equal[T any](t *testing.T, want, got T) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

func levelVersion(t *testing.T, level, version string) podsecurityapi.LevelVersion {
	t.Helper()
	parsed, err := podsecurityapi.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	return podsecurityapi.LevelVersion{Level: podsecurityapi.Level(level), Version: parsed}
}

func TestRollout(t *testing.T) {
	const latest = "latest"
	for _, test := range []struct {
		name    string
		want    v1alpha1.PodSecurity
		reached []string
		next    []string
	}{
		{"at once", v1alpha1.PodSecurity{Enforce: "restricted"}, nil, nil},
		{"from nothing", v1alpha1.PodSecurity{Enforce: "restricted", Rollout: "WhenClean"}, nil, []string{"restricted:latest", "baseline:latest"}},
		{"from privileged", v1alpha1.PodSecurity{Enforce: "restricted", Rollout: "WhenClean"}, []string{"privileged", latest}, []string{"restricted:latest", "baseline:latest"}},
		{"from below", v1alpha1.PodSecurity{Enforce: "restricted", Rollout: "WhenClean"}, []string{"baseline", latest}, []string{"restricted:latest"}},
		{"not above what is wanted", v1alpha1.PodSecurity{Enforce: "baseline", Rollout: "WhenClean"}, nil, []string{"baseline:latest"}},
		{"it is reached", v1alpha1.PodSecurity{Enforce: "restricted", Rollout: "WhenClean"}, []string{"restricted", latest}, nil},
		{"more is reached", v1alpha1.PodSecurity{Enforce: "baseline", Rollout: "WhenClean"}, []string{"restricted", latest}, nil},
		{"of an older version", v1alpha1.PodSecurity{Enforce: "baseline", Rollout: "WhenClean"}, []string{"baseline", "v1.30"}, []string{"baseline:latest"}},
		{"of a newer version", v1alpha1.PodSecurity{Enforce: "baseline", Rollout: "WhenClean", Version: "v1.30"}, []string{"baseline", latest}, nil},
		{"nothing is asked for", v1alpha1.PodSecurity{Warn: "restricted", Rollout: "WhenClean"}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var reached podsecurityapi.LevelVersion
			if test.reached != nil {
				reached = levelVersion(t, test.reached[0], test.reached[1])
			}
			var next []string
			for _, level := range RolloutLevels(&v1alpha1.SecurityBaselineSpec{PodSecurity: &test.want}, reached) {
				next = append(next, level.String())
			}
			if diff := cmp.Diff(test.next, next); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

func TestRevision(t *testing.T) {
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
	same := func(*v1alpha1.SecurityBaselineSpec) {}
	first := revision(baseline(same), Namespace{Name: "n"})

	if again := revision(baseline(same), Namespace{Name: "n"}); again != first {
		t.Errorf("the same baseline renders to %s and %s", first, again)
	}
	// Else an owner could hide a drift behind a moment of strictness.
	strict := Namespace{Name: "n", Labels: map[string]string{"pod-security.kubernetes.io/enforce": "restricted"}}
	if kept := revision(baseline(same), strict); kept != first {
		t.Errorf("what an owner keeps stricter changes the revision from %s to %s", first, kept)
	}
	changed := baseline(func(spec *v1alpha1.SecurityBaselineSpec) { spec.PodSecurity.Enforce = "restricted" })
	if revision(changed, Namespace{Name: "n"}) == first {
		t.Error("another level has the same revision")
	}
	renamed := baseline(same)
	renamed.Name = "b"
	if revision(renamed, Namespace{Name: "n"}) == first {
		t.Error("another baseline has the same revision")
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
