// Package enforcement makes governed namespaces match their baselines. It is the only
// code that writes managed objects and labels there. Only the reports are written elsewhere:
// the BaselineReport by package namespace, and its copy by package openreports.
//
// The path of a namespace: takeSnapshot reads it, newPlan renders what each baseline expects,
// applyNamespaceLabels, applyObject and prune compare and write, outcome sums up. The path of
// an object is apply.go, from top to bottom.
package enforcement

import (
	"context"
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/podsecurity"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// Enforcer writes into governed namespaces.
type Enforcer struct {
	// client reads from the cache, in which objects have no managedFields, and writes as
	// the operator's field manager.
	client client.Client
	// live reads from the API server. It is used only where something differs.
	live  client.Reader
	clock clock.PassiveClock
	pods  *podsecurity.Checker
	state *State
}

// New returns an Enforcer. writer reads from the cache and writes as the operator's field
// manager; its configuration must have podsecurity.Warnings as warning handler. live
// reads from the API server.
func New(writer client.Client, live client.Reader, passiveClock clock.PassiveClock, state *State) *Enforcer {
	return &Enforcer{
		client: writer, live: live, clock: passiveClock, state: state,
		pods: &podsecurity.Checker{Client: writer, Live: live, Clock: passiveClock, Results: &state.podResults},
	}
}

// Enforce makes a namespace match its tasks. It returns an outcome for each task that a
// baseline governs or audits, and for each whose removal failed. Tasks fail
// independently. There is at most one task for each control that is not in Audit
// mode.
//
// shouldPrune reports whether objects that the named baseline applied must be removed
// where no baseline governs the control. An object is removed only after it was dropped
// from the report's inventory, so that its removal is never mistaken for drift;
// mustRequeue reports whether such objects remain. The error is about reading the namespace.
func (e *Enforcer) Enforce(
	ctx context.Context, namespace *metav1.PartialObjectMetadata, tasks []evaluation.Task, shouldPrune func(baseline string) bool,
) (outcomes []evaluation.Outcome, mustRequeue bool, err error) {
	current, err := e.takeSnapshot(ctx, namespace, tasks)
	if err != nil {
		return nil, false, err
	}
	current, takeOverErr := e.takeOverCreationLabels(ctx, current, tasks)
	plans := make([]*plan, 0, len(tasks))
	for i := range tasks {
		plans = append(plans, e.newPlan(ctx, current, &tasks[i], shouldPrune, takeOverErr))
	}
	for _, s := range scenarios(plans) {
		labels := e.applyNamespaceLabels(ctx, current, s)
		expected := s.objectIDs()
		for i, p := range s.plans {
			result := planResult{labels: labels[i]}
			for _, object := range p.desired.Objects {
				result.objects = append(result.objects, e.applyObject(ctx, current, p, object))
			}
			result.removals = e.prune(ctx, current, p, expected)
			if outcome := p.outcome(result); outcome != nil {
				outcomes = append(outcomes, *outcome)
			}
			mustRequeue = mustRequeue || result.mustRequeue()
		}
	}
	return outcomes, mustRequeue, nil
}

// plan is a task and what its baseline expects of the namespace.
type plan struct {
	*evaluation.Task
	// desired is empty where no baseline governs the control.
	desired controls.Desired
	// pods is how the running pods compare to the expected level; nil unless the control is
	// about pod security.
	pods *podsecurity.Assessment
	// shouldPrune is Enforce's.
	shouldPrune func(baseline string) bool
	// errs are what went wrong before anything was applied. They are about the labels of
	// the namespace.
	errs []error
}

// newPlan renders what the baseline of a task expects.
func (e *Enforcer) newPlan(
	ctx context.Context, current snapshot, task *evaluation.Task, shouldPrune func(string) bool, takeOverErr error,
) *plan {
	p := &plan{Task: task, shouldPrune: shouldPrune}
	if p.Baseline == nil {
		return p
	}
	observed := current.observe(task)
	if p.Control.EnforcedLevel != nil {
		pods, err := e.pods.Assess(ctx, current.podSecurityInput(task))
		p.pods = &pods
		observed.ReachedLevel = pods.Enforced
		if err != nil {
			p.errs = append(p.errs, err)
		}
	}
	p.desired = p.Control.Render(p.Baseline, observed)
	if takeOverErr != nil && !p.IsAudit() && current.hasCreationLabels(p.Control.NamespaceLabels) {
		p.errs = append(p.errs, takeOverErr)
	}
	return p
}

// scenario is the namespace after enforcement or, for a baseline in Audit mode, as it would be
// if that baseline enforced.
type scenario struct {
	// plans are those whose labels and objects the scenario applies.
	plans []*plan
	// unaffected are the plans of the other controls, which stay as they are.
	unaffected []*plan
}

// scenarios returns the actual one first, then one for each baseline in Audit mode.
func scenarios(plans []*plan) []scenario {
	var actual scenario
	audits := map[string]*scenario{}
	var names []string
	for _, p := range plans {
		if !p.IsAudit() {
			actual.plans = append(actual.plans, p)
			continue
		}
		if audits[p.Baseline.Name] == nil {
			audits[p.Baseline.Name] = &scenario{}
			names = append(names, p.Baseline.Name)
		}
		audit := audits[p.Baseline.Name]
		audit.plans = append(audit.plans, p)
	}
	all := make([]scenario, 0, 1+len(audits))
	all = append(all, actual)
	for _, name := range names {
		audit := audits[name]
		for _, p := range actual.plans {
			if !audit.hasControl(p) {
				audit.unaffected = append(audit.unaffected, p)
			}
		}
		all = append(all, *audit)
	}
	return all
}

func (s *scenario) hasControl(other *plan) bool {
	return slices.ContainsFunc(s.plans, func(p *plan) bool { return p.Control.Name == other.Control.Name })
}

// objectIDs returns the ids of the objects that any control expects.
func (s *scenario) objectIDs() sets.Set[string] {
	ids := sets.New[string]()
	for _, p := range slices.Concat(s.plans, s.unaffected) {
		for _, object := range p.desired.Objects {
			ids.Insert(objectID(object))
		}
	}
	return ids
}
