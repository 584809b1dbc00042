package enforcement

import (
	"context"
	"maps"
	"slices"

	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforcement/diff"
	"github.com/securitybaseline/operator/controllers/enforcement/ownership"
	"github.com/securitybaseline/operator/controllers/enforcement/podsecurity"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// labelsTarget are the labels of one control on the namespace, and how they differ.
type labelsTarget struct {
	target
	// expected are the labels that the operator must own.
	expected    map[string]string
	differences diff.Differences
	// released are the keys of owned labels that the control does not expect any longer.
	released sets.Set[string]
}

// labelsResult is what happened to the labels of one control.
type labelsResult struct {
	targetResult
	// pods is the evaluation of the running pods after the change; nil unless the control
	// is about pod security.
	pods *podsecurity.Assessment
	// leftoverOf is the baseline that set the labels, if they could not be removed and no
	// baseline governs the control.
	leftoverOf string
	// isDeferred reports that labels are removed once the report no longer lists them.
	isDeferred bool
}

// applyNamespaceLabels makes the labels of the namespace as all controls of a scenario
// expect them, in one write. It applies exactly the labels that the operator owns and
// leaves all others alone. It returns a result for each plan of the scenario.
func (e *Enforcer) applyNamespaceLabels(ctx context.Context, current snapshot, s scenario) []labelsResult {
	results := make([]labelsResult, len(s.plans))
	targets := make([]labelsTarget, len(s.plans))
	mustWrite := false
	for i, p := range s.plans {
		targets[i] = current.newLabelsTarget(p)
		mustWrite = mustWrite || targets[i].differs() && !p.areLabelsReported(current, targets[i])
	}
	repairs := make([]repair, len(s.plans))
	var warnings *podsecurity.CollectedWarnings
	var err error
	if mustWrite {
		if err = e.checkLabelsRateLimit(s, targets); err == nil {
			repairs = e.labelRepairs(current, s, targets)
			warnings, err = e.writeNamespaceLabels(ctx, current, s)
		}
	}
	for i, p := range s.plans {
		results[i] = e.newLabelsResult(current, p, targets[i], repairs[i], err)
		if warnings != nil && err == nil && results[i].pods != nil {
			checked := e.pods.RecordLabels(*results[i].pods, current.namespace, targets[i].expected, warnings)
			results[i].pods = &checked
		}
	}
	return results
}

// writeNamespaceLabels applies the labels of all plans of a scenario, and returns what the
// API server warned about.
func (e *Enforcer) writeNamespaceLabels(ctx context.Context, current snapshot, s scenario) (*podsecurity.CollectedWarnings, error) {
	expected := map[string]string{}
	for _, p := range slices.Concat(s.plans, s.unaffected) {
		maps.Copy(expected, current.expectedLabels(p))
	}
	// At the UID and the version that were compared: without them, the API server would
	// create a namespace again that was just deleted.
	ctx, warnings := podsecurity.CollectWarnings(ctx)
	err := e.writer(s.plans[0]).Apply(ctx, corev1ac.Namespace(current.namespace.Name).
		WithUID(current.namespace.UID).WithResourceVersion(current.namespace.ResourceVersion).
		WithLabels(expected), client.ForceOwnership)
	return warnings, err
}

// checkLabelsRateLimit returns an error if any labels of a scenario were reverted less than
// ratelimit.RepairInterval ago: they are written together.
func (e *Enforcer) checkLabelsRateLimit(s scenario, targets []labelsTarget) error {
	for i, p := range s.plans {
		if err := e.checkRateLimit(p, targets[i].target); err != nil {
			return err
		}
	}
	return nil
}

// labelRepairs finds out who changed the labels of each plan that differ, before they are
// written.
func (e *Enforcer) labelRepairs(current snapshot, s scenario, targets []labelsTarget) []repair {
	repairs := make([]repair, len(s.plans))
	for i, p := range s.plans {
		if !targets[i].differs() {
			continue
		}
		found := repair{differences: targets[i].differences, version: current.namespace.ResourceVersion}
		found.author = ownership.LastAuthor(current.namespace, found.differences.Paths()...)
		found.isOwnChange = len(found.differences) > 0 && e.isOwnChange(p, targets[i].target, found)
		e.rememberWrite(p, targets[i].target)
		repairs[i] = found
	}
	return repairs
}

// newLabelsResult returns the result for the labels of one control. err is the error of the write
// of all labels.
func (e *Enforcer) newLabelsResult(current snapshot, p *plan, t labelsTarget, done repair, err error) labelsResult {
	result := labelsResult{targetResult: targetResult{target: t.target}, pods: p.pods}
	if t.differs() {
		result.err = err // otherwise it is about other controls
	}
	if p.Baseline == nil {
		baseline := current.labelsBaseline(p)
		if result.err != nil {
			result.leftoverOf = baseline
		}
		result.isDeferred = p.Inventory(t.id) != nil && p.shouldPrune(baseline)
		return result
	}
	if result.err != nil {
		result.isOwnChange = done.isOwnChange
		return result
	}
	if len(p.Control.NamespaceLabels) == 0 {
		return result
	}
	result.uid = current.namespace.UID
	done.action = v1alpha1.DriftConfigured
	done.differences = t.differences
	if p.IsAudit() && t.differs() {
		result.uid = ""
		done.differences = current.labelChanges(t)
	}
	if len(done.differences) > 0 {
		result.targetResult = e.recordRepair(p, result.targetResult, done)
	}
	if p.pods != nil {
		pods := *p.pods
		if len(done.differences) > 0 && p.IsApplied(t.id, t.revision) {
			pods = pods.Drifted(done.differences)
		}
		if !p.IsAudit() {
			pods = pods.Applied()
		}
		result.pods = &pods
	}
	return result
}

// newLabelsTarget compares the labels of one control with what it expects.
func (s *snapshot) newLabelsTarget(p *plan) labelsTarget {
	t := labelsTarget{
		target:   newTarget(*s, evaluation.NamespaceID(s.namespace), p.desired.NamespaceLabels),
		expected: s.expectedLabels(p),
	}
	t.differences = diff.Labels(s.namespace.Labels, t.expected)
	t.released = s.ownedLabels.Intersection(sets.New(p.Control.NamespaceLabels...)).Difference(sets.KeySet(t.expected))
	return t
}

// differs reports whether labels of the control must be set or released.
func (t *labelsTarget) differs() bool {
	return len(t.differences) > 0 || t.released.Len() > 0
}

// labelChanges returns what Enforce mode would set and release.
func (s *snapshot) labelChanges(t labelsTarget) diff.Differences {
	changes := t.differences.IgnoringBaseline()
	for _, key := range sets.List(t.released) {
		changes = append(changes, diff.Difference{Path: diff.LabelPath(key), Actual: s.namespace.Labels[key]})
	}
	return changes
}

// areLabelsReported reports whether the report already says that Enforce mode would change
// the labels like this. The operator then need not check again how the running pods compare.
func (p *plan) areLabelsReported(current snapshot, t labelsTarget) bool {
	if !p.IsAudit() {
		return false
	}
	changes := current.labelChanges(t)
	return len(changes) == 0 || p.isReported(t.id, repair{action: v1alpha1.DriftConfigured, differences: changes})
}

// expectedLabels returns the labels that a control expects on the namespace: those of its
// baseline or, where no baseline governs the control, those that a deleted baseline left for
// good, or that the report still lists.
func (s *snapshot) expectedLabels(p *plan) map[string]string {
	if p.Baseline == nil && (!p.shouldPrune(s.labelsBaseline(p)) || p.Inventory(evaluation.NamespaceID(s.namespace)) != nil) {
		retained := map[string]string{}
		for _, key := range p.Control.NamespaceLabels {
			if s.ownedLabels.Has(key) {
				retained[key] = s.namespace.Labels[key]
			}
		}
		return retained
	}
	expected := maps.Clone(p.desired.NamespaceLabels)
	maps.DeleteFunc(expected, func(key, _ string) bool { return p.desired.StricterLabels.Has(key) })
	return expected
}

// labelsBaseline returns the name of the baseline that set this control's labels.
func (s *snapshot) labelsBaseline(p *plan) string {
	if len(p.Control.NamespaceLabels) == 0 {
		return ""
	}
	return s.namespace.Labels[p.Control.NamespaceLabels[0]]
}
