package controls

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	podsecurityapi "k8s.io/pod-security-admission/api"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// podSecurity puts the labels of Kubernetes' Pod Security admission on a
// namespace. A level is a floor: where the owner of a namespace set a stricter
// one, it stays theirs.
// https://kubernetes.io/docs/concepts/security/pod-security-admission/
var podSecurity = Control{
	Name:     v1alpha1.ControlPodSecurity,
	IsDeclared: func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.PodSecurity != nil },
	NamespaceLabels: []string{
		v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity),
		podsecurityapi.EnforceLevelLabel, podsecurityapi.EnforceVersionLabel,
		podsecurityapi.AuditLevelLabel, podsecurityapi.AuditVersionLabel,
		podsecurityapi.WarnLevelLabel, podsecurityapi.WarnVersionLabel,
	},
	EnforcedLevel: enforcedLevel,
	render:        renderPodSecurity,
}

// NoLevel rejects nothing.
var PrivilegedLevel = podsecurityapi.LevelVersion{Level: podsecurityapi.LevelPrivileged, Version: podsecurityapi.LatestVersion()}

// enforcedLevel returns the level that is to be enforced in the end.
func enforcedLevel(spec *v1alpha1.SecurityBaselineSpec) podsecurityapi.LevelVersion {
	if spec.PodSecurity.Enforce == "" {
		return PrivilegedLevel
	}
	// The CRD refuses a version that does not parse.
	version, _ := podsecurityapi.ParseVersion(podSecurityVersion(spec.PodSecurity))
	return podsecurityapi.LevelVersion{Level: podsecurityapi.Level(spec.PodSecurity.Enforce), Version: version}
}

// Below says whether a level rejects less than another: it is less strict or,
// equally strict, of an older version of the standards.
func IsBelow(a, b podsecurityapi.LevelVersion) bool {
	order := podsecurityapi.CompareLevels(a.Level, b.Level)
	return order < 0 || order == 0 && a.Older(b.Version)
}

// Rollout returns the levels, the highest first, that are to be enforced as soon
// as the running pods meet them, where reached is what they have met: none
// unless the baseline asks for rollout WhenClean.
func RolloutLevels(spec *v1alpha1.SecurityBaselineSpec, reached podsecurityapi.LevelVersion) []podsecurityapi.LevelVersion {
	if spec.PodSecurity == nil || spec.PodSecurity.Rollout != v1alpha1.RolloutWhenClean {
		return nil
	}
	want := enforcedLevel(spec)
	var levels []podsecurityapi.LevelVersion
	for _, level := range []podsecurityapi.Level{podsecurityapi.LevelRestricted, podsecurityapi.LevelBaseline} {
		next := podsecurityapi.LevelVersion{Level: level, Version: want.Version}
		if !IsBelow(want, next) && IsBelow(reached, next) {
			levels = append(levels, next)
		}
	}
	return levels
}

// podSecurityLabels are a pair of labels: what the level of one mode is, and of
// which version of the standards.
type podSecurityLabels struct {
	mode                     string
	level                    v1alpha1.PodSecurityLevel
	version                  string
	levelLabel, versionLabel string
}

// wantedLabels returns the labels of each mode in which the baseline wants a
// level now. reached is what the running pods have met.
func wantedLabels(want *v1alpha1.PodSecurity, reached podsecurityapi.LevelVersion) []podSecurityLabels {
	version := podSecurityVersion(want)
	enforce := podSecurityLabels{"enforce", want.Enforce, version, podsecurityapi.EnforceLevelLabel, podsecurityapi.EnforceVersionLabel}
	audit := podSecurityLabels{"audit", want.Audit, version, podsecurityapi.AuditLevelLabel, podsecurityapi.AuditVersionLabel}
	warn := podSecurityLabels{"warn", want.Warn, version, podsecurityapi.WarnLevelLabel, podsecurityapi.WarnVersionLabel}
	if want.Rollout == v1alpha1.RolloutWhenClean {
		// Whoever makes a pod that will be rejected is told before it is.
		audit.level, warn.level = cmp.Or(want.Audit, want.Enforce), cmp.Or(want.Warn, want.Enforce)
		if IsBelow(reached, enforcedLevel(&v1alpha1.SecurityBaselineSpec{PodSecurity: want})) {
			enforce.level, enforce.version = v1alpha1.PodSecurityLevel(reached.Level), reached.Version.String()
		}
		if enforce.level == v1alpha1.PodSecurityLevel(podsecurityapi.LevelPrivileged) && want.Enforce != enforce.level {
			// Stated, it could lower what the API server enforces where nothing is.
			enforce.level = ""
		}
	}
	return slices.DeleteFunc([]podSecurityLabels{enforce, audit, warn}, func(labels podSecurityLabels) bool { return labels.level == "" })
}

func renderPodSecurity(baseline *v1alpha1.SecurityBaseline, namespace Namespace) Desired {
	desired := Desired{
		NamespaceLabels: map[string]string{v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): baseline.Name},
		StricterLabels:      sets.New[string](),
	}
	for _, want := range wantedLabels(baseline.Spec.PodSecurity, namespace.ReachedLevel) {
		desired.NamespaceLabels[want.levelLabel] = string(want.level)
		desired.NamespaceLabels[want.versionLabel] = want.version
		current := namespace.Labels[want.levelLabel]
		if namespace.OwnedLabels.Has(want.levelLabel) || !stricter(current, want.level) {
			continue
		}
		desired.StricterLabels.Insert(want.levelLabel)
		if !namespace.OwnedLabels.Has(want.versionLabel) && !older(namespace.Labels[want.versionLabel], want.version) {
			desired.StricterLabels.Insert(want.versionLabel)
		}
		desired.Findings = append(desired.Findings,
			fmt.Sprintf("%s: %s is kept; it is stricter than %s, which the baseline asks for", want.mode, current, want.level))
	}
	return desired
}

// podSecurityVersion states what the CRD defaults, for objects that were never
// at an API server.
func podSecurityVersion(spec *v1alpha1.PodSecurity) string {
	if spec.Version == "" {
		return podsecurityapi.VersionLatest
	}
	return spec.Version
}

// stricter says whether a label's value is a valid level above the wanted one.
func stricter(current string, wanted v1alpha1.PodSecurityLevel) bool {
	level, err := podsecurityapi.ParseLevel(current)
	return err == nil && podsecurityapi.CompareLevels(level, podsecurityapi.Level(wanted)) > 0
}

// older says whether a version is before the wanted one, whose checks it may
// lack. Where the label is absent, the API server's default holds: latest.
func older(current, wanted string) bool {
	if current == "" {
		return false
	}
	have, err := podsecurityapi.ParseVersion(current)
	if err != nil {
		return true
	}
	// The CRD refuses a wanted version that does not parse.
	want, err := podsecurityapi.ParseVersion(wanted)
	return err == nil && have.Older(want)
}
