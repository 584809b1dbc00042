package enforcement

import (
	"context"
	"fmt"
	"maps"
	"regexp"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/sets"
	podsecurityapi "k8s.io/pod-security-admission/api"
	podsecuritypolicy "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// When the enforce label of a namespace changes, the API server's Pod Security
// admission compares the pods that run there to the new level and warns of those
// that violate it. A dry run of such a change is a question to the API server,
// which has all pods in memory anyway.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/pod-security-admission/admission/admission.go

// askEvery is how often the API server is asked the same of a namespace, at most.
const askEvery = 3 * time.Second

// podSecurity is how the pods that run in a namespace compare to the level that a
// baseline wants to be enforced.
type podSecurity struct {
	want podsecurityapi.LevelVersion

	// rollout is what the label says meanwhile, where the level is enforced only
	// when the pods meet it; raises says that it may be raised.
	rollout, raises bool

	// enforced is what is to be enforced now, reached what was before.
	enforced, reached podsecurityapi.LevelVersion

	// known says that verdict is about the wanted level.
	known bool
	verdict

	// provisional says that it was found while pods could still come in unseen.
	provisional bool

	// guarded says that admission lets no pod in that violates the level, so that
	// what is clean stays clean.
	guarded bool
}

// verdict is what the API server says of a level.
type verdict struct {
	violations []v1alpha1.PodViolation
	incomplete string
}

// answer is a verdict, and what was being rolled out when it was asked for.
type answer struct {
	verdict
	underway string
}

// judged returns the verdict: where a level is to be raised by it, and pods are about to
// be made, they are not known to meet any.
func (a answer) judged(raises bool) verdict {
	if raises && a.underway != "" && a.clean() {
		return verdict{incomplete: a.underway + " is being rolled out"}
	}
	return a.verdict
}

// answers are those of the last moments, by namespace and level.
type answers struct{ memory[answer] }

// recent returns what was said less than askEvery ago.
func (a *answers) recent(question string, now time.Time) (answer, bool) {
	said, ago, ok := a.ago(question, now)
	return said, ok && ago < askEvery
}

func (v verdict) clean() bool {
	return len(v.violations) == 0 && v.incomplete == ""
}

// survey finds out how the running pods compare, asking the API server only what
// the report does not say, what may have changed since and what the change of the
// labels that is due will not tell.
func (r *run) survey(ctx context.Context) *podSecurity {
	spec := &r.Baseline.Spec
	current, want := enforcedIn(r.namespace.Labels), r.Control.EnforcedLevel(spec)
	p := &podSecurity{want: want, reached: r.reached(current, want.Version)}
	p.enforced, p.guarded = p.reached, !controls.IsBelow(current, p.want)
	if r.Ledger != nil && r.Ledger.PodSecurity != nil && r.Ledger.PodSecurity.Level == p.want.String() {
		p.known, p.verdict = true, verdict{r.Ledger.PodSecurity.Violations, r.Ledger.PodSecurity.Incomplete}
		p.provisional = r.Ledger.PodSecurity.Provisional
	}
	levels := controls.RolloutLevels(spec, p.reached)
	p.rollout = len(levels) > 0
	p.raises = p.rollout && !r.audits()
	said, asked := r.answers.recent(r.paceKey(p.want.String()), r.Now())
	if asked {
		// The report may not show yet what was said a moment ago.
		p.known, p.verdict = true, said.judged(p.raises)
	}
	switch {
	case p.want.Level == podsecurityapi.LevelPrivileged:
		p.known = true
	case p.rollout:
		r.climb(ctx, p, levels)
	case asked, p.settled():
	case !r.audits() && controls.IsBelow(current, p.want):
		// The change of the labels will tell.
	default:
		r.climb(ctx, p, []podsecurityapi.LevelVersion{p.want})
	}
	return p
}

// climb asks about levels, the highest first, of which it was not told a moment ago, until
// the running pods meet one. What is being rolled out is found out first, for if it ends
// in between, its pods are there to be looked at.
func (r *run) climb(ctx context.Context, p *podSecurity, levels []podsecurityapi.LevelVersion) {
	underway := sync.OnceValues(func() (string, error) { return r.underway(ctx) })
	for _, level := range levels {
		question := r.paceKey(level.String())
		said, asked := r.answers.recent(question, r.Now())
		if !asked {
			var err error
			if said.underway, err = underway(); err == nil {
				said.verdict, err = r.ask(ctx, level)
			}
			if err != nil {
				r.note(r.namespaceID(), fmt.Errorf("asking which running pods violate %s: %w", level, err))
				return
			}
			r.answers.set(question, said, r.Now())
			if level == p.want {
				p.known, p.verdict, p.provisional = true, said.judged(p.raises), false
			}
		}
		if said.judged(p.raises).clean() {
			p.enforced = level
			return
		}
	}
}

// reached returns the level whose enforcement was reached, as the report or the
// operator's own label says. Of the two the higher: either may be old. Where somebody else
// wrote the label of the version, it was the wanted one.
func (r *run) reached(current podsecurityapi.LevelVersion, wanted podsecurityapi.Version) podsecurityapi.LevelVersion {
	reached := controls.PrivilegedLevel
	if r.ownLabels.Has(podsecurityapi.EnforceLevelLabel) {
		reached = current
		if !r.ownLabels.Has(podsecurityapi.EnforceVersionLabel) {
			reached.Version = wanted
		}
	}
	if recorded, ok := r.recorded(); ok && controls.IsBelow(reached, recorded) {
		return recorded
	}
	return reached
}

// recorded returns the level whose enforcement the report says was reached.
func (r *run) recorded() (podsecurityapi.LevelVersion, bool) {
	level, version, _ := strings.Cut(r.recordedText(), ":")
	parsed, err := podsecurityapi.ParseVersion(version)
	return podsecurityapi.LevelVersion{Level: podsecurityapi.Level(level), Version: parsed}, err == nil
}

// recordedText returns the same as the report says it.
func (r *run) recordedText() string {
	if r.Ledger == nil || r.Ledger.PodSecurity == nil {
		return ""
	}
	return r.Ledger.PodSecurity.Enforced
}

// ask asks the API server which of the running pods a level rejects.
func (r *run) ask(ctx context.Context, level podsecurityapi.LevelVersion) (verdict, error) {
	current := enforcedIn(r.namespace.Labels)
	if !compares(current, level) {
		level.Version = equivalent(level.Version)
	}
	patch := mergePatch(r.namespace, map[string]any{"labels": map[string]string{
		podsecurityapi.EnforceLevelLabel: string(level.Level), podsecurityapi.EnforceVersionLabel: level.Version.String(),
	}}, nil)
	ctx, warned := collectWarnings(ctx)
	err := r.Client.Patch(ctx, r.namespace.DeepCopy(), patch, client.DryRunAll)
	return verdictIn(warned.all()), err
}

// written takes note of what the API server said when the labels were changed, if
// it said something of the wanted level.
func (p *podSecurity) written(before, change map[string]string, warned []string) bool {
	after := maps.Clone(before)
	if after == nil {
		after = map[string]string{}
	}
	maps.Copy(after, change)
	was, is := enforcedIn(before), enforcedIn(after)
	if is != p.want || !compares(was, is) {
		return false
	}
	p.known, p.verdict = true, verdictIn(warned)
	return true
}

// drifted takes note that somebody had changed labels. Pods that came in then may
// not have been seen yet when they were put right.
func (p *podSecurity) drifted(differ []difference) {
	p.provisional = p.provisional || contains(differ, labelPath(podsecurityapi.EnforceLevelLabel)) ||
		contains(differ, labelPath(podsecurityapi.EnforceVersionLabel))
}

// inPlace takes note that the labels are as wanted now.
func (p *podSecurity) inPlace() {
	if !p.rollout {
		p.enforced = p.want
	}
	p.reached = p.enforced
	p.guarded = p.guarded || !controls.IsBelow(p.enforced, p.want)
}

// settled says whether all running pods meet the wanted level, and will.
func (p *podSecurity) settled() bool {
	return p.known && p.clean() && p.guarded && !p.provisional
}

// report returns what is reported; nil where no level is wanted. What was reached
// is what the baseline enforced itself, so auditing only hands on what was
// recorded.
func (p *podSecurity) report(recorded string, audits bool) *v1alpha1.PodSecurityReport {
	if p.want.Level == podsecurityapi.LevelPrivileged {
		return nil
	}
	report := &v1alpha1.PodSecurityReport{Level: p.want.String(), Violations: p.violations, Incomplete: p.incomplete, Provisional: p.provisional}
	if !p.known {
		report.Incomplete = "the API server has not said yet"
	}
	switch {
	case audits:
		report.Enforced = recorded
	case p.reached.Level != podsecurityapi.LevelPrivileged:
		report.Enforced = p.reached.String()
	}
	return report
}

// problems says in a sentence what stands in the way, or returns nothing.
func (p *podSecurity) problems(audits bool) []string {
	meanwhile := "; they go on running, but could not be made again"
	if audits {
		meanwhile = "; enforced, they would go on running, but could not be made again"
	}
	if p.rollout && controls.IsBelow(p.enforced, p.want) {
		meanwhile = "; until they are gone, the enforce label is left as it is"
		if p.enforced.Level != podsecurityapi.LevelPrivileged {
			meanwhile = fmt.Sprintf("; until they are gone, %s is enforced", p.enforced)
		}
	}
	switch {
	case len(p.violations) > 0:
		sentence := fmt.Sprintf("running pods violate %s: %s: %s", p.want, p.violations[0].Pods, p.violations[0].Reasons)
		if others := len(p.violations) - 1; others > 0 {
			sentence += fmt.Sprintf(" (and %d more)", others)
		}
		return []string{sentence + meanwhile}
	case p.incomplete != "":
		return []string{fmt.Sprintf("whether all running pods meet %s is not known: %s", p.want, p.incomplete)}
	}
	return nil
}

// enforcedIn returns the level that a namespace's labels enforce. Where they say
// nothing the API server may enforce a level of its own, which it tells nobody.
func enforcedIn(labels map[string]string) podsecurityapi.LevelVersion {
	policy, _ := podsecurityapi.PolicyToEvaluate(labels, podsecurityapi.Policy{Enforce: controls.PrivilegedLevel, Audit: controls.PrivilegedLevel, Warn: controls.PrivilegedLevel})
	return policy.Enforce
}

// compares says whether the API server compares the running pods to a level when
// the label changes to it.
func compares(from, to podsecurityapi.LevelVersion) bool {
	return to.Level != podsecurityapi.LevelPrivileged &&
		(from.Version != to.Version || podsecurityapi.CompareLevels(to.Level, from.Level) > 0)
}

// future is a version of the standards that no API server knows, and takes for
// its latest.
const future = 1000

// equivalent returns another version of the standards with the same checks, to be
// asked about where nothing would change otherwise. Where the version is the only
// one with its checks it is the next, which has more.
func equivalent(version podsecurityapi.Version) podsecurityapi.Version {
	if version.Latest() {
		return podsecurityapi.MajorMinorVersion(1, future)
	}
	begins := sets.New[int]()
	for _, check := range podsecuritypolicy.DefaultChecks() {
		for _, revision := range check.Versions {
			begins.Insert(revision.MinimumVersion.Minor())
		}
	}
	if !begins.Has(version.Minor()) {
		return podsecurityapi.MajorMinorVersion(1, version.Minor()-1)
	}
	return podsecurityapi.MajorMinorVersion(1, version.Minor()+1)
}

// maxWarnings is how much an API server says in warnings, in runes. Of what is
// longer it leaves out the end, after shortening each warning.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/apiserver/pkg/endpoints/filters/warning.go
const (
	maxWarnings = 4096
	maxWarning  = 256
)

// maxViolations is how many violations are reported.
const maxViolations = 100

// violation matches what the API server says of pods that violate a level.
var violation = regexp.MustCompile(`^([a-z0-9][-.a-z0-9]*(?: \(and \d+ other pods?\))?): (.+)$`)

// verdictIn returns what the API server's warnings say of the running pods.
func verdictIn(warned []string) verdict {
	var v verdict
	var omitted []string
	violates, shortened, total := false, false, 0
	for _, text := range warned {
		length := utf8.RuneCountInString(text)
		total += length
		shortened = shortened || length == maxWarning
		pods := violation.FindStringSubmatch(text)
		switch {
		case strings.HasPrefix(text, "existing pods in namespace "):
			violates = true
		case strings.HasPrefix(text, "new PodSecurity enforce level only checked against "),
			strings.HasPrefix(text, "failed to list pods while checking new PodSecurity enforce level"):
			omitted = append(omitted, text)
		case violates && pods != nil:
			v.violations = append(v.violations, v1alpha1.PodViolation{Pods: pods[1], Reasons: pods[2]})
		}
	}
	if total >= maxWarnings || shortened && total > maxWarnings/2 {
		omitted = append(omitted, "the API server's answer was too long and is cut")
	}
	if len(v.violations) > maxViolations {
		omitted = append(omitted, fmt.Sprintf("%d more violations are not listed", len(v.violations)-maxViolations))
		v.violations = v.violations[:maxViolations]
	}
	if violates && len(v.violations) == 0 {
		omitted = append(omitted, "pods violate the level; the API server named none")
	}
	v.incomplete = strings.Join(omitted, "; ")
	return v
}
