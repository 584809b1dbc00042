package controls

import (
	"cmp"
	"fmt"
	"slices"

	"k8s.io/apimachinery/pkg/util/sets"
	podsecurityapi "k8s.io/pod-security-admission/api"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// podSecurity sets the labels of Pod Security admission on a namespace. A level is a
// minimum: the operator keeps a stricter level that the owner of a namespace set.
// https://kubernetes.io/docs/concepts/security/pod-security-admission/
var podSecurity = Control{
	Name:       v1alpha1.ControlPodSecurity,
	Section:    "podSecurity",
	IsDeclared: func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.PodSecurity != nil },
	NamespaceLabels: []string{
		v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity),
		podsecurityapi.EnforceLevelLabel, podsecurityapi.EnforceVersionLabel,
		podsecurityapi.AuditLevelLabel, podsecurityapi.AuditVersionLabel,
		podsecurityapi.WarnLevelLabel, podsecurityapi.WarnVersionLabel,
	},
	ShouldLabelNewNamespaces: func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.PodSecurity != nil },
	EnforcedLevel:            enforcedLevel,
	render:                   renderPodSecurity,
}

// PrivilegedLevel is the level that rejects no pod.
var PrivilegedLevel = podsecurityapi.LevelVersion{Level: podsecurityapi.LevelPrivileged, Version: podsecurityapi.LatestVersion()}

// enforcedLevel returns the level that the baseline requires, which is the last step
// of a rollout.
func enforcedLevel(spec *v1alpha1.SecurityBaselineSpec) podsecurityapi.LevelVersion {
	if spec.PodSecurity.Enforce == "" {
		return PrivilegedLevel
	}
	// The CRD rejects a version that does not parse.
	version, _ := podsecurityapi.ParseVersion(podSecurityVersion(spec.PodSecurity))
	return podsecurityapi.LevelVersion{Level: podsecurityapi.Level(spec.PodSecurity.Enforce), Version: version}
}

// IsBelow reports whether level a rejects less than level b: a is less strict, or it
// is the same level in an older version of the Pod Security Standards.
func IsBelow(a, b podsecurityapi.LevelVersion) bool {
	order := podsecurityapi.CompareLevels(a.Level, b.Level)
	return order < 0 || order == 0 && a.Older(b.Version)
}

// RolloutLevels returns the next levels of rollout WhenClean, the strictest first. The
// operator enforces each of them when the running pods meet it. reached is the level
// that they met before. The result is empty without rollout WhenClean.
func RolloutLevels(spec *v1alpha1.SecurityBaselineSpec, reached podsecurityapi.LevelVersion) []podsecurityapi.LevelVersion {
	if spec.PodSecurity == nil || spec.PodSecurity.Rollout != v1alpha1.RolloutWhenClean {
		return nil
	}
	target := enforcedLevel(spec)
	var levels []podsecurityapi.LevelVersion
	for _, level := range []podsecurityapi.Level{podsecurityapi.LevelRestricted, podsecurityapi.LevelBaseline} {
		next := podsecurityapi.LevelVersion{Level: level, Version: target.Version}
		if !IsBelow(target, next) && IsBelow(reached, next) {
			levels = append(levels, next)
		}
	}
	return levels
}

// modeLabels is the pair of labels for one mode of Pod Security admission: the level
// and the version of the Pod Security Standards.
type modeLabels struct {
	mode                     string
	level                    v1alpha1.PodSecurityLevel
	version                  string
	levelLabel, versionLabel string
}

// requiredLabels returns the labels of each mode for which the baseline requires a
// level now. reached is the level that the running pods meet.
func requiredLabels(spec *v1alpha1.PodSecurity, reached podsecurityapi.LevelVersion) []modeLabels {
	version := podSecurityVersion(spec)
	enforce := modeLabels{
		mode: "enforce", level: spec.Enforce, version: version,
		levelLabel: podsecurityapi.EnforceLevelLabel, versionLabel: podsecurityapi.EnforceVersionLabel,
	}
	audit := modeLabels{
		mode: "audit", level: spec.Audit, version: version,
		levelLabel: podsecurityapi.AuditLevelLabel, versionLabel: podsecurityapi.AuditVersionLabel,
	}
	warn := modeLabels{
		mode: "warn", level: spec.Warn, version: version,
		levelLabel: podsecurityapi.WarnLevelLabel, versionLabel: podsecurityapi.WarnVersionLabel,
	}
	if spec.Rollout == v1alpha1.RolloutWhenClean {
		// Authors of pods get warnings before the API server rejects the pods.
		audit.level = cmp.Or(spec.Audit, spec.Enforce)
		warn.level = cmp.Or(spec.Warn, spec.Enforce)
		if IsBelow(reached, enforcedLevel(&v1alpha1.SecurityBaselineSpec{PodSecurity: spec})) {
			enforce.level = v1alpha1.PodSecurityLevel(reached.Level)
			enforce.version = reached.Version.String()
		}
		if enforce.level == v1alpha1.PodSecurityLevel(podsecurityapi.LevelPrivileged) && spec.Enforce != enforce.level {
			// An explicit privileged could be weaker than the default of the API server.
			enforce.level = ""
		}
	}
	return slices.DeleteFunc([]modeLabels{enforce, audit, warn}, func(labels modeLabels) bool { return labels.level == "" })
}

func renderPodSecurity(baseline *v1alpha1.SecurityBaseline, namespace Namespace) Desired {
	desired := Desired{
		NamespaceLabels: map[string]string{v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): baseline.Name},
		StricterLabels:  sets.New[string](),
	}
	for _, required := range requiredLabels(baseline.Spec.PodSecurity, namespace.ReachedLevel) {
		desired.NamespaceLabels[required.levelLabel] = string(required.level)
		desired.NamespaceLabels[required.versionLabel] = required.version
		current := namespace.Labels[required.levelLabel]
		if namespace.OwnedLabels.Has(required.levelLabel) || !isStricter(current, required.level) {
			continue
		}
		desired.StricterLabels.Insert(required.levelLabel)
		if !namespace.OwnedLabels.Has(required.versionLabel) && !isOlder(namespace.Labels[required.versionLabel], required.version) {
			desired.StricterLabels.Insert(required.versionLabel)
		}
		desired.Findings = append(desired.Findings,
			fmt.Sprintf("%s: the namespace keeps %s, which is stricter than the required level %s", required.mode, current, required.level))
	}
	return desired
}

// podSecurityVersion returns the version, with the default of the CRD for objects that
// did not pass through an API server.
func podSecurityVersion(spec *v1alpha1.PodSecurity) string {
	if spec.Version == "" {
		return podsecurityapi.VersionLatest
	}
	return spec.Version
}

// isStricter reports whether the value of a label is a valid level that is stricter
// than the required one.
func isStricter(current string, required v1alpha1.PodSecurityLevel) bool {
	level, err := podsecurityapi.ParseLevel(current)
	return err == nil && podsecurityapi.CompareLevels(level, podsecurityapi.Level(required)) > 0
}

// isOlder reports whether a version precedes the required one and so may lack some of
// its checks. Without the label, the API server uses latest.
func isOlder(current, required string) bool {
	if current == "" {
		return false
	}
	currentVersion, err := podsecurityapi.ParseVersion(current)
	if err != nil {
		return true
	}
	// The CRD rejects a required version that does not parse.
	requiredVersion, err := podsecurityapi.ParseVersion(required)
	return err == nil && currentVersion.Older(requiredVersion)
}
