package report

import (
	"cmp"
	"regexp"
	"slices"
	"strconv"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

const (
	// maxViolations limits the violations in a status.
	maxViolations = 20
	// maxViolationMessage limits the message of a violation or finding, in bytes.
	maxViolationMessage = 256
)

// Summarize returns the status of a baseline. selected are the names of the namespaces
// that it selects. reports are all reports, by namespace. cluster contains what no
// report covers. Parts of the current status that still apply are kept.
func Summarize(
	baseline *v1alpha1.SecurityBaseline, selected []string, reports map[string]*v1alpha1.BaselineReport, cluster ClusterFindings, now time.Time,
) v1alpha1.SecurityBaselineStatus {
	summary := statusSummary{
		baseline: baseline, selected: selected, cluster: cluster, controls: map[v1alpha1.ControlName]*v1alpha1.StateCounts{},
		violations: slices.Clone(cluster.Violations),
	}
	for _, control := range controls.All {
		if control.IsDeclared(&baseline.Spec) {
			summary.declared = append(summary.declared, control.Name)
			summary.controls[control.Name] = &v1alpha1.StateCounts{}
		}
	}
	for _, namespace := range selected {
		if len(summary.declared) > 0 {
			summary.countNamespace(reports[namespace])
		}
	}
	for namespace, report := range reports {
		summary.collectReport(namespace, report)
	}
	return summary.status(now)
}

// ClusterFindings is the part of a status that concerns the whole cluster and so is in
// no report.
type ClusterFindings struct {
	// Admission is the data that the admission policies read.
	Admission *v1alpha1.AdmissionStatus

	// Violations are those of cluster-wide objects and of namespaces that are not
	// governed.
	Violations []v1alpha1.Violation

	// ClusterAdmin is the compliance with rbac.clusterAdmin. It is nil if the baseline
	// does not govern it.
	ClusterAdmin *v1alpha1.ClusterAdminStatus

	// Findings inform the administrator and are no violations.
	Findings []string

	// Pending describes what is not ready yet. It is empty if everything is ready.
	Pending string

	// NewNamespacesHardened is the condition of this type. It is nil if the status must
	// not have it.
	NewNamespacesHardened *metav1.Condition
}

// statusSummary collects the data of a status.
type statusSummary struct {
	cluster       ClusterFindings
	baseline      *v1alpha1.SecurityBaseline
	selected      []string
	declared      []v1alpha1.ControlName
	namespaces    v1alpha1.NamespaceCounts
	controls      map[v1alpha1.ControlName]*v1alpha1.StateCounts
	violations    []v1alpha1.Violation
	violatingPods int32
	// drifted are the controls with drift that is not reverted.
	drifted     []v1alpha1.Violation
	driftsTotal int64
	lastDrift   *v1alpha1.NamespacedDrift
}

// countNamespace counts a selected namespace by the state in its report. The report
// may be nil.
func (s *statusSummary) countNamespace(report *v1alpha1.BaselineReport) {
	if !s.isEvaluated(report) {
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
		countState(s.controls[name], control.State)
		state = worse(state, control.State)
	}
	if state == "" {
		s.namespaces.Overridden++
		return
	}
	s.namespaces.Governed++
	countState(&s.namespaces.StateCounts, state)
}

// collectReport adds the violations and drifts of the baseline in a report. The
// baseline need not select the namespace: managed objects that could not be removed are
// a violation too.
func (s *statusSummary) collectReport(namespace string, report *v1alpha1.BaselineReport) {
	for _, control := range report.Controls {
		if control.Baseline != s.baseline.Name {
			continue
		}
		s.driftsTotal += control.DriftsTotal
		s.violatingPods += countViolatingPods(control.PodSecurity)
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
		if drift.Baseline == s.baseline.Name && (s.lastDrift == nil || isNewer(candidate, s.lastDrift)) {
			s.lastDrift = candidate
		}
	}
}

// otherPods matches the number of further pods in PodViolation.Pods, which names one.
var otherPods = regexp.MustCompile(`\(and (\d+) other pods?\)$`)

// countViolatingPods returns the number of pods that a level rejects.
func countViolatingPods(report *v1alpha1.PodSecurityReport) int32 {
	if report == nil {
		return 0
	}
	pods := len(report.Violations)
	for _, violation := range report.Violations {
		if match := otherPods.FindStringSubmatch(violation.Pods); match != nil {
			more, err := strconv.Atoi(match[1])
			if err != nil {
				continue // more pods than a cluster can have
			}
			pods += more
		}
	}
	return int32(pods)
}

// isNewer reports whether drift a is newer than drift b. Times are in whole seconds, so
// namespace and object decide between equal times and keep the status stable.
func isNewer(a, b *v1alpha1.NamespacedDrift) bool {
	return cmp.Or(b.DetectionTime.Compare(a.DetectionTime.Time), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Object, b.Object)) < 0
}

// isEvaluated reports whether a report covers the generation of the baseline.
func (s *statusSummary) isEvaluated(report *v1alpha1.BaselineReport) bool {
	return report != nil && slices.Contains(report.ObservedBaselines,
		v1alpha1.ObservedBaseline{Name: s.baseline.Name, Generation: s.baseline.Generation})
}

// countState increments the count of a state.
func countState(counts *v1alpha1.StateCounts, state v1alpha1.State) {
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

// status returns the new status of the baseline.
func (s *statusSummary) status(now time.Time) v1alpha1.SecurityBaselineStatus {
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
		status.Violations[i].Message = evaluation.Truncate(status.Violations[i].Message, maxViolationMessage)
	}
	status.ViolationsTotal = int32(len(s.violations))
	status.ViolatingPodsTotal = s.violatingPods
	status.DriftsTotal = s.driftsTotal
	status.Exceptions = exceptionStatus(s.baseline, s.selected, now)
	status.ClusterAdmin = s.cluster.ClusterAdmin
	status.Admission = s.cluster.Admission
	status.Findings = truncateFindings(s.cluster.Findings)
	// The status keeps the last drift after its namespace is deleted.
	if s.lastDrift != nil && (status.LastDrift == nil || !s.lastDrift.DetectionTime.Before(&status.LastDrift.DetectionTime)) {
		status.LastDrift = s.lastDrift
	}
	s.setConditions(&status.Conditions, now)
	return status
}
