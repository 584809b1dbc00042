package controls

import (
	"fmt"

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
	Declared: func(spec *v1alpha1.SecurityBaselineSpec) bool { return spec.PodSecurity != nil },
	NamespaceLabels: []string{
		v1alpha1.PodSecurityBaselineLabel,
		podsecurityapi.EnforceLevelLabel, podsecurityapi.EnforceVersionLabel,
		podsecurityapi.AuditLevelLabel, podsecurityapi.AuditVersionLabel,
		podsecurityapi.WarnLevelLabel, podsecurityapi.WarnVersionLabel,
	},
	render: renderPodSecurity,
}

func renderPodSecurity(baseline *v1alpha1.SecurityBaseline, namespace Namespace) Desired {
	want := baseline.Spec.PodSecurity
	desired := Desired{
		NamespaceLabels: map[string]string{v1alpha1.PodSecurityBaselineLabel: baseline.Name},
		KeptLabels:      sets.New[string](),
	}
	for _, mode := range []struct {
		name                     string
		level                    v1alpha1.PodSecurityLevel
		levelLabel, versionLabel string
	}{
		{"enforce", want.Enforce, podsecurityapi.EnforceLevelLabel, podsecurityapi.EnforceVersionLabel},
		{"audit", want.Audit, podsecurityapi.AuditLevelLabel, podsecurityapi.AuditVersionLabel},
		{"warn", want.Warn, podsecurityapi.WarnLevelLabel, podsecurityapi.WarnVersionLabel},
	} {
		if mode.level == "" {
			continue
		}
		desired.NamespaceLabels[mode.levelLabel] = string(mode.level)
		desired.NamespaceLabels[mode.versionLabel] = podSecurityVersion(want)
		current := namespace.Labels[mode.levelLabel]
		if namespace.OwnLabels.Has(mode.levelLabel) || !stricter(current, mode.level) {
			continue
		}
		desired.KeptLabels.Insert(mode.levelLabel)
		if !namespace.OwnLabels.Has(mode.versionLabel) && !older(namespace.Labels[mode.versionLabel], podSecurityVersion(want)) {
			desired.KeptLabels.Insert(mode.versionLabel)
		}
		desired.Findings = append(desired.Findings,
			fmt.Sprintf("%s: %s is kept; it is stricter than %s, which the baseline asks for", mode.name, current, mode.level))
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
