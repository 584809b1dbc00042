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
	// maxFindings is how many findings about exceptions a status lists.
	maxFindings = 20
	// expiryNotice is how long before an exception expires people are told.
	expiryNotice = 24 * time.Hour
)

// exceptions returns how it is with a baseline's exceptions, or nil if it has
// none. selected are the names of the namespaces that it selects.
func exceptions(baseline *v1alpha1.SecurityBaseline, selected []string, now time.Time) *v1alpha1.ExceptionStatus {
	if len(baseline.Spec.Exceptions) == 0 {
		return nil
	}
	status, selects := &v1alpha1.ExceptionStatus{}, sets.New(selected...)
	for i := range baseline.Spec.Exceptions {
		exception := &baseline.Spec.Exceptions[i]
		if !exception.IsActive(now) {
			status.Expired++
			continue
		}
		status.Active++
		if finding := unmatched(baseline, exception, selects); finding != "" {
			status.Unmatched++
			status.Findings = append(status.Findings, evaluation.Truncate(finding, maxViolationMessage))
		}
	}
	status.Findings = status.Findings[:min(len(status.Findings), maxFindings)]
	if before := baseline.Status.Exceptions; before != nil {
		status.LastAnnouncedTime = before.LastAnnouncedTime
	}
	if due := DueDeadlines(baseline, now); len(due) > 0 {
		status.LastAnnouncedTime = &due[len(due)-1].at
	}
	return status
}

// unmatched says what an exception names that it could not be about; empty if
// nothing.
func unmatched(baseline *v1alpha1.SecurityBaseline, exception *v1alpha1.Exception, selects sets.Set[string]) string {
	var namespaces, undeclared []string
	for _, namespace := range exception.Namespaces {
		if !selects.Has(namespace) {
			namespaces = append(namespaces, namespace)
		}
	}
	for _, control := range controls.All {
		if slices.Contains(exception.Controls, control.Name) && !control.IsDeclared(&baseline.Spec) {
			undeclared = append(undeclared, string(control.Name))
		}
	}
	var parts []string
	if len(namespaces) > 0 {
		parts = append(parts, "the baseline does not select "+strings.Join(namespaces, ", "))
	}
	if len(undeclared) > 0 {
		parts = append(parts, "it does not declare "+strings.Join(undeclared, ", "))
	}
	if len(parts) == 0 {
		return ""
	}
	return fmt.Sprintf("exception %s: %s", exception.Name, strings.Join(parts, "; "))
}
