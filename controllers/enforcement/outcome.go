package enforcement

import (
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/kube"
)

// planResult is the result of a plan.
type planResult struct {
	labels   labelsResult
	objects  []targetResult
	removals []removal
}

// mustRequeue reports whether something is removed once the report no longer lists it.
func (r *planResult) mustRequeue() bool {
	return r.labels.isDeferred || slices.ContainsFunc(r.removals, func(removed removal) bool { return removed.isDeferred })
}

// problems are the errors of a plan, by what to do about them.
type problems struct {
	failures, conflicts []string
	errs                []error
	isCacheStale        bool
	requeueAfter        time.Duration
}

// add sorts an error about an object.
func (p *problems) add(id string, err error) {
	var conflict conflictError
	var rateLimited rateLimitedError
	switch {
	case err == nil, kube.IsNamespaceTerminating(err):
	case errors.As(err, &rateLimited):
		if p.requeueAfter == 0 || rateLimited.remaining < p.requeueAfter {
			p.requeueAfter = rateLimited.remaining
		}
	case errors.As(err, &conflict):
		p.conflicts = append(p.conflicts, fmt.Sprintf("%s %s", id, conflict))
	case isConflict(err):
		p.isCacheStale = true
	case isRejected(err):
		p.failures = append(p.failures, fmt.Sprintf("%s: %v", id, err))
	default:
		p.errs = append(p.errs, fmt.Errorf("%s: %w", id, err))
	}
}

// messages returns the problems as sentences, the worst first.
func (p *problems) messages() []string {
	messages := slices.Concat(p.failures, p.conflicts)
	for _, err := range p.errs {
		messages = append(messages, err.Error())
	}
	return messages
}

// outcome sums up the result of a plan. It returns nil if there is nothing to report.
func (p *plan) outcome(result planResult) *evaluation.Outcome {
	outcome := &evaluation.Outcome{Control: p.Control.Name, Mode: v1alpha1.ModeEnforce}
	found := p.collect(result, outcome)
	if p.Baseline != nil {
		outcome.Baseline = p.Baseline.Name
	}
	if p.IsAudit() {
		outcome.Mode = v1alpha1.ModeAudit
	}
	outcome.Findings = slices.Concat(precedenceFindings(p.Task), p.desired.Findings)
	violations := p.desired.Violations
	if pods := result.labels.pods; pods != nil {
		recorded := ""
		if p.Previous != nil && p.Previous.PodSecurity != nil {
			recorded = p.Previous.PodSecurity.Enforced
		}
		outcome.PodSecurity = pods.Report(recorded, p.IsAudit())
		outcome.HasUnsettledPods = !pods.IsSettled()
		violations = pods.Violations(p.IsAudit())
	}
	outcome.Message = strings.Join(slices.Concat(found.messages(), changeSummary(p.Task, outcome.Changes), violations), "\n")
	switch {
	case len(found.failures) > 0:
		outcome.State = v1alpha1.StateFailed
	case len(found.conflicts) > 0:
		outcome.State = v1alpha1.StateConflict
	case len(found.errs) > 0, len(outcome.Changes) > 0:
		outcome.State = v1alpha1.StateDrifted
	case outcome.IsCacheStale, outcome.RequeueAfter > 0:
		outcome.State, outcome.Message = p.stateWhileWaiting(outcome.Baseline)
	case len(violations) > 0:
		outcome.State = v1alpha1.StateViolating
	case p.Baseline == nil:
		return nil
	default:
		outcome.State = v1alpha1.StateCompliant
	}
	return outcome
}

// stateWhileWaiting returns the state and message of a control that is evaluated again
// soon: those of the report, if it is about the same baseline.
func (p *plan) stateWhileWaiting(baseline string) (v1alpha1.State, string) {
	if p.Previous != nil && p.Previous.Baseline == baseline && p.Previous.IsGoverning() != p.IsAudit() {
		return p.Previous.State, p.Previous.Message
	}
	return v1alpha1.StateDrifted, "is being applied"
}

// collect fills an outcome with what happened to each object, and returns the problems.
func (p *plan) collect(result planResult, outcome *evaluation.Outcome) problems {
	var found problems
	labels := result.labels
	for _, err := range p.errs {
		found.add(labels.id, err)
	}
	outcome.Baseline = labels.leftoverOf
	for _, r := range slices.Concat([]targetResult{labels.targetResult}, result.objects) {
		p.collectTarget(r, outcome)
		found.add(r.id, r.err)
	}
	for _, r := range result.removals {
		if r.leftoverOf != "" {
			outcome.Baseline = r.leftoverOf
		}
		if r.change != nil {
			outcome.Changes = append(outcome.Changes, *r.change)
		}
		found.add(r.id, r.err)
	}
	outcome.IsCacheStale = found.isCacheStale
	outcome.RequeueAfter = found.requeueAfter
	outcome.Err = errors.Join(found.errs...)
	return found
}

// collectTarget adds what happened to one object. On an error the previous entry of the
// inventory stays.
func (p *plan) collectTarget(r targetResult, outcome *evaluation.Outcome) {
	if r.change != nil {
		outcome.Changes = append(outcome.Changes, *r.change)
	}
	if r.drift != nil {
		outcome.Drifts = append(outcome.Drifts, *r.drift)
		if outcome.DriftVersions == nil {
			outcome.DriftVersions = map[string]string{}
		}
		outcome.DriftVersions[r.id] = r.version
	}
	entry := p.Inventory(r.id)
	switch {
	case r.err == nil && r.uid != "":
		outcome.Inventory = append(outcome.Inventory, v1alpha1.InventoryEntry{Object: r.id, UID: r.uid, Revision: r.revision})
	case r.err != nil && entry != nil && p.Baseline != nil:
		outcome.HasUnrevertedDrift = outcome.HasUnrevertedDrift || entry.Revision == r.revision
		kept := *entry
		if r.isOwnChange {
			// The next evaluation must not take it for drift, though the report is current.
			kept.Revision = ""
		}
		outcome.Inventory = append(outcome.Inventory, kept)
	}
}
