package report

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement"
)

const (
	// maxViolations is how many violations a status lists.
	maxViolations = 20
	// maxViolationMessage is how long the message of one may be, in bytes.
	maxViolationMessage = 256
)

// Status sums the reports up into the status of a baseline. selected are the
// names of the namespaces that it selects, reports all reports by namespace,
// cluster is what was found in the cluster as a whole. What the status was is kept
// where it still holds.
func Summarize(baseline *v1alpha1.SecurityBaseline, selected []string, reports map[string]*v1alpha1.BaselineReport, cluster ClusterFindings, now time.Time) v1alpha1.SecurityBaselineStatus {
	sum := sum{
		baseline: baseline, selected: selected, cluster: cluster, controls: map[v1alpha1.ControlName]*v1alpha1.StateCounts{},
		violations: slices.Clone(cluster.Violations),
	}
	for _, control := range controls.All {
		if control.IsDeclared(&baseline.Spec) {
			sum.declared = append(sum.declared, control.Name)
			sum.controls[control.Name] = &v1alpha1.StateCounts{}
		}
	}
	for _, namespace := range selected {
		if len(sum.declared) > 0 {
			sum.add(reports[namespace])
		}
	}
	for namespace, report := range reports {
		sum.addRecord(namespace, report)
	}
	return sum.status(now)
}

// Cluster is what was found in the cluster as a whole.
type ClusterFindings struct {
	// Admission is what admission policies need to know.
	Admission *v1alpha1.AdmissionStatus

	// Violations are in no governed namespace's report.
	Violations []v1alpha1.Violation

	// ClusterAdmin is how it is with rbac.clusterAdmin; nil, if the baseline does not
	// judge it.
	ClusterAdmin *v1alpha1.ClusterAdminStatus

	// Findings are worth knowing although they are compliant.
	Findings []string

	// Waiting says what is not in place yet; empty if everything is.
	Pending string

	// Born is the condition NewNamespacesHardened; nil if it is not to be present.
	NewNamespacesHardened *metav1.Condition
}

// sum is a status in the making.
type sum struct {
	cluster       ClusterFindings
	baseline      *v1alpha1.SecurityBaseline
	selected      []string
	declared      []v1alpha1.ControlName
	namespaces    v1alpha1.NamespaceCounts
	controls      map[v1alpha1.ControlName]*v1alpha1.StateCounts
	violations    []v1alpha1.Violation
	violatingPods int32
	// drifted is what differs now.
	drifted   []v1alpha1.Violation
	drifts    int64
	lastDrift *v1alpha1.NamespacedDrift
}

// add counts a selected namespace by its report, which may be nil.
func (s *sum) add(report *v1alpha1.BaselineReport) {
	if !s.evaluated(report) {
		s.namespaces.Governed++
		s.namespaces.Pending++
		for _, name := range s.declared {
			s.controls[name].Pending++
		}
		return
	}
	var state v1alpha1.State
	for _, name := range s.declared {
		control := FindControl(report.BaselineReportData, name, s.baseline.Name)
		if control == nil {
			s.controls[name].Overridden++
			continue
		}
		count(s.controls[name], control.State)
		state = worst(state, control.State)
	}
	if state == "" {
		s.namespaces.Overridden++
		return
	}
	s.namespaces.Governed++
	count(&s.namespaces.StateCounts, state)
}

// addRecord collects what a report says of the baseline, selected or not: what
// could not be removed is a violation too.
func (s *sum) addRecord(namespace string, report *v1alpha1.BaselineReport) {
	for _, control := range report.Controls {
		if control.Baseline != s.baseline.Name {
			continue
		}
		s.drifts += control.DriftsTotal
		s.violatingPods += podsIn(control.PodSecurity)
		violation := v1alpha1.Violation{Namespace: namespace, Control: control.Name, State: control.State, Message: control.Message}
		if control.State != v1alpha1.StateCompliant && control.State != v1alpha1.StateExcepted {
			s.violations = append(s.violations, violation)
		}
		if control.State == v1alpha1.StateDrifted || control.State == v1alpha1.StateContested || len(control.Changes) > 0 {
			s.drifted = append(s.drifted, violation)
		}
	}
	for _, drift := range report.Drifts {
		candidate := &v1alpha1.NamespacedDrift{Namespace: namespace, Drift: drift}
		if drift.Baseline == s.baseline.Name && (s.lastDrift == nil || newer(candidate, s.lastDrift)) {
			s.lastDrift = candidate
		}
	}
}

// others matches how many other pods violate a level as the one that is named.
var others = regexp.MustCompile(`\(and (\d+) other pods?\)$`)

// podsIn counts the pods that a level rejects.
func podsIn(report *v1alpha1.PodSecurityReport) int32 {
	if report == nil {
		return 0
	}
	pods := len(report.Violations)
	for _, violation := range report.Violations {
		if match := others.FindStringSubmatch(violation.Pods); match != nil {
			more, err := strconv.Atoi(match[1])
			if err != nil {
				continue // more pods than a cluster can have
			}
			pods += more
		}
	}
	return int32(pods)
}

// newer orders drifts by time and, times being whole seconds, by what they are
// about.
func newer(a, b *v1alpha1.NamespacedDrift) bool {
	return cmp.Or(b.DetectionTime.Compare(a.DetectionTime.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Object, b.Object)) < 0
}

// evaluated says whether a report is about the baseline's generation.
func (s *sum) evaluated(report *v1alpha1.BaselineReport) bool {
	return report != nil && slices.Contains(report.ObservedBaselines,
		v1alpha1.ObservedBaseline{Name: s.baseline.Name, Generation: s.baseline.Generation})
}

func count(counts *v1alpha1.StateCounts, state v1alpha1.State) {
	switch state {
	case v1alpha1.StateCompliant:
		counts.Compliant++
	case v1alpha1.StateExcepted:
		counts.Excepted++
	case v1alpha1.StateViolating:
		counts.Violating++
	case v1alpha1.StateDrifted:
		counts.Drifted++
	case v1alpha1.StateContested:
		counts.Contested++
	case v1alpha1.StateConflict:
		counts.Conflict++
	case v1alpha1.StateFailed:
		counts.Failed++
	}
}

func (s *sum) status(now time.Time) v1alpha1.SecurityBaselineStatus {
	status := *s.baseline.Status.DeepCopy()
	status.ObservedGeneration = s.baseline.Generation
	status.Namespaces = s.namespaces
	status.Controls = nil
	for _, name := range s.declared {
		status.Controls = append(status.Controls, v1alpha1.ControlCounts{Name: name, StateCounts: *s.controls[name]})
	}
	byNamespace := func(a, b v1alpha1.Violation) int {
		return cmp.Or(cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Control, b.Control))
	}
	slices.SortFunc(s.violations, byNamespace)
	slices.SortFunc(s.drifted, byNamespace)
	status.Violations = slices.Clone(s.violations[:min(len(s.violations), maxViolations)])
	for i := range status.Violations {
		status.Violations[i].Message = enforcement.Truncate(status.Violations[i].Message, maxViolationMessage)
	}
	status.ViolationsTotal = int32(len(s.violations))
	status.ViolatingPodsTotal = s.violatingPods
	status.DriftsTotal = s.drifts
	status.Exceptions = exceptions(s.baseline, s.selected, now)
	status.ClusterAdmin = s.cluster.ClusterAdmin
	status.Admission, status.Findings = s.cluster.Admission, bounded(s.cluster.Findings)
	// The newest drift is remembered when its namespace is gone.
	if s.lastDrift != nil && (status.LastDrift == nil || !s.lastDrift.DetectionTime.Before(&status.LastDrift.DetectionTime)) {
		status.LastDrift = s.lastDrift
	}
	s.setConditions(&status.Conditions, now)
	return status
}

func (s *sum) setConditions(conditions *[]metav1.Condition, now time.Time) {
	set := conditionSetter{conditions: conditions, generation: s.baseline.Generation, now: now}
	evaluated := s.namespaces.Governed - s.namespaces.Pending
	evaluating := fmt.Sprintf("%d of %d namespaces evaluated", evaluated, s.namespaces.Governed)
	failed := sentence(s.violations, v1alpha1.StateFailed)
	drifted := sentence(s.drifted)
	violation := sentence(s.violations)

	pending := s.namespaces.Pending > 0 || s.cluster.Pending != ""
	if s.cluster.Pending != "" {
		evaluating += "; " + s.cluster.Pending
	}

	set.presentWhile(v1alpha1.ConditionReconciling, pending, v1alpha1.ReasonEvaluating, evaluating)
	set.presentWhile(v1alpha1.ConditionStalled, !pending && failed != "", v1alpha1.ReasonWriteRejected, failed)
	if born := s.cluster.NewNamespacesHardened; born != nil {
		set.condition(v1alpha1.ConditionNewNamespacesHardened, born.Status, born.Reason, born.Message)
	} else {
		meta.RemoveStatusCondition(conditions, v1alpha1.ConditionNewNamespacesHardened)
	}

	switch {
	case pending:
		set.condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonEvaluating, evaluating)
	case failed != "":
		set.condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWriteRejected, failed)
	case s.namespaces.Governed == 0:
		set.condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned, s.nothingGoverned())
	default:
		set.condition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated, evaluating)
	}

	if drifted != "" {
		set.condition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, driftReason(s.drifted), drifted)
	} else {
		set.condition(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonNoDrift, "no drift is waiting to be put right")
	}

	switch {
	case violation != "":
		set.condition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, violationReason(s.violations), violation)
	case pending:
		set.condition(v1alpha1.ConditionCompliant, metav1.ConditionUnknown, v1alpha1.ReasonEvaluating, evaluating)
	case s.namespaces.Governed == 0:
		set.condition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned, s.nothingGoverned())
	default:
		set.condition(v1alpha1.ConditionCompliant, metav1.ConditionTrue, v1alpha1.ReasonAllCompliant,
			fmt.Sprintf("%d of %d namespaces are as the baseline says%s", s.namespaces.Compliant, s.namespaces.Governed, s.but()))
	}
}

func (s *sum) nothingGoverned() string {
	if len(s.declared) == 0 {
		return "it governs the cluster as a whole, and nothing in namespaces"
	}
	if s.namespaces.Overridden > 0 {
		return fmt.Sprintf("baselines of higher precedence govern all controls in the %d selected namespaces", s.namespaces.Overridden)
	}
	return "no namespace is selected"
}

// but says why compliant namespaces are not all of them.
func (s *sum) but() string {
	if s.namespaces.Excepted == 0 {
		return ""
	}
	return fmt.Sprintf(", %d by exception", s.namespaces.Excepted)
}

// driftReason returns why something differs.
func driftReason(drifted []v1alpha1.Violation) string {
	if anyIs(drifted, v1alpha1.StateContested) {
		return v1alpha1.ReasonContested
	}
	return v1alpha1.ReasonDriftDetected
}

// violationReason returns the reason of the worst violation.
func violationReason(violations []v1alpha1.Violation) string {
	switch {
	case anyIs(violations, v1alpha1.StateFailed):
		return v1alpha1.ReasonWriteRejected
	case anyIs(violations, v1alpha1.StateConflict):
		return v1alpha1.ReasonObjectConflict
	case anyIs(violations, v1alpha1.StateContested):
		return v1alpha1.ReasonContested
	case anyIs(violations, v1alpha1.StateDrifted):
		return v1alpha1.ReasonDriftDetected
	}
	return v1alpha1.ReasonViolationsFound
}

func anyIs(violations []v1alpha1.Violation, state v1alpha1.State) bool {
	return slices.ContainsFunc(violations, func(violation v1alpha1.Violation) bool { return violation.State == state })
}

// sentence returns a sentence about the violations, or about those of a state;
// empty if there are none.
func sentence(violations []v1alpha1.Violation, state ...v1alpha1.State) string {
	var first *v1alpha1.Violation
	others := -1
	for i := range violations {
		if len(state) > 0 && !slices.Contains(state, violations[i].State) {
			continue
		}
		if first == nil {
			first = &violations[i]
		}
		others++
	}
	if first == nil {
		return ""
	}
	where := ""
	if first.Namespace != "" {
		where = " in namespace " + first.Namespace
	}
	sentence := fmt.Sprintf("%s%s: %s", first.Control, where, first.Message)
	if others > 0 {
		sentence += fmt.Sprintf(" (and %d more)", others)
	}
	return sentence
}

// conditionSetter sets conditions of one generation.
type conditionSetter struct {
	conditions *[]metav1.Condition
	generation int64
	now        time.Time
}

func (s conditionSetter) condition(conditionType string, status metav1.ConditionStatus, reason, message string) {
	meta.SetStatusCondition(s.conditions, metav1.Condition{
		Type: conditionType, Status: status, Reason: reason, Message: message,
		ObservedGeneration: s.generation, LastTransitionTime: metav1.NewTime(s.now),
	})
}

// presentWhile sets a condition to True while it holds and removes it otherwise.
func (s conditionSetter) presentWhile(conditionType string, holds bool, reason, message string) {
	if !holds {
		meta.RemoveStatusCondition(s.conditions, conditionType)
		return
	}
	s.condition(conditionType, metav1.ConditionTrue, reason, message)
}

// maxNamed is how many namespaces a message names.
const maxNamed = 5

// Removing returns the status of a baseline that is being deleted while what it
// gave is removed from namespaces.
func RemovalStatus(baseline *v1alpha1.SecurityBaseline, namespaces []string, now time.Time) v1alpha1.SecurityBaselineStatus {
	status := *baseline.Status.DeepCopy()
	status.ObservedGeneration = baseline.Generation
	message := "removing what this baseline gave, still from " + strings.Join(namespaces[:min(len(namespaces), maxNamed)], ", ")
	if more := len(namespaces) - maxNamed; more > 0 {
		message += fmt.Sprintf(" and %d more namespaces", more)
	}
	set := conditionSetter{conditions: &status.Conditions, generation: baseline.Generation, now: now}
	set.presentWhile(v1alpha1.ConditionReconciling, true, v1alpha1.ReasonRemovingManagedObjects, message)
	set.presentWhile(v1alpha1.ConditionStalled, false, "", "")
	set.condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonRemovingManagedObjects, message)
	return status
}

// InvalidSelector returns the status of a baseline whose selector does not
// parse; err says why.
func InvalidSelectorStatus(baseline *v1alpha1.SecurityBaseline, err error, now time.Time) v1alpha1.SecurityBaselineStatus {
	status := *baseline.Status.DeepCopy()
	status.ObservedGeneration = baseline.Generation
	set := conditionSetter{conditions: &status.Conditions, generation: baseline.Generation, now: now}
	set.presentWhile(v1alpha1.ConditionReconciling, false, "", "")
	set.presentWhile(v1alpha1.ConditionStalled, true, v1alpha1.ReasonInvalidSelector, err.Error())
	set.condition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonInvalidSelector, err.Error())
	set.condition(v1alpha1.ConditionDrifted, metav1.ConditionUnknown, v1alpha1.ReasonInvalidSelector, err.Error())
	set.condition(v1alpha1.ConditionCompliant, metav1.ConditionUnknown, v1alpha1.ReasonInvalidSelector, err.Error())
	status.Namespaces, status.Controls = v1alpha1.NamespaceCounts{}, nil
	return status
}
