package podsecurity

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	podsecurityapi "k8s.io/pod-security-admission/api"
	podsecuritypolicy "k8s.io/pod-security-admission/policy"
	clocktesting "k8s.io/utils/clock/testing"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

func TestParseWarnings(t *testing.T) {
	const header = `existing pods in namespace "n" violate the new PodSecurity enforce level "restricted:latest"`
	many := append(make([]string, 0, 102), header)
	for i := range 101 {
		many = append(many, fmt.Sprintf("p-%d: privileged", i))
	}
	for _, test := range []struct {
		name   string
		warned []string
		pods   []v1alpha1.PodViolation
		listed int
		rest   string
	}{
		{name: "nothing said is nothing found"},
		{
			name:   "each line is a kind of pods",
			warned: []string{header, "web-1: privileged", "web.2 (and 1 other pod): host namespaces, hostPort", "x (and 12 other pods): seccompProfile"},
			pods: []v1alpha1.PodViolation{
				{Pods: "web-1", Reasons: "privileged"}, {Pods: "web.2 (and 1 other pod)", Reasons: "host namespaces, hostPort"},
				{Pods: "x (and 12 other pods)", Reasons: "seccompProfile"},
			},
		},
		{
			name:   "what others warn of is not about pods",
			warned: []string{"deprecated: use another API", "Validation failed for ValidatingAdmissionPolicy 'x' with binding 'y': no"},
		},
		{
			name:   "nor is it among what is",
			warned: []string{"deprecated: use another API", header, "web-1: privileged", "Validation failed for ValidatingAdmissionPolicy 'x' with binding 'y': no"},
			pods:   []v1alpha1.PodViolation{{Pods: "web-1", Reasons: "privileged"}},
		},
		{
			name:   "pods that were not looked at",
			warned: []string{"new PodSecurity enforce level only checked against the first 3000 of 4000 existing pods"},
			rest:   "new PodSecurity enforce level only checked against the first 3000 of 4000 existing pods",
		},
		{
			name:   "pods that could not be listed",
			warned: []string{"failed to list pods while checking new PodSecurity enforce level"},
			rest:   "failed to list pods while checking new PodSecurity enforce level",
		},
		{name: "violations of pods that are not named", warned: []string{header}, rest: "pods violate the level; the API server named none"},
		{name: "more than are listed", warned: many, listed: 100, rest: "1 more violations are not listed"},
		{
			name:   "an answer as long as it can be",
			warned: append([]string{header}, strings.Split(strings.Repeat("a: "+strings.Repeat("x", 253)+"\n", 16), "\n")...),
			listed: 16, rest: "the API server truncated its warnings, so more pods may violate the level",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := parseWarnings(test.warned)
			if got.incomplete != test.rest {
				t.Errorf("the rest: %q", got.incomplete)
			}
			if test.listed > 0 {
				if len(got.violations) != test.listed {
					t.Errorf("%d violations", len(got.violations))
				}
				return
			}
			if diff := cmp.Diff(test.pods, got.violations); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}

// An equivalent version has the same checks, or more.
func TestEquivalentVersion_HasNoFewerChecks(t *testing.T) {
	checks := func(version podsecurityapi.Version) string {
		var in []string
		for _, check := range podsecuritypolicy.DefaultChecks() {
			for _, revision := range slices.Backward(check.Versions) {
				if !version.Older(revision.MinimumVersion) {
					in = append(in, fmt.Sprintf("%s since %s", check.ID, revision.MinimumVersion))
					break
				}
			}
		}
		return strings.Join(in, ", ")
	}
	unlike := 0
	versions := append(make([]podsecurityapi.Version, 0, 61), podsecurityapi.LatestVersion())
	for minor := range 60 {
		versions = append(versions, podsecurityapi.MajorMinorVersion(1, minor))
	}
	for _, version := range versions {
		other := equivalentVersion(version)
		if other == version {
			t.Errorf("%s is no other version", other)
		}
		if checks(other) != checks(version) {
			unlike++
			if !version.Older(other) {
				t.Errorf("%s has fewer checks than %s", other, version)
			}
		}
	}
	if unlike > len(versions)/10 {
		t.Errorf("%d of %d versions have no equivalent", unlike, len(versions))
	}
}

// Another author's older version of the standards was not reached.
func TestReachedLevel_ForeignVersionIsNotReached(t *testing.T) {
	older := podsecurityapi.LevelVersion{Level: podsecurityapi.LevelRestricted, Version: podsecurityapi.MajorMinorVersion(1, 20)}
	latest := podsecurityapi.LevelVersion{Level: podsecurityapi.LevelRestricted, Version: podsecurityapi.LatestVersion()}
	in := Input{OwnedLabels: sets.New(podsecurityapi.EnforceLevelLabel), Level: latest}
	if got := reachedLevel(in, older); got != latest {
		t.Errorf("operator owns only the level: got %s, want %s", got, latest)
	}
	in.OwnedLabels.Insert(podsecurityapi.EnforceVersionLabel)
	if got := reachedLevel(in, older); got != older {
		t.Errorf("operator owns level and version: got %s, want %s", got, older)
	}
}

// Where both the label and the report are gone, the level that the pods met a moment ago is
// enforced again. The Checker has no client, so it must not ask.
func TestEvaluate_EnforcesRecentResultWithoutAsking(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	spec := &v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted", Rollout: v1alpha1.RolloutWhenClean}}
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}
	i := slices.IndexFunc(controls.All, func(control controls.Control) bool { return control.Name == v1alpha1.ControlPodSecurity })
	passiveClock := clocktesting.NewFakePassiveClock(now)
	checker := &Checker{Clock: passiveClock, Results: &Results{}}
	checker.Results.answers.Set("u/restricted:latest", cachedResult{checkResult: checkResult{violations: []v1alpha1.PodViolation{{Pods: "a", Reasons: "seccompProfile"}}}}, now)
	checker.Results.answers.Set("u/baseline:latest", cachedResult{}, now)
	passiveClock.SetTime(now.Add(checkInterval / 2))
	got, err := checker.Assess(t.Context(), Input{Namespace: namespace, Spec: spec, Level: controls.All[i].EnforcedLevel(spec)})
	if err != nil {
		t.Fatal(err)
	}
	if got.Enforced.String() != "baseline:latest" || got.isKnown && got.isClean() {
		t.Errorf("got level %s, result %+v; want baseline:latest with violations", got.Enforced, got.checkResult)
	}
}

func TestTriggersCheck(t *testing.T) {
	level := func(text string) podsecurityapi.LevelVersion {
		name, version, _ := strings.Cut(text, ":")
		parsed, err := podsecurityapi.ParseVersion(version)
		if err != nil {
			t.Fatal(err)
		}
		return podsecurityapi.LevelVersion{Level: podsecurityapi.Level(name), Version: parsed}
	}
	for _, test := range []struct {
		from, to string
		want     bool
	}{
		{"privileged:latest", "baseline:latest", true},
		{"baseline:latest", "baseline:latest", false},
		{"restricted:latest", "baseline:latest", false},
		{"restricted:v1.30", "baseline:latest", true},
		{"baseline:latest", "baseline:v1.1000", true},
		{"restricted:v1.30", "privileged:latest", false},
	} {
		if got := isCheckTriggered(level(test.from), level(test.to)); got != test.want {
			t.Errorf("from %s to %s: got %t, want %t", test.from, test.to, got, test.want)
		}
	}
}

// A result that was obtained for one baseline also serves another.
func TestCachedResult_DuringRolloutRaisesNoLevel(t *testing.T) {
	violated := checkResult{violations: []v1alpha1.PodViolation{{Pods: "a", Reasons: "seccompProfile"}}}
	incomplete := checkResult{incomplete: "Deployment/web is being rolled out"}
	for _, test := range []struct {
		name   string
		cached cachedResult
		raises bool
		want   checkResult
	}{
		{name: "no rollout", raises: true},
		{name: "rollout", cached: cachedResult{rollout: "Deployment/web"}, raises: true, want: incomplete},
		{name: "rollout, but no level to raise", cached: cachedResult{rollout: "Deployment/web"}},
		{name: "rollout and violating pods", cached: cachedResult{checkResult: violated, rollout: "Deployment/web"}, raises: true, want: violated},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.cached.decisive(test.raises), cmp.AllowUnexported(checkResult{})); diff != "" {
				t.Errorf("result (-want +got):\n%s", diff)
			}
		})
	}
}
