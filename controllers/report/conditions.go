package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// maxNamespacesInMessage limits the namespaces that a message names.
const maxNamespacesInMessage = 5

// setConditions sets all conditions of the status.
func (s *statusSummary) setConditions(conditions *[]metav1.Condition, now time.Time) {
	set := conditionSetter{conditions: conditions, generation: s.baseline.Generation, now: now}
	failed := firstViolation(s.violations, v1alpha1.StateFailed)
	set.setOrRemove(v1alpha1.ConditionReconciling, s.isPending(), v1alpha1.ReasonEvaluating, s.progress())
	set.setOrRemove(v1alpha1.ConditionStalled, !s.isPending() && failed != "", v1alpha1.ReasonWriteRejected, failed)
	if hardened := s.cluster.NewNamespacesHardened; hardened != nil {
		set.condition(v1alpha1.ConditionNewNamespacesHardened, hardened.Status, hardened.Reason, hardened.Message)
	} else {
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionNewNamespacesHardened)
	}
	s.setReady(set, failed)
	if drifted := firstViolation(s.drifted); drifted != "" {
		set.condition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, driftReason(s.drifted), drifted)
	} else {
		set.condition(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonNoDrift, "no outstanding drift")
	}
	s.setCompliant(set)
}

// setReady sets the condition Ready. failed describes the first failure, if any.
func (s *statusSummary) setReady(set conditionSetter, failed string) {
	switch {
	case s.isPending():
		set.condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonEvaluating, s.progress())
	case failed != "":
		set.condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWriteRejected, failed)
	case s.namespaces.Governed == 0:
		set.condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned, s.whyNoneGoverned())
	default:
		set.condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated, s.progress())
	}
}

// setCompliant sets the condition Compliant.
func (s *statusSummary) setCompliant(set conditionSetter) {
	violation := firstViolation(s.violations)
	switch {
	case violation != "":
		set.condition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, violationReason(s.violations), violation)
	case s.isPending():
		set.condition(v1alpha1.ConditionCompliant, metav1.ConditionUnknown, v1alpha1.ReasonEvaluating, s.progress())
	case s.namespaces.Governed == 0:
		set.condition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned, s.whyNoneGoverned())
	default:
		set.condition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonAllCompliant,
			fmt.Sprintf("%d of %d namespaces comply with the baseline%s", s.namespaces.Compliant, s.namespaces.Governed, s.exceptionSuffix()))
	}
}

// isPending reports whether an evaluation or something in the cluster is outstanding.
func (s *statusSummary) isPending() bool {
	return s.namespaces.Pending > 0 || s.cluster.Pending != ""
}

// progress says how many namespaces are evaluated and what else is pending.
func (s *statusSummary) progress() string {
	progress := fmt.Sprintf("%d of %d namespaces evaluated", s.namespaces.Governed-s.namespaces.Pending, s.namespaces.Governed)
	if s.cluster.Pending != "" {
		progress += "; " + s.cluster.Pending
	}
	return progress
}

// whyNoneGoverned says why the baseline governs no namespace.
func (s *statusSummary) whyNoneGoverned() string {
	if len(s.declared) == 0 {
		return "the baseline governs the whole cluster and declares no control for namespaces"
	}
	if s.namespaces.Overridden > 0 {
		return fmt.Sprintf("baselines with higher precedence govern all controls in the %d selected namespaces", s.namespaces.Overridden)
	}
	return "the baseline selects no namespace"
}

// exceptionSuffix says how many namespaces have an exception, if any.
func (s *statusSummary) exceptionSuffix() string {
	if s.namespaces.Excepted == 0 {
		return ""
	}
	return fmt.Sprintf(", %d excepted", s.namespaces.Excepted)
}

// driftReason returns the reason of the condition Drifted.
func driftReason(drifted []v1alpha1.Violation) string {
	if hasState(drifted, v1alpha1.StateContested) {
		return v1alpha1.ReasonContested
	}
	return v1alpha1.ReasonDriftDetected
}

// violationReason returns the reason that corresponds to the worst violation.
func violationReason(violations []v1alpha1.Violation) string {
	switch {
	case hasState(violations, v1alpha1.StateFailed):
		return v1alpha1.ReasonWriteRejected
	case hasState(violations, v1alpha1.StateConflict):
		return v1alpha1.ReasonObjectConflict
	case hasState(violations, v1alpha1.StateContested):
		return v1alpha1.ReasonContested
	case hasState(violations, v1alpha1.StateDrifted):
		return v1alpha1.ReasonDriftDetected
	}
	return v1alpha1.ReasonViolationsFound
}

// hasState reports whether a violation has the state.
func hasState(violations []v1alpha1.Violation, state v1alpha1.State) bool {
	return slices.ContainsFunc(violations, func(violation v1alpha1.Violation) bool { return violation.State == state })
}

// firstViolation describes the first violation and says how many more there are. If
// states are listed, it considers only violations with these. It returns "" if there
// are none.
func firstViolation(violations []v1alpha1.Violation, states ...v1alpha1.State) string {
	var first *v1alpha1.Violation
	matching := 0
	for i := range violations {
		if len(states) > 0 && !slices.Contains(states, violations[i].State) {
			continue
		}
		if first == nil {
			first = &violations[i]
		}
		matching++
	}
	if first == nil {
		return ""
	}
	location := ""
	if first.Namespace != "" {
		location = " in namespace " + first.Namespace
	}
	message := fmt.Sprintf("%s%s: %s", first.Control, location, first.Message)
	if more := matching - 1; more > 0 {
		message += fmt.Sprintf(" (and %d more)", more)
	}
	return message
}

// conditionSetter sets conditions for one generation.
type conditionSetter struct {
	conditions *[]metav1.Condition
	generation int64
	now        time.Time
}

// condition sets a condition. Its transition time changes only with its status.
func (s conditionSetter) condition(conditionType string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(s.conditions, metav1.Condition{
		Type: conditionType, Status: status, Reason: reason, Message: message,
		ObservedGeneration: s.generation, LastTransitionTime: metav1.NewTime(s.now),
	})
}

// setOrRemove sets a condition to True if isTrue, and removes it otherwise.
func (s conditionSetter) setOrRemove(conditionType string, isTrue bool, reason, message string) {
	if !isTrue {
		meta.RemoveStatusCondition(s.conditions, conditionType)
		return
	}
	s.condition(conditionType, metav1.ConditionTrue, reason, message)
}

// RemovalStatus returns the status of a baseline that is being deleted while its
// managed objects remain in namespaces.
func RemovalStatus(baseline *v1alpha1.SecurityBaseline, namespaces []string, now time.Time) v1alpha1.SecurityBaselineStatus {
	status := *baseline.Status.DeepCopy()
	status.ObservedGeneration = baseline.Generation
	message := "removing managed objects from " + strings.Join(namespaces[:min(len(namespaces), maxNamespacesInMessage)], ", ")
	if more := len(namespaces) - maxNamespacesInMessage; more > 0 {
		message += fmt.Sprintf(" and %d more namespaces", more)
	}
	set := conditionSetter{conditions: &status.Conditions, generation: baseline.Generation, now: now}
	set.setOrRemove(v1alpha1.ConditionReconciling, true, v1alpha1.ReasonRemovingManagedObjects, message)
	set.setOrRemove(v1alpha1.ConditionStalled, false, "", "")
	set.condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRemovingManagedObjects, message)
	return status
}

// InvalidSelectorStatus returns the status of a baseline whose selector does not parse.
// err is the error of the parser.
func InvalidSelectorStatus(baseline *v1alpha1.SecurityBaseline, err error, now time.Time) v1alpha1.SecurityBaselineStatus {
	status := *baseline.Status.DeepCopy()
	status.ObservedGeneration = baseline.Generation
	set := conditionSetter{conditions: &status.Conditions, generation: baseline.Generation, now: now}
	set.setOrRemove(v1alpha1.ConditionReconciling, false, "", "")
	set.setOrRemove(v1alpha1.ConditionStalled, true, v1alpha1.ReasonInvalidSelector, err.Error())
	set.condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSelector, err.Error())
	set.condition(v1alpha1.ConditionDrifted, metav1.ConditionUnknown, v1alpha1.ReasonInvalidSelector, err.Error())
	set.condition(v1alpha1.ConditionCompliant, metav1.ConditionUnknown, v1alpha1.ReasonInvalidSelector, err.Error())
	status.Namespaces = v1alpha1.NamespaceCounts{}
	status.Controls = nil
	return status
}
