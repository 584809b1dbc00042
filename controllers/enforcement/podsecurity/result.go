package podsecurity

import (
	"fmt"
	"regexp"
	"strings"
	"unicode/utf8"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// checkResult is the API server's judgment of the running pods under a level.
type checkResult struct {
	violations []v1alpha1.PodViolation
	// incomplete says what the API server did not check; empty if it checked everything.
	incomplete string
}

func (r checkResult) isClean() bool {
	return len(r.violations) == 0 && r.incomplete == ""
}

// cachedResult is a result, and the workload that was being rolled out at the time.
type cachedResult struct {
	checkResult
	rollout string
}

// decisive returns the result. If it decides about raising a level while a rollout is in
// progress, pods are about to be created, so a clean result is incomplete.
func (c cachedResult) decisive(canRaiseLevel bool) checkResult {
	if canRaiseLevel && c.rollout != "" && c.isClean() {
		return checkResult{incomplete: c.rollout + " is being rolled out"}
	}
	return c.checkResult
}

// The API server limits the text of its warnings, in runes. It first shortens each
// warning of a longer text and then omits the end.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/apiserver/pkg/endpoints/filters/warning.go
const (
	maxWarningsLength = 4096
	maxWarningLength  = 256
)

// maxViolations is how many violations are reported.
const maxViolations = 100

// violationWarning matches a warning of the API server about pods that violate a level.
var violationWarning = regexp.MustCompile(`^([a-z0-9][-.a-z0-9]*(?: \(and \d+ other pods?\))?): (.+)$`)

// parseWarnings returns what the API server's warnings say about the running pods.
func parseWarnings(texts []string) checkResult {
	var result checkResult
	var omitted []string
	hasViolations := false
	for _, text := range texts {
		violation := violationWarning.FindStringSubmatch(text)
		switch {
		case strings.HasPrefix(text, "existing pods in namespace "):
			hasViolations = true
		case strings.HasPrefix(text, "new PodSecurity enforce level only checked against "),
			strings.HasPrefix(text, "failed to list pods while checking new PodSecurity enforce level"):
			omitted = append(omitted, text)
		case hasViolations && violation != nil:
			result.violations = append(result.violations, v1alpha1.PodViolation{Pods: violation[1], Reasons: violation[2]})
		}
	}
	if isCut(texts) {
		omitted = append(omitted, "the API server truncated its warnings, so more pods may violate the level")
	}
	if more := len(result.violations) - maxViolations; more > 0 {
		omitted = append(omitted, fmt.Sprintf("%d more violations are not listed", more))
		result.violations = result.violations[:maxViolations]
	}
	if hasViolations && len(result.violations) == 0 {
		omitted = append(omitted, "pods violate the level; the API server named none")
	}
	result.incomplete = strings.Join(omitted, "; ")
	return result
}

// isCut reports whether the API server may have shortened its warnings.
func isCut(texts []string) bool {
	total := 0
	isShortened := false
	for _, text := range texts {
		length := utf8.RuneCountInString(text)
		total += length
		isShortened = isShortened || length == maxWarningLength
	}
	return total >= maxWarningsLength || isShortened && total > maxWarningsLength/2
}
