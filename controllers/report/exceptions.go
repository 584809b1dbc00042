package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

const (
	// maxFindings limits the findings in a list of the status or report.
	maxFindings = 20
	// expiryNotice is how long before the expiration of an exception the operator
	// announces it.
	expiryNotice = 24 * time.Hour
)

// exceptionStatus returns the status of the exceptions of a baseline, or nil if it has
// none. selected are the names of the namespaces that the baseline selects.
func exceptionStatus(baseline *v1alpha1.SecurityBaseline, selected []string, now time.Time) *v1alpha1.ExceptionStatus {
	if len(baseline.Spec.Exceptions) == 0 {
		return nil
	}
	status := &v1alpha1.ExceptionStatus{}
	selectedSet := sets.New(selected...)
	for i := range baseline.Spec.Exceptions {
		exception := &baseline.Spec.Exceptions[i]
		if !exception.IsActive(now) {
			status.Expired++
			continue
		}
		status.Active++
		if finding := unmatchedFinding(baseline, exception, selectedSet); finding != "" {
			status.Unmatched++
			status.Findings = append(status.Findings, evaluation.Truncate(finding, maxViolationMessage))
		}
	}
	status.Findings = status.Findings[:min(len(status.Findings), maxFindings)]
	if previous := baseline.Status.Exceptions; previous != nil {
		status.LastAnnouncedTime = previous.LastAnnouncedTime
	}
	if due := DueDeadlines(baseline, now); len(due) > 0 {
		status.LastAnnouncedTime = &due[len(due)-1].at
	}
	return status
}

// unmatchedFinding names the namespaces and controls of an exception to which the
// baseline does not apply. It returns "" if there are none.
func unmatchedFinding(baseline *v1alpha1.SecurityBaseline, exception *v1alpha1.Exception, selected sets.Set[string]) string {
	var unselected, undeclared []string
	for _, namespace := range exception.Namespaces {
		if !selected.Has(namespace) {
			unselected = append(unselected, namespace)
		}
	}
	for _, control := range controls.All {
		if slices.Contains(exception.Controls, control.Name) && !control.IsDeclared(&baseline.Spec) {
			undeclared = append(undeclared, string(control.Name))
		}
	}
	var parts []string
	if len(unselected) > 0 {
		parts = append(parts, "the baseline does not select "+strings.Join(unselected, ", "))
	}
	if len(undeclared) > 0 {
		parts = append(parts, "the baseline does not declare "+strings.Join(undeclared, ", "))
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("exception %s: %s", exception.Name, strings.Join(parts, "; "))
}
