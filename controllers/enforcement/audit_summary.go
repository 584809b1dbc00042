package enforcement

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// precedenceFindings returns what Enforce mode would change about which baseline governs the
// control.
func precedenceFindings(task *evaluation.Task) []string {
	switch {
	case task.Governing == nil && task.HigherAudit != nil:
		return []string{fmt.Sprintf("baseline %s has higher precedence and would govern this control here if both were enforced", task.HigherAudit.Name)}
	case task.Governing == nil:
		return nil
	case task.IsOutranked:
		return []string{fmt.Sprintf(
			"in Enforce mode, nothing would change here: baseline %s has higher precedence; raise spec.priority to govern this control", task.Governing.Name)}
	}
	return []string{fmt.Sprintf("in Enforce mode, this baseline would govern this control instead of baseline %s", task.Governing.Name)}
}

// changeSummary says in a sentence what Enforce mode would change, or returns nothing.
func changeSummary(task *evaluation.Task, changes []v1alpha1.Change) []string {
	if len(changes) == 0 {
		return nil
	}
	var parts []string
	for _, action := range []v1alpha1.ChangeAction{v1alpha1.ChangeCreate, v1alpha1.ChangeConfigure, v1alpha1.ChangeReplace, v1alpha1.ChangeRemove} {
		i := slices.IndexFunc(changes, func(change v1alpha1.Change) bool { return change.Action == action })
		if i < 0 {
			continue
		}
		part := strings.ToLower(string(action)) + " " + changes[i].Object + changedSettings(task.Control.Name, changes, changes[i].Object)
		more := -1
		for j := range changes {
			if changes[j].Action == action {
				more++
			}
		}
		if more > 0 {
			part += fmt.Sprintf(" and %d more", more)
		}
		parts = append(parts, part)
	}
	condition := ""
	if task.IsOutranked {
		condition = fmt.Sprintf("If baseline %s did not have higher precedence, ", task.Governing.Name)
	}
	return []string{condition + "Enforce would " + strings.Join(parts, ", ")}
}

// changedSettings says which pod-security levels Enforce mode would set on the namespace or,
// if none, which rule would be in force.
func changedSettings(control v1alpha1.ControlName, changes []v1alpha1.Change, object string) string {
	if !strings.HasPrefix(object, "Namespace/") {
		return ""
	}
	var levels, rules []string
	for i := range changes {
		if changes[i].Object != object {
			continue
		}
		for _, field := range changes[i].Fields {
			label := strings.TrimPrefix(field.Path, "metadata.labels.")
			if mode, ok := strings.CutPrefix(label, "pod-security.kubernetes.io/"); ok && !strings.HasSuffix(mode, "-version") {
				levels = append(levels, mode+"="+cmp.Or(field.Expected, "nothing"))
			}
			if label == v1alpha1.GoverningBaselineLabel(control) {
				rules = append(rules, label+"="+cmp.Or(field.Expected, "nothing"))
			}
		}
	}
	if settings := cmp.Or(strings.Join(levels, ", "), strings.Join(rules, ", ")); settings != "" {
		return " (" + settings + ")"
	}
	return ""
}
