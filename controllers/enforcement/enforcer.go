// Package enforcement makes governed namespaces as their baselines say: compare,
// heal, prune, attribute. It is the only code that writes into them.
package enforcement

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// Enforcer writes into governed namespaces.
type Enforcer struct {
	// Client reads from the cache, in which objects have no managedFields, and
	// writes as the operator's field manager. What the API server warns of goes to
	// Warnings.
	Client client.Client

	// Live reads from the API server. It is asked only where something differs.
	Live client.Reader

	// Now is the time.
	Now func() time.Time

	pace    Pace
	answers answers
	// written are the revisions that this operator wrote last of what it changed,
	// empty where it removed it.
	written memory[string]
}

// Task is one control of one baseline in one namespace.
type Task struct {
	Control controls.Control

	// Baseline governs the control here or, if it is in Audit mode, audits it; nil
	// where none governs.
	Baseline *v1alpha1.SecurityBaseline

	// Outranked are the baselines in Enforce mode that declare the control here too and
	// do not govern it.
	Outranked []*v1alpha1.SecurityBaseline

	// Rival is the baseline that governs the control here, if Baseline audits it;
	// nil if none does. Ahead says that it would if Baseline enforced.
	Rival *v1alpha1.SecurityBaseline
	Ahead bool

	// Peer is a baseline of higher precedence that audits the control too, or nil.
	Peer *v1alpha1.SecurityBaseline

	// Ledger is what the namespace's report said of the control; nil if nothing.
	Ledger *v1alpha1.ControlReport

	// Current says that the report was about the baseline's present generation.
	Current bool

	// Outdated says that the report was not about all baselines as they are: what the
	// operator did since may not be in it.
	Outdated bool
}

// audits says whether nothing is to be written.
func (t *Task) audits() bool {
	return t.Baseline != nil && t.Baseline.Spec.IsAudit()
}

// Outcome is how a task ended.
type Outcome struct {
	Control v1alpha1.ControlName

	// Baseline is the one that governs or audits the control or, where none does
	// and something could not be removed, the one that gave it.
	Baseline string

	Mode     v1alpha1.Mode
	State    v1alpha1.State
	Message  string
	Findings []string
	Drifts   []v1alpha1.Drift
	// Versions are the resourceVersions at which drifted objects were found.
	Versions map[string]string
	// Earlier says that there is nothing but drifts, of an earlier evaluation, that
	// could not be recorded yet.
	Earlier     bool
	PodSecurity *v1alpha1.PodSecurityReport

	// Changes are what would be done if the baseline were in Enforce mode.
	Changes []v1alpha1.Change

	// Placed is what is in place, or was and will be again.
	Placed []v1alpha1.InventoryEntry

	// Stale says that the cache was behind: the task is to be done again at once.
	Stale bool

	// After is how soon the task must be done again because it was spaced out;
	// zero if it was not.
	After time.Duration

	// Unhealed says that something drifted and could not be put right.
	Unhealed bool

	// Unsettled says that running pods may come to meet a level, or to violate it,
	// with nobody being told: the task is to be done again in a while.
	Unsettled bool

	// Err is what may succeed if tried again later: the API server did not
	// answer, or not as it should.
	Err error
}

// Enforce makes a namespace as the tasks say, and returns an outcome for each
// task that is governed or audited or whose removal did not succeed. Tasks fail
// alone. There is one task at most that does not audit for each control.
//
// gone says of a baseline's name that what it gave, and nobody governs now, is
// to be removed. What the ledger lists is removed only when a report was written that
// does not list it any more, so that it never looks as if somebody else had: again
// says that there is such a thing.
func (e *Enforcer) Enforce(
	ctx context.Context, namespace *metav1.PartialObjectMetadata, tasks []Task, gone func(baseline string) bool,
) (outcomes []Outcome, again bool, err error) {
	have, err := e.observe(ctx, namespace, placedIn(tasks))
	if err != nil {
		return nil, false, err
	}
	roles, err := e.roles(ctx, have)
	if err != nil {
		return nil, false, err
	}
	namespace, notTaken := e.takeOver(ctx, namespace, tasks)
	runs, own := make([]*run, 0, len(tasks)), OwnLabels(namespace.ManagedFields)
	for i := range tasks {
		r := &run{Enforcer: e, Task: &tasks[i], namespace: namespace, ownLabels: own, own: sets.New[string](), have: have, roles: roles, gone: gone, writer: e.Client}
		if r.audits() {
			r.writer = client.NewDryRunClient(e.Client)
		}
		r.render(ctx)
		if notTaken != nil && r.Baseline != nil && !r.audits() && bornWith(namespace).HasAny(r.Control.NamespaceLabels...) {
			r.note(r.namespaceID(), notTaken)
		}
		runs = append(runs, r)
	}
	for _, world := range worlds(runs) {
		e.enforceLabels(ctx, world)
		wanted := e.wanted(world)
		for _, r := range world.runs {
			r.enforceObjects(ctx, wanted)
			if outcome := r.outcome(); outcome != nil {
				outcomes = append(outcomes, *outcome)
			}
			again = again || r.listed
		}
	}
	return outcomes, again, nil
}

// world is a namespace as it is to be, or as it would be if one baseline that
// audits enforced.
type world struct {
	// runs make it so.
	runs []*run
	// rest are the runs of the other controls, which go on as they are.
	rest []*run
}

// worlds returns first the one that is to be, then one for each baseline that
// audits.
func worlds(runs []*run) []world {
	var real world
	audits := map[string][]*run{}
	var names []string
	for _, r := range runs {
		if !r.audits() {
			real.runs = append(real.runs, r)
			continue
		}
		if audits[r.Baseline.Name] == nil {
			names = append(names, r.Baseline.Name)
		}
		audits[r.Baseline.Name] = append(audits[r.Baseline.Name], r)
	}
	all := make([]world, 0, 1+len(names))
	all = append(all, real)
	for _, name := range names {
		audited := world{runs: audits[name]}
		for _, r := range real.runs {
			if !slices.ContainsFunc(audited.runs, func(a *run) bool { return a.Control.Name == r.Control.Name }) {
				audited.rest = append(audited.rest, r)
			}
		}
		all = append(all, audited)
	}
	return all
}

// wanted returns the ids of the objects that any control wants in a world.
func (e *Enforcer) wanted(w world) sets.Set[string] {
	wanted := sets.New[string]()
	for _, r := range slices.Concat(w.runs, w.rest) {
		for _, object := range r.desired.Objects {
			wanted.Insert(e.id(object))
		}
	}
	return wanted
}

// placedIn returns the UIDs of what the ledger says is in place.
func placedIn(tasks []Task) sets.Set[types.UID] {
	uids := sets.New[types.UID]()
	for i := range tasks {
		if ledger := tasks[i].Ledger; ledger != nil {
			for j := range ledger.Inventory {
				uids.Insert(ledger.Inventory[j].UID)
			}
		}
	}
	return uids
}

// observe returns every object, of the kinds that the operator makes, in a
// namespace. placed are the UIDs of those that are known to be.
func (e *Enforcer) observe(ctx context.Context, namespace *metav1.PartialObjectMetadata, placed sets.Set[types.UID]) (map[string]client.Object, error) {
	have := map[string]client.Object{}
	for _, list := range lists() {
		if err := e.Client.List(ctx, list, client.InNamespace(namespace.Name)); err != nil {
			return nil, fmt.Errorf("listing the objects of namespace %s: %w", namespace.Name, err)
		}
		err := meta.EachListItem(list, func(item runtime.Object) error {
			object := item.(client.Object)
			there, err := e.there(ctx, object, namespace, placed)
			if there {
				have[e.id(object)] = object
			}
			return err
		})
		if err != nil {
			return nil, fmt.Errorf("reading the objects of namespace %s: %w", namespace.Name, err)
		}
	}
	return have, nil
}

// there says whether an object of the cache is in this namespace and was not in a former
// one. Of the second in which the namespace was made times do not tell: what looks like
// the operator's own, and is not in the ledger yet, the API server is asked about.
func (e *Enforcer) there(ctx context.Context, object, namespace client.Object, placed sets.Set[types.UID]) (bool, error) {
	made, born := object.GetCreationTimestamp(), namespace.GetCreationTimestamp()
	switch {
	case Precedes(object, namespace):
		return false, nil
	case !made.Equal(&born), !labelled(object), placed.Has(object.GetUID()):
		return true, nil
	}
	live, err := e.live(ctx, object)
	switch {
	case apierrors.IsForbidden(err):
		// What the operator may not read fails the controls that want it, not all.
		return true, nil
	case err != nil:
		return false, client.IgnoreNotFound(err)
	}
	return live.GetUID() == object.GetUID(), nil
}

// Precedes says whether an object was in a former namespace of the same name, which the
// cache has not heard is gone: it is older than the namespace.
func Precedes(object, namespace client.Object) bool {
	made := object.GetCreationTimestamp()
	return made.Before(new(namespace.GetCreationTimestamp()))
}

// roles returns the rules of the roles that RoleBindings grant, where such a role
// exists.
func (e *Enforcer) roles(ctx context.Context, have map[string]client.Object) (map[rbacv1.RoleRef][]rbacv1.PolicyRule, error) {
	roles := map[rbacv1.RoleRef][]rbacv1.PolicyRule{}
	for _, object := range have {
		binding, ok := object.(*rbacv1.RoleBinding)
		if !ok {
			continue
		}
		var err error
		key := client.ObjectKey{Name: binding.RoleRef.Name}
		if binding.RoleRef.Kind == "ClusterRole" {
			role := &rbacv1.ClusterRole{}
			err = e.Client.Get(ctx, key, role, client.UnsafeDisableDeepCopy)
			roles[binding.RoleRef] = role.Rules
		} else {
			role := &rbacv1.Role{}
			key.Namespace = binding.Namespace
			err = e.Client.Get(ctx, key, role, client.UnsafeDisableDeepCopy)
			roles[binding.RoleRef] = role.Rules
		}
		if client.IgnoreNotFound(err) != nil {
			return nil, fmt.Errorf("reading %s %s: %w", binding.RoleRef.Kind, binding.RoleRef.Name, err)
		}
	}
	return roles, nil
}

// id names an object within its namespace, as Kind/name.
func (e *Enforcer) id(object client.Object) string {
	return e.kind(object).Kind + "/" + object.GetName()
}

func (e *Enforcer) kind(object runtime.Object) schema.GroupVersionKind {
	gvk, err := apiutil.GVKForObject(object, e.Client.Scheme())
	if err != nil {
		panic(fmt.Sprintf("the scheme must hold every kind in lists: %v", err))
	}
	return gvk
}

// Reference returns a reference to an object of a namespace, or to the namespace
// itself, that a report calls Kind/name.
func (e *Enforcer) Reference(namespace *metav1.PartialObjectMetadata, id string) *corev1.ObjectReference {
	kind, name, _ := strings.Cut(id, "/")
	reference := &corev1.ObjectReference{Kind: kind, Namespace: namespace.Name, Name: name}
	if id == NamespaceID(namespace) {
		reference.APIVersion, reference.Namespace, reference.UID = namespace.APIVersion, "", namespace.UID
		return reference
	}
	for _, list := range lists() {
		if gvk := e.kind(list); gvk.Kind == kind+"List" {
			reference.APIVersion = gvk.GroupVersion().String()
		}
	}
	return reference
}

// run is a task being done.
type run struct {
	*Enforcer
	*Task
	namespace *metav1.PartialObjectMetadata
	// ownLabels are the keys of the namespace's labels that are the operator's alone.
	ownLabels sets.Set[string]
	// have is what is in the namespace, by id.
	have map[string]client.Object
	// roles are the rules of the roles that RoleBindings in the namespace grant.
	roles map[rbacv1.RoleRef][]rbacv1.PolicyRule
	gone  func(baseline string) bool
	// writer is the client, of which every write is a dry run if the task audits.
	writer client.Client

	desired     controls.Desired
	podSecurity *podSecurity
	// labelsBy wrote the labels that differ.
	labelsBy author

	drifts    []v1alpha1.Drift
	versions  map[string]string
	changes   []v1alpha1.Change
	placed    []v1alpha1.InventoryEntry
	conflicts []string
	failures  []string
	errs      []error
	stale     bool
	unhealed  bool
	// own are the objects that could not be put right, and of which nobody but the
	// operator made what they are.
	own sets.Set[string]
	// listed says that something is to be removed that the ledger still lists.
	listed bool
	after  time.Duration
	// givenBy is the baseline whose leftovers could not be removed.
	givenBy string
}

// render finds out what the baseline asks for.
func (r *run) render(ctx context.Context) {
	if r.Baseline == nil {
		return
	}
	observed := controls.Namespace{
		Name: r.namespace.Name, Labels: r.namespace.Labels, OwnedLabels: r.ownLabels, RoleRules: r.roles,
	}
	for _, id := range slices.Sorted(maps.Keys(r.have)) {
		object := r.have[id]
		observed.HasDefaultDeny = observed.HasDefaultDeny || controls.IsDefaultDeny(r.Baseline, object)
		if !r.made(object) && !shared(object) {
			observed.Unmanaged = append(observed.Unmanaged, object)
		}
	}
	if r.Control.EnforcedLevel != nil {
		r.podSecurity = r.survey(ctx)
		observed.ReachedLevel = r.podSecurity.enforced
	}
	r.desired = r.Control.Render(r.Baseline, observed)
}

// made says whether the operator made an object for this control: what bears its
// labels is healed or removed, what was put in place is healed. Anything else that
// looks so is somebody's disguise.
func (r *run) made(object client.Object) bool {
	before := r.ledger(r.id(object))
	return given(object, r.Control.Name) || before != nil && before.UID == object.GetUID()
}

// enforceObjects makes what is wanted first and removes what is not after, so
// that a namespace that changes hands is never without.
func (r *run) enforceObjects(ctx context.Context, wanted sets.Set[string]) {
	for _, object := range r.desired.Objects {
		uid, err := r.enforceObject(ctx, object)
		r.place(r.id(object), uid, controls.Revision(object), explained(object, err))
	}
	r.prune(ctx, wanted)
}

// place notes that something that is wanted is in place or, where err says that
// it is not, what was there when it was last. What would only be put in place
// has no uid.
func (r *run) place(id string, uid types.UID, revision string, err error) {
	if err == nil && uid == "" {
		return
	}
	if err == nil {
		r.placed = append(r.placed, v1alpha1.InventoryEntry{Object: id, UID: uid, Revision: revision})
		return
	}
	if before := r.ledger(id); before != nil {
		r.unhealed = r.unhealed || before.Revision == revision
		kept := *before
		if r.own.Has(id) {
			// The next report will not be outdated, and must not take it for drift.
			kept.Revision = ""
		}
		r.placed = append(r.placed, kept)
	}
	r.note(id, err)
}

// owning notes of an object that could not be put right if nobody but the operator made
// it what it is, and returns the error.
func (r *run) owning(id string, by author, err error) error {
	if by.operator {
		r.own.Insert(id)
	}
	return err
}

// ledger returns what the report says was put in place, or nil.
func (r *run) ledger(id string) *v1alpha1.InventoryEntry {
	if r.Ledger == nil {
		return nil
	}
	for i := range r.Ledger.Inventory {
		if r.Ledger.Inventory[i].Object == id {
			return &r.Ledger.Inventory[i]
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
	var early earlyError
	switch {
	case err == nil, Vanishing(err):
	case errors.As(err, &early):
		if r.after == 0 || early.left < r.after {
			r.after = early.left
		}
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

// happened notes what was done, or would be if the task did not audit, to an
// object that differs. The differences are none where it was gone.
//
// It is a drift if the object was put in place just as it is wanted now.
func (r *run) happened(id, revision string, differ []difference, by author, action v1alpha1.DriftAction) {
	if r.audits() {
		r.changes = append(r.changes, v1alpha1.Change{Object: id, Action: wouldBe[action], Fields: reported(differ)})
		action = v1alpha1.DriftReported
	}
	// Where another baseline governs, it is the operator that changes what this one
	// gave, and the other that is drifted from.
	if !r.inPlace(id, revision) || by.operator || r.audits() && r.Rival != nil {
		return
	}
	if !r.audits() {
		r.pace.Done(r.paceKey(id), r.Now())
	}
	if r.versions == nil {
		r.versions = map[string]string{}
	}
	r.versions[id] = by.version
	r.drifts = append(r.drifts, v1alpha1.Drift{
		DetectionTime: metav1.NewTime(r.Now()), Control: r.Control.Name, Baseline: r.Baseline.Name,
		Object: id, Fields: reported(differ), Manager: by.manager, Operation: string(by.operation), ChangeTime: by.changed, Action: action,
	})
}

// unfinished says whether differences are what the operator itself did and its report
// does not tell of: it was ended before it could write that, or the cache of some kind
// is behind that of another. That its name is in managedFields does not do: anybody can
// write under it. This operator must have written something else last; or the baselines
// have changed since the report was written; or what differs is no more than whose the
// object is.
func (r *run) unfinished(id, revision string, differ []difference, by author) bool {
	last, _, known := r.written.ago(r.writtenKey(id), r.Now())
	if len(differ) == 0 { // it was gone
		return known && last == "" || r.Outdated
	}
	return by.operator && (known && last != revision || r.Outdated || len(besidesOwner(differ)) == 0)
}

// writes remembers what is about to be made of an object that was something else
// before, or that it is to be removed: the answer may be lost.
func (r *run) writes(id, revision string) {
	before := r.ledger(id)
	_, _, known := r.written.ago(r.writtenKey(id), r.Now())
	if !r.audits() && (known || revision == "" || before != nil && before.Revision != revision) {
		r.written.set(r.writtenKey(id), revision, r.Now())
	}
}

// writtenKey tells the labels of a namespace of one control from those of another.
func (r *run) writtenKey(id string) string {
	return string(r.Control.Name) + "/" + r.paceKey(id)
}

// wouldBe is what auditing says of what enforcing does.
var wouldBe = map[v1alpha1.DriftAction]v1alpha1.ChangeAction{
	v1alpha1.DriftCreated:    v1alpha1.ChangeCreate,
	v1alpha1.DriftConfigured: v1alpha1.ChangeConfigure,
	v1alpha1.DriftReplaced:   v1alpha1.ChangeReplace,
}

// early returns an error if an object that drifted was put right less than
// healEvery ago.
func (r *run) early(id, revision string) error {
	if r.audits() || !r.inPlace(id, revision) {
		return nil
	}
	if left := r.pace.Due(r.paceKey(id), r.Now()); left > 0 {
		return earlyError{left}
	}
	return nil
}

func (r *run) paceKey(id string) string {
	return string(r.namespace.UID) + "/" + id
}
