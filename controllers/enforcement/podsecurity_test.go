package enforcement

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

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

func TestVerdict(t *testing.T) {
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
			listed: 16, rest: "the API server's answer was too long and is cut",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			got := verdictIn(test.warned)
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

// Of each version, checks are the same as of the equivalent one, or more.
func TestEquivalent(t *testing.T) {
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
		other := equivalent(version)
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

// Where nothing is known, a baseline that rejects nothing has nothing to wait for.
func TestALevelThatRejectsNothingIsReached(t *testing.T) {
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: "a"}}
	baseline.Spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "privileged", Rollout: v1alpha1.RolloutWhenClean}
	r := &run{Task: &Task{Control: controls.All[0], Baseline: baseline}, Enforcer: &Enforcer{Now: time.Now}, namespace: &metav1.PartialObjectMetadata{}}
	r.render(t.Context())
	want := map[string]string{podsecurityapi.EnforceLevelLabel: "privileged", podsecurityapi.EnforceVersionLabel: "latest"}
	for key, value := range want {
		if got := r.desired.NamespaceLabels[key]; got != value {
			t.Errorf("%s=%s", key, got)
		}
	}
}

// Where no report says what was reached, somebody's older version of the standards is not it.
func TestAVersionOfSomebodyElseWasNotReached(t *testing.T) {
	older := podsecurityapi.LevelVersion{Level: podsecurityapi.LevelRestricted, Version: podsecurityapi.MajorMinorVersion(1, 20)}
	r := &run{Task: &Task{}, ownLabels: sets.New(podsecurityapi.EnforceLevelLabel)}
	if reached := r.reached(older, podsecurityapi.LatestVersion()); reached.String() != "restricted:latest" {
		t.Errorf("%s was reached", reached)
	}
	r.ownLabels.Insert(podsecurityapi.EnforceVersionLabel)
	if reached := r.reached(older, podsecurityapi.LatestVersion()); reached != older {
		t.Errorf("%s was reached", reached)
	}
}

// Where the label and the report that say what was reached are both gone, what pods meet
// is enforced again, though it was asked a moment ago.
func TestALevelIsReachedAgainAtOnce(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	baseline := &v1alpha1.SecurityBaseline{Spec: v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted", Rollout: v1alpha1.RolloutWhenClean}}}
	namespace := &metav1.PartialObjectMetadata{ObjectMeta: metav1.ObjectMeta{Name: "n", UID: "u"}}
	i := slices.IndexFunc(controls.All, func(control controls.Control) bool { return control.Name == v1alpha1.ControlPodSecurity })
	r := &run{Enforcer: &Enforcer{Now: func() time.Time { return now }}, Task: &Task{Control: controls.All[i], Baseline: baseline}, namespace: namespace}
	r.answers.set("u/restricted:latest", answer{verdict: verdict{violations: []v1alpha1.PodViolation{{Pods: "a", Reasons: "seccompProfile"}}}}, now)
	r.answers.set("u/baseline:latest", answer{}, now)
	now = now.Add(askEvery / 2)
	p := r.survey(t.Context()) // and nobody is asked: there is no client
	if p.enforced.String() != "baseline:latest" || p.known && p.clean() {
		t.Errorf("%s is enforced; %+v", p.enforced, p.verdict)
	}
}

func TestCompares(t *testing.T) {
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
		if got := compares(level(test.from), level(test.to)); got != test.want {
			t.Errorf("from %s to %s: %t", test.from, test.to, got)
		}
	}
}

// What was asked for one baseline is an answer for another, too.
func TestNoLevelIsRaisedByAnAnswerOfARollout(t *testing.T) {
	violated := verdict{violations: []v1alpha1.PodViolation{{Pods: "a", Reasons: "seccompProfile"}}}
	replaced := verdict{incomplete: "Deployment/web is being rolled out"}
	for _, test := range []struct {
		name   string
		said   answer
		raises bool
		want   verdict
	}{
		{"nothing is rolled out", answer{}, true, verdict{}},
		{"something is", answer{underway: "Deployment/web"}, true, replaced},
		{"something is, and nothing to be raised", answer{underway: "Deployment/web"}, false, verdict{}},
		{"pods that violate are there all the same", answer{violated, "Deployment/web"}, true, violated},
	} {
		t.Run(test.name, func(t *testing.T) {
			if diff := cmp.Diff(test.want, test.said.judged(test.raises), cmp.AllowUnexported(verdict{})); diff != "" {
				t.Errorf("(-want +got):\n%s", diff)
			}
		})
	}
}
