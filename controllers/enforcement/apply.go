package enforcement

import (
	"context"
	"errors"
	"slices"

	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	corev1ac "k8s.io/client-go/applyconfigurations/core/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/enforcement/diff"
	"github.com/securitybaseline/operator/controllers/enforcement/ownership"
	"github.com/securitybaseline/operator/controllers/evaluation"
	"github.com/securitybaseline/operator/controllers/internal/kube"
)

// target is an object, or the labels of the namespace, that a plan expects.
type target struct {
	id, revision string
	// key distinguishes the object from those of other namespaces, and of former namespaces of
	// the same name.
	key string
}

func newTarget(current snapshot, id string, expected any) target {
	return target{id: id, revision: controls.Revision(expected), key: string(current.namespace.UID) + "/" + id}
}

// repair describes how the operator makes an object match what is expected.
type repair struct {
	action      v1alpha1.DriftAction
	differences diff.Differences
	author      ownership.Author
	// version is the resourceVersion at which the object differs.
	version string
	// isOwnChange reports whether the operator itself caused the differences.
	isOwnChange bool
}

// targetResult is what happened to a target.
type targetResult struct {
	target
	// uid is that of the object that is in place; empty if there is none, or if it would
	// only be there in Enforce mode.
	uid types.UID
	// change is what Enforce mode would do, and drift what another author did; nil if
	// nothing.
	change  *v1alpha1.Change
	drift   *v1alpha1.Drift
	version string
	// isOwnChange reports, with err, that the operator itself caused the differences.
	isOwnChange bool
	err         error
}

// applyObject makes one object match what is expected. It writes only where something differs, and
// never to an object that the operator does not manage.
func (e *Enforcer) applyObject(ctx context.Context, current snapshot, p *plan, expected client.Object) targetResult {
	result := targetResult{target: newTarget(current, objectID(expected), expected)}
	actual, exists := current.objects[result.id]
	if exists && len(diff.Objects(actual, expected)) == 0 {
		result.uid = actual.GetUID()
		return result
	}
	if result.err = e.checkRateLimit(p, result.target); result.err != nil {
		return result
	}
	isShared := controls.IsShared(expected)
	switch {
	case !exists && isShared:
		return result // Kubernetes creates it soon, and the event leads here
	case !exists:
		return e.createObject(ctx, current, p, expected, result)
	case !isShared && hasBaselineLabel(actual) && !p.IsApplied(result.id, result.revision):
		// The baseline changed, so there is no author to find.
		return e.updateObject(ctx, current, p, actual, expected, result)
	}
	actual, result.err = e.readLive(ctx, expected)
	switch {
	case apierrors.IsNotFound(result.err) && isShared:
		result.err = nil
		return result
	case apierrors.IsNotFound(result.err):
		return e.createObject(ctx, current, p, expected, result)
	case result.err != nil:
		return result
	}
	return e.updateObject(ctx, current, p, actual, expected, result)
}

// createObject creates an object that is missing.
func (e *Enforcer) createObject(ctx context.Context, current snapshot, p *plan, expected client.Object, result targetResult) targetResult {
	missing := repair{action: v1alpha1.DriftCreated, author: ownership.Author{Operation: evaluation.OperationDelete}}
	if p.isReported(result.id, missing) {
		return e.recordRepair(p, result, repair{action: missing.action})
	}
	missing.isOwnChange = e.isOwnChange(p, result.target, missing)
	e.rememberWrite(p, result.target)
	created := expected.DeepCopyObject().(client.Object)
	err := e.writer(p).Create(ctx, created)
	if apierrors.IsAlreadyExists(err) {
		// The cache is stale.
		actual, err := e.readLive(ctx, expected)
		if err != nil {
			result.err = err
			return result
		}
		return e.updateObject(ctx, current, p, actual, expected, result)
	}
	if result.err = withBindHint(expected, err); err != nil {
		result.isOwnChange = missing.isOwnChange
		return result
	}
	result.uid = uidUnlessAudit(p, created.GetUID())
	result.err = verifyWritten(created, expected)
	return e.recordRepair(p, result, missing)
}

// updateObject makes an existing object match what is expected.
func (e *Enforcer) updateObject(ctx context.Context, current snapshot, p *plan, actual, expected client.Object, result targetResult) targetResult {
	found := repair{differences: diff.Objects(actual, expected), action: v1alpha1.DriftConfigured}
	if len(found.differences) == 0 {
		result.uid = actual.GetUID()
		return result
	}
	if !canWrite(p.Task, actual) {
		result.err = conflictError{message: "exists but is not managed by the operator, so it is left alone; delete it, or recreate it under another name"}
		return result
	}
	if p.IsAudit() {
		if found.differences = found.differences.IgnoringBaseline(); len(found.differences) == 0 {
			return result // as expected, but applied by another baseline
		}
	}
	if found.differences.MustReplace(controls.KindOf(expected)) {
		found.action = v1alpha1.DriftReplaced
	}
	if p.isReported(result.id, found) {
		return e.recordRepair(p, result, found)
	}
	found.author = ownership.LastAuthor(actual, found.differences.Paths()...)
	found.version = actual.GetResourceVersion()
	found.isOwnChange = e.isOwnChange(p, result.target, found)
	e.rememberWrite(p, result.target)
	var uid types.UID
	uid, result.err = e.writeObject(ctx, current, p, actual, expected, found.action)
	if errors.As(result.err, new(mutatedError)) {
		// A webhook may mutate it in another way each time.
		e.state.rateLimit.Record(result.key, e.clock.Now())
	}
	if result.err = withBindHint(expected, result.err); result.err != nil {
		result.isOwnChange = found.isOwnChange
		return result
	}
	result.uid = uidUnlessAudit(p, uid)
	return e.recordRepair(p, result, found)
}

// writeObject updates, replaces or applies an object, and returns the UID of what is there
// then.
func (e *Enforcer) writeObject(
	ctx context.Context, current snapshot, p *plan, actual, expected client.Object, action v1alpha1.DriftAction,
) (types.UID, error) {
	if controls.IsShared(expected) {
		return actual.GetUID(), e.applyFields(ctx, p, actual, expected)
	}
	if action == v1alpha1.DriftReplaced {
		if binding, ok := expected.(*rbacv1.RoleBinding); ok {
			return e.replaceRoleBinding(ctx, current, p, actual, binding)
		}
		return e.replaceObject(ctx, p, actual, expected)
	}
	updated := actual.DeepCopyObject().(client.Object)
	diff.Overwrite(updated, expected)
	// A full update at the version that was compared: server-side apply leaves alone what
	// the operator leaves unstated, such as an ingress list that another author added.
	if err := e.writer(p).Update(ctx, updated); err != nil {
		return "", err
	}
	return actual.GetUID(), verifyWritten(updated, expected)
}

// replaceObject replaces an object whose absence for a moment does no harm.
func (e *Enforcer) replaceObject(ctx context.Context, p *plan, actual, expected client.Object) (types.UID, error) {
	if err := e.writer(p).Delete(ctx, actual, kube.DeletePreconditions(actual)); client.IgnoreNotFound(err) != nil {
		return "", err
	}
	if p.IsAudit() {
		return "", nil // the object still exists, so a dry run could not create it
	}
	created := expected.DeepCopyObject().(client.Object)
	if err := e.writer(p).Create(ctx, created); err != nil {
		return "", err
	}
	return created.GetUID(), verifyWritten(created, expected)
}

// applyFields applies exactly the owned fields of a shared object, at the version that was
// read. Fields that expected does not state are relinquished.
func (e *Enforcer) applyFields(ctx context.Context, p *plan, actual, expected client.Object) error {
	account := corev1ac.ServiceAccount(actual.GetName(), actual.GetNamespace()).
		WithUID(actual.GetUID()).WithResourceVersion(actual.GetResourceVersion())
	if labels := expected.GetLabels(); labels != nil {
		account.WithLabels(labels)
	}
	account.AutomountServiceAccountToken = expected.(*corev1.ServiceAccount).AutomountServiceAccountToken
	return client.IgnoreNotFound(e.writer(p).Apply(ctx, account, client.ForceOwnership))
}

// writer returns the client to write with: in Audit mode, every write is a dry run.
func (e *Enforcer) writer(p *plan) client.Client {
	if p.IsAudit() {
		return client.NewDryRunClient(e.client)
	}
	return e.client
}

// verifyWritten returns an error where admission mutated what was written.
func verifyWritten(written, expected client.Object) error {
	if differences := diff.Objects(written, expected); len(differences) > 0 {
		return mutatedError{paths: differences.ReportPaths()}
	}
	return nil
}

// uidUnlessAudit returns the UID of what was written; in Audit mode nothing was.
func uidUnlessAudit(p *plan, uid types.UID) types.UID {
	if p.IsAudit() {
		return ""
	}
	return uid
}

// canWrite reports whether the operator may write to an object of a name that it needs: the
// object has the operator's label, is in the inventory by its UID, or has a field that the
// operator wrote. Another author can remove the label, and an operator can end before it
// records what it created.
func canWrite(task *evaluation.Task, object client.Object) bool {
	if controls.IsShared(object) || hasBaselineLabel(object) {
		return true
	}
	entry := task.Inventory(objectID(object))
	return entry != nil && entry.UID == object.GetUID() || ownership.IsWrittenByOperator(object)
}

// isReported reports whether the report already says that Enforce mode would do this. The
// operator then need not check again whether the API server would accept it.
func (p *plan) isReported(id string, found repair) bool {
	if !p.IsAudit() || !p.IsPreviousCurrent || p.Previous == nil {
		return false
	}
	change := v1alpha1.Change{Object: id, Action: auditAction[found.action], Fields: found.differences.Report()}
	return slices.ContainsFunc(p.Previous.Changes, func(reported v1alpha1.Change) bool {
		return equality.Semantic.DeepEqual(reported, change)
	})
}

// actionRemove is the action of a removal, which is never drift.
const actionRemove v1alpha1.DriftAction = "Removed"

// auditAction is what Enforce mode would do, by what it does.
var auditAction = map[v1alpha1.DriftAction]v1alpha1.ChangeAction{
	actionRemove:             v1alpha1.ChangeRemove,
	v1alpha1.DriftCreated:    v1alpha1.ChangeCreate,
	v1alpha1.DriftConfigured: v1alpha1.ChangeConfigure,
	v1alpha1.DriftReplaced:   v1alpha1.ChangeReplace,
}

// recordRepair adds to a result what was done, or in Audit mode would be, to an object that
// differs. It is drift if the operator had applied the object exactly as it is expected now.
func (e *Enforcer) recordRepair(p *plan, result targetResult, done repair) targetResult {
	action := done.action
	if p.IsAudit() {
		result.change = &v1alpha1.Change{Object: result.id, Action: auditAction[action], Fields: done.differences.Report()}
		action = v1alpha1.DriftReported
	}
	// Where another baseline governs, the operator itself changes what this one had
	// applied, and the drift is the other baseline's.
	if !p.IsApplied(result.id, result.revision) || done.isOwnChange || p.IsAudit() && p.Governing != nil {
		return result
	}
	if !p.IsAudit() {
		e.state.rateLimit.Record(result.key, e.clock.Now())
	}
	result.version = done.version
	result.drift = &v1alpha1.Drift{
		DetectionTime: metav1.NewTime(e.clock.Now()), Control: p.Control.Name, Baseline: p.Baseline.Name,
		Object: result.id, Fields: done.differences.Report(), Action: action,
		Manager: done.author.Manager, Operation: done.author.Operation, ChangeTime: done.author.ChangeTime,
	}
	return result
}

// checkRateLimit returns an error if an object that drifted was reverted less than
// ratelimit.RepairInterval ago.
func (e *Enforcer) checkRateLimit(p *plan, t target) error {
	if p.IsAudit() || !p.IsApplied(t.id, t.revision) {
		return nil
	}
	if remaining := e.state.rateLimit.Remaining(t.key, e.clock.Now()); remaining > 0 {
		return rateLimitedError{remaining: remaining}
	}
	return nil
}

// isOwnChange reports whether the operator itself caused differences that are missing from
// its report, because it stopped before it wrote the report or because a cache is stale.
// Its name in managedFields is no proof: anyone can use it. This operator must have written
// something else last, or the baselines must have changed since the report, or only the
// name of the baseline may differ.
func (e *Enforcer) isOwnChange(p *plan, t target, found repair) bool {
	last, _, isKnown := e.state.lastWrites.Get(writeKey(p, t), e.clock.Now())
	if len(found.differences) == 0 { // the object is gone
		return isKnown && last == "" || p.HaveBaselinesChanged
	}
	return found.author.IsOperator &&
		(isKnown && last != t.revision || p.HaveBaselinesChanged || len(found.differences.IgnoringBaseline()) == 0)
}

// rememberWrite remembers what the operator is about to write to an object that was
// something else before, or that it removes it (an empty revision): the response may be
// lost.
func (e *Enforcer) rememberWrite(p *plan, t target) {
	entry := p.Inventory(t.id)
	_, _, isKnown := e.state.lastWrites.Get(writeKey(p, t), e.clock.Now())
	if !p.IsAudit() && (isKnown || t.revision == "" || entry != nil && entry.Revision != t.revision) {
		e.state.lastWrites.Set(writeKey(p, t), t.revision, e.clock.Now())
	}
}

// writeKey distinguishes the labels of one control on a namespace from those of another.
func writeKey(p *plan, t target) string {
	return string(p.Control.Name) + "/" + t.key
}
