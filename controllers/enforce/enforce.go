// Package enforce makes governed namespaces as their baselines say: compare,
// heal, prune, attribute. It is the only code that writes into them.
package enforce

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"
	"sigs.k8s.io/structured-merge-diff/v6/fieldpath"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// Enforcer writes into governed namespaces.
type Enforcer struct {
	// Client reads from the cache, in which objects have no managedFields, and
	// writes as the operator's field manager.
	Client client.Client

	// Live reads from the API server. It is asked only where something differs.
	Live client.Reader

	// Now is the time.
	Now func() time.Time
}

// Task is one control in one namespace.
type Task struct {
	Control controls.Control

	// Baseline governs the control here; nil where none does.
	Baseline *v1alpha1.SecurityBaseline

	// Desired is what the baseline asks for.
	Desired controls.Desired

	// Ledger is what the namespace's report said of the control; nil if nothing.
	Ledger *v1alpha1.ControlReport
}

// Outcome is how a task ended.
type Outcome struct {
	Control v1alpha1.ControlName

	// Baseline is the one that governs the control or, where none does and
	// something could not be removed, the one that gave it.
	Baseline string

	State    v1alpha1.State
	Message  string
	Findings []string
	Drifts   []v1alpha1.Drift

	// Placed is what is in place, or was and will be again.
	Placed []v1alpha1.PlacedObject

	// Stale says that the cache was behind: the task is to be done again at once.
	Stale bool

	// Err is what may succeed if tried again later: the API server did not
	// answer, or not as it should.
	Err error
}

// Enforce makes a namespace as the tasks say, and returns an outcome for each
// task that is governed or whose removal did not succeed. Tasks fail alone.
//
// gone says of a baseline's name that what it gave, and nobody governs now, is
// to be removed.
func (e *Enforcer) Enforce(ctx context.Context, namespace *metav1.PartialObjectMetadata, tasks []Task, gone func(baseline string) bool) ([]Outcome, error) {
	have, err := e.observe(ctx, namespace.Name)
	if err != nil {
		return nil, err
	}
	runs, wanted := make([]*run, 0, len(tasks)), sets.New[string]()
	for i := range tasks {
		for _, object := range tasks[i].Desired.Objects {
			wanted.Insert(e.id(object))
		}
		runs = append(runs, &run{Enforcer: e, Task: &tasks[i], namespace: namespace, have: have, wanted: wanted, gone: gone})
	}
	e.enforceLabels(ctx, runs)
	var outcomes []Outcome
	for _, run := range runs {
		run.enforceObjects(ctx)
		if outcome := run.outcome(); outcome != nil {
			outcomes = append(outcomes, *outcome)
		}
	}
	return outcomes, nil
}

// observe returns every object, of the kinds that the operator makes, in a
// namespace.
func (e *Enforcer) observe(ctx context.Context, namespace string) (map[string]client.Object, error) {
	have := map[string]client.Object{}
	for _, list := range lists() {
		if err := e.Client.List(ctx, list, client.InNamespace(namespace)); err != nil {
			return nil, fmt.Errorf("listing the objects of namespace %s: %w", namespace, err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			have[e.id(object)] = object
			return nil
		})
		if err != nil {
			return nil, fmt.Errorf("reading the objects of namespace %s: %w", namespace, err)
		}
	}
	return have, nil
}

// id names an object within its namespace, as Kind/name.
func (e *Enforcer) id(object client.Object) string {
	return e.kind(object).Kind + "/" + object.GetName()
}

func (e *Enforcer) kind(object client.Object) schema.GroupVersionKind {
	gvk, err := apiutil.GVKForObject(object, e.Client.Scheme())
	if err != nil {
		panic(fmt.Sprintf("the scheme must hold every kind in lists: %v", err))
	}
	return gvk
}

// run is a task being done.
type run struct {
	*Enforcer
	*Task
	namespace *metav1.PartialObjectMetadata
	// have is what is in the namespace, wanted what any control wants there, by
	// id.
	have   map[string]client.Object
	wanted sets.Set[string]
	gone   func(baseline string) bool

	drifts    []v1alpha1.Drift
	placed    []v1alpha1.PlacedObject
	conflicts []string
	failures  []string
	errs      []error
	stale     bool
	// givenBy is the baseline whose leftovers could not be removed.
	givenBy string
}

// enforceObjects makes what is wanted first and removes what is not after, so
// that a namespace that changes hands is never without.
func (r *run) enforceObjects(ctx context.Context) {
	for _, object := range r.Desired.Objects {
		uid, err := r.enforceObject(ctx, object)
		r.place(r.id(object), uid, controls.Revision(object), explained(object, err))
	}
	r.prune(ctx)
}

// place notes that something that is wanted is in place or, where err says that
// it is not, what was there when it was last.
func (r *run) place(id string, uid types.UID, revision string, err error) {
	if err == nil {
		r.placed = append(r.placed, v1alpha1.PlacedObject{Object: id, UID: uid, Revision: revision})
		return
	}
	if before := r.ledger(id); before != nil {
		r.placed = append(r.placed, *before)
	}
	r.note(id, err)
}

// ledger returns what the report says was put in place, or nil.
func (r *run) ledger(id string) *v1alpha1.PlacedObject {
	if r.Ledger == nil {
		return nil
	}
	for i := range r.Ledger.Placed {
		if r.Ledger.Placed[i].Object == id {
			return &r.Ledger.Placed[i]
		}
	}
	return nil
}

// inPlace says whether something was put in place just as it is wanted now. If
// it differs, somebody changed it: it drifted.
func (r *run) inPlace(id, revision string) bool {
	before := r.ledger(id)
	return before != nil && before.Revision == revision
}

// note sorts what went wrong.
func (r *run) note(id string, err error) {
	var conflict conflictError
	switch {
	case err == nil, Vanishing(err):
	case errors.As(err, &conflict):
		r.conflicts = append(r.conflicts, fmt.Sprintf("%s %s", id, conflict))
	case outdated(err):
		r.stale = true
	case refused(err):
		r.failures = append(r.failures, fmt.Sprintf("%s: %v", id, err))
	default:
		r.errs = append(r.errs, fmt.Errorf("%s: %w", id, err))
	}
}

func (r *run) outcome() *Outcome {
	outcome := &Outcome{
		Control: r.Control.Name, Baseline: r.givenBy, Findings: r.Desired.Findings,
		Drifts: r.drifts, Placed: r.placed, Stale: r.stale, Err: errors.Join(r.errs...),
	}
	if r.Baseline != nil {
		outcome.Baseline = r.Baseline.Name
	}
	problems := slices.Concat(r.failures, r.conflicts)
	for _, err := range r.errs {
		problems = append(problems, err.Error())
	}
	outcome.Message = strings.Join(problems, "\n")
	switch {
	case len(r.failures) > 0:
		outcome.State = v1alpha1.StateFailed
	case len(r.conflicts) > 0:
		outcome.State = v1alpha1.StateConflict
	case len(r.errs) > 0:
		outcome.State = v1alpha1.StateDrifted
	case r.stale:
		outcome.State, outcome.Message = v1alpha1.StateDrifted, "is being put in place"
		if r.Ledger != nil && r.Ledger.Baseline == outcome.Baseline {
			// It is looked at again at once: no news yet.
			outcome.State, outcome.Message = r.Ledger.State, r.Ledger.Message
		}
	case r.Baseline == nil:
		return nil
	default:
		outcome.State = v1alpha1.StateCompliant
	}
	return outcome
}

func (r *run) drifted(id string, paths []fieldpath.Path, by author, action v1alpha1.DriftAction) {
	r.drifts = append(r.drifts, v1alpha1.Drift{
		Time: metav1.NewTime(r.Now()), Control: r.Control.Name, Baseline: r.Baseline.Name,
		Object: id, Fields: pathStrings(paths), Manager: by.manager, Operation: string(by.operation), Action: action,
	})
}
