package podsecurity

import (
	"fmt"
	"maps"

	podsecurityapi "k8s.io/pod-security-admission/api"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/diff"
)

// Assessment is how the pods that run in a namespace compare to the level that a baseline
// expects.
type Assessment struct {
	// Enforced is the level to enforce now.
	Enforced podsecurityapi.LevelVersion

	level podsecurityapi.LevelVersion
	// reached is the level whose enforcement was reached before.
	reached podsecurityapi.LevelVersion

	// isRollout reports whether the level is enforced only when the pods meet it;
	// raisesLevel whether this assessment may raise it.
	isRollout, canRaiseLevel bool

	// isKnown reports whether the result is about the expected level.
	isKnown bool
	checkResult

	// isProvisional reports whether pods could have been created that the API server did
	// not see when it evaluated the running pods.
	isProvisional bool

	// isProtected reports whether admission rejects pods that violate the level, so that
	// a clean namespace stays clean.
	isProtected bool
}

// isCheckedBy reports whether the API server evaluates the running pods under the expected
// level when the labels change.
func (e Assessment) isCheckedBy(before, change map[string]string) bool {
	after := maps.Clone(before)
	if after == nil {
		after = map[string]string{}
	}
	maps.Copy(after, change)
	to := EnforcedLevel(after)
	return to == e.level && isCheckTriggered(EnforcedLevel(before), to)
}

// Drifted returns the assessment after another author's change of labels was reverted.
// Pods that were created meanwhile may be unknown to the API server's answer.
func (e Assessment) Drifted(differences diff.Differences) Assessment {
	e.isProvisional = e.isProvisional || differences.Has(diff.LabelPath(podsecurityapi.EnforceLevelLabel)) ||
		differences.Has(diff.LabelPath(podsecurityapi.EnforceVersionLabel))
	return e
}

// Applied returns the assessment after the labels are as expected.
func (e Assessment) Applied() Assessment {
	if !e.isRollout {
		e.Enforced = e.level
	}
	e.reached = e.Enforced
	e.isProtected = e.isProtected || !controls.IsBelow(e.Enforced, e.level)
	return e
}

// IsSettled reports whether all running pods meet the expected level, and will.
func (e Assessment) IsSettled() bool {
	return e.isKnown && e.isClean() && e.isProtected && !e.isProvisional
}

// Report returns what the namespace's report says; nil where no level is expected. Only
// the baseline that enforces the level reaches one, so in Audit mode the level that the
// report recorded stays.
func (e Assessment) Report(recorded string, isAudit bool) *v1alpha1.PodSecurityReport {
	if e.level.Level == podsecurityapi.LevelPrivileged {
		return nil
	}
	report := &v1alpha1.PodSecurityReport{
		Level: e.level.String(), Violations: e.violations, Incomplete: e.incomplete, Provisional: e.isProvisional,
	}
	if !e.isKnown {
		report.Incomplete = "the API server has not answered yet"
	}
	switch {
	case isAudit:
		report.Enforced = recorded
	case e.reached.Level != podsecurityapi.LevelPrivileged:
		report.Enforced = e.reached.String()
	}
	return report
}

// Violations says in a sentence which pods violate the level, or returns nothing.
func (e Assessment) Violations(isAudit bool) []string {
	switch {
	case len(e.violations) > 0:
		sentence := fmt.Sprintf("running pods violate %s: %s: %s", e.level, e.violations[0].Pods, e.violations[0].Reasons)
		if more := len(e.violations) - 1; more > 0 {
			sentence += fmt.Sprintf(" (and %d more)", more)
		}
		return []string{sentence + "; " + e.consequence(isAudit)}
	case e.incomplete != "":
		return []string{fmt.Sprintf("it is unknown whether all running pods meet %s: %s", e.level, e.incomplete)}
	}
	return nil
}

// consequence says what becomes of pods that violate the level.
func (e Assessment) consequence(isAudit bool) string {
	isWaiting := e.isRollout && controls.IsBelow(e.Enforced, e.level)
	switch {
	case isWaiting && e.Enforced.Level != podsecurityapi.LevelPrivileged:
		return fmt.Sprintf("until they are gone, %s is enforced", e.Enforced)
	case isWaiting:
		return "until they are gone, the enforce label stays as it is"
	case isAudit:
		return "in Enforce mode they would keep running, but new pods like them would be rejected"
	}
	return "they keep running, but new pods like them are rejected"
}
