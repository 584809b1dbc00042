package enforcement

import (
	"cmp"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// outcome sums a run up; nil where there is nothing to say.
func (r *run) outcome() *Outcome {
	outcome := &Outcome{
		Control: r.Control.Name, Baseline: r.givenBy, Mode: v1alpha1.ModeEnforce,
		Findings: slices.Concat(r.rivalry(), r.desired.Findings),
		Drifts:   r.drifts, Versions: r.versions, Changes: r.changes, Placed: r.placed, Stale: r.stale, Unhealed: r.unhealed, After: r.after, Err: errors.Join(r.errs...),
	}
	if r.Baseline != nil {
		outcome.Baseline = r.Baseline.Name
	}
	if r.audits() {
		outcome.Mode = v1alpha1.ModeAudit
	}
	violations := r.desired.Violations
	if r.podSecurity != nil {
		outcome.PodSecurity, outcome.Unsettled = r.podSecurity.report(r.recordedText(), r.audits()), !r.podSecurity.settled()
		violations = r.podSecurity.problems(r.audits())
	}
	problems := slices.Concat(r.failures, r.conflicts)
	for _, err := range r.errs {
		problems = append(problems, err.Error())
	}
	outcome.Message = strings.Join(slices.Concat(problems, r.summary(), violations), "\n")
	switch {
	case len(r.failures) > 0:
		outcome.State = v1alpha1.StateFailed
	case len(r.conflicts) > 0:
		outcome.State = v1alpha1.StateConflict
	case len(r.errs) > 0, len(r.changes) > 0:
		outcome.State = v1alpha1.StateDrifted
	case r.stale, r.after > 0:
		outcome.State, outcome.Message = v1alpha1.StateDrifted, "is being put in place"
		if r.Ledger != nil && r.Ledger.Baseline == outcome.Baseline && r.Ledger.IsGoverning() != r.audits() {
			// It is looked at again at once: no news yet.
			outcome.State, outcome.Message = r.Ledger.State, r.Ledger.Message
		}
	case len(violations) > 0:
		outcome.State = v1alpha1.StateViolating
	case r.Baseline == nil:
		return nil
	default:
		outcome.State = v1alpha1.StateCompliant
	}
	return outcome
}

// settings says which levels would be set or, where none would, which rule would
// be in force, if the object is the namespace.
func (r *run) settings(object string) string {
	if object != r.namespaceID() {
		return ""
	}
	var levels, rules []string
	for _, change := range r.changes {
		if change.Object != object {
			continue
		}
		for _, field := range change.Fields {
			label := strings.TrimPrefix(field.Path, "metadata.labels.")
			if mode, ok := strings.CutPrefix(label, "pod-security.kubernetes.io/"); ok && !strings.HasSuffix(mode, "-version") {
				levels = append(levels, mode+"="+cmp.Or(field.Expected, "nothing"))
			}
			if label == v1alpha1.GoverningBaselineLabel(r.Control.Name) {
				rules = append(rules, label+"="+cmp.Or(field.Expected, "nothing"))
			}
		}
	}
	if said := cmp.Or(strings.Join(levels, ", "), strings.Join(rules, ", ")); said != "" {
		return " (" + said + ")"
	}
	return ""
}

// rivalry says what would become of a control that another baseline governs or
// audits too.
func (r *run) rivalry() []string {
	switch {
	case r.Rival == nil && r.Peer != nil:
		return []string{fmt.Sprintf("baseline %s, in Audit mode too, has precedence: enforced as well, it would govern this control here", r.Peer.Name)}
	case r.Rival == nil:
		return nil
	case r.Ahead:
		return []string{fmt.Sprintf("in Enforce mode, nothing would change here: baseline %s has precedence; raise spec.priority to take this control over", r.Rival.Name)}
	}
	return []string{fmt.Sprintf("in Enforce mode, it would take this control over from baseline %s", r.Rival.Name)}
}

// summary says in a sentence what would be done, or returns nothing.
func (r *run) summary() []string {
	changes := r.changes
	if len(changes) == 0 {
		return nil
	}
	but := ""
	if r.Ahead {
		but = fmt.Sprintf("But for baseline %s, which has precedence, ", r.Rival.Name)
	}
	var parts []string
	for _, action := range []v1alpha1.ChangeAction{v1alpha1.ChangeCreate, v1alpha1.ChangeConfigure, v1alpha1.ChangeReplace, v1alpha1.ChangeRemove} {
		var objects []string
		for i := range changes {
			if changes[i].Action == action {
				objects = append(objects, changes[i].Object)
			}
		}
		if len(objects) == 0 {
			continue
		}
		part := strings.ToLower(string(action)) + " " + objects[0] + r.settings(objects[0])
		if others := len(objects) - 1; others > 0 {
			part += fmt.Sprintf(" and %d more", others)
		}
		parts = append(parts, part)
	}
	return []string{but + "Enforce would " + strings.Join(parts, ", ")}
}
