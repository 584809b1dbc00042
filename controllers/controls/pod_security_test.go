package controls

import (
	"testing"

	"github.com/google/go-cmp/cmp"
	podsecurityapi "k8s.io/pod-security-admission/api"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func levelVersion(t *testing.T, level, version string) podsecurityapi.LevelVersion {
	t.Helper()
	parsed, err := podsecurityapi.ParseVersion(version)
	if err != nil {
		t.Fatal(err)
	}
	return podsecurityapi.LevelVersion{Level: podsecurityapi.Level(level), Version: parsed}
}

func TestRolloutLevels_AboveReachedUpToRequired(t *testing.T) {
	const latest = "latest"
	for _, test := range []struct {
		name    string
		spec    v1alpha1.PodSecurity
		reached []string
		want    []string
	}{
		{"rollout immediate", v1alpha1.PodSecurity{Enforce: "restricted"}, nil, nil},
		{"nothing reached", v1alpha1.PodSecurity{Enforce: "restricted", Rollout: "WhenClean"}, nil, []string{"restricted:latest", "baseline:latest"}},
		{"privileged reached", v1alpha1.PodSecurity{Enforce: "restricted", Rollout: "WhenClean"}, []string{"privileged", latest}, []string{"restricted:latest", "baseline:latest"}},
		{"lower level reached", v1alpha1.PodSecurity{Enforce: "restricted", Rollout: "WhenClean"}, []string{"baseline", latest}, []string{"restricted:latest"}},
		{"required level below restricted", v1alpha1.PodSecurity{Enforce: "baseline", Rollout: "WhenClean"}, nil, []string{"baseline:latest"}},
		{"required level reached", v1alpha1.PodSecurity{Enforce: "restricted", Rollout: "WhenClean"}, []string{"restricted", latest}, nil},
		{"stricter level reached", v1alpha1.PodSecurity{Enforce: "baseline", Rollout: "WhenClean"}, []string{"restricted", latest}, nil},
		{"older version reached", v1alpha1.PodSecurity{Enforce: "baseline", Rollout: "WhenClean"}, []string{"baseline", "v1.30"}, []string{"baseline:latest"}},
		{"newer version reached", v1alpha1.PodSecurity{Enforce: "baseline", Rollout: "WhenClean", Version: "v1.30"}, []string{"baseline", latest}, nil},
		{"no level required", v1alpha1.PodSecurity{Warn: "restricted", Rollout: "WhenClean"}, nil, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			var reached podsecurityapi.LevelVersion
			if test.reached != nil {
				reached = levelVersion(t, test.reached[0], test.reached[1])
			}
			var got []string
			for _, level := range RolloutLevels(&v1alpha1.SecurityBaselineSpec{PodSecurity: &test.spec}, reached) {
				got = append(got, level.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("rollout levels differ (-want +got):\n%s", diff)
			}
		})
	}
}
