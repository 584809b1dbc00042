// Package evaluation holds the types that pass between planning, enforcement and
// reporting: what to do about one control in one namespace, and the result.
// It is pure.
package evaluation

import (
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// OperationDelete is the operation of a drift whose object is gone.
const OperationDelete = "Delete"

// Task is one control of one baseline in one namespace.
type Task struct {
	Control controls.Control

	// Baseline governs the control here or, in Audit mode, audits it. It is nil
	// where no baseline governs the control.
	Baseline *v1alpha1.SecurityBaseline

	// Overridden are the baselines in Enforce mode that also declare the control
	// here and do not govern it.
	Overridden []*v1alpha1.SecurityBaseline

	// Governing is the baseline that governs the control here, if Baseline audits
	// it; nil if no baseline does.
	Governing *v1alpha1.SecurityBaseline

	// IsOutranked reports whether Governing would also govern the control if
	// Baseline enforced it.
	IsOutranked bool

	// HigherAudit is a baseline of higher precedence that also audits the control,
	// or nil.
	HigherAudit *v1alpha1.SecurityBaseline

	// Previous is the entry of the control in the namespace's report, or nil. Its
	// inventory lists what the operator applied before.
	Previous *v1alpha1.ControlReport

	// IsPreviousCurrent reports whether the report is about the present generation
	// of Baseline.
	IsPreviousCurrent bool

	// HaveBaselinesChanged reports whether the report is about other baselines, or
	// other generations of them, than those that select the namespace now. The
	// report may then lack what the operator did since.
	HaveBaselinesChanged bool
}

// IsAudit reports whether the task must not write anything.
func (t *Task) IsAudit() bool {
	return t.Baseline != nil && t.Baseline.Spec.IsAudit()
}

// Inventory returns the entry of an object, named Kind/name, in the inventory of the
// report, or nil.
func (t *Task) Inventory(id string) *v1alpha1.InventoryEntry {
	if t.Previous == nil {
		return nil
	}
	for i := range t.Previous.Inventory {
		if t.Previous.Inventory[i].Object == id {
			return &t.Previous.Inventory[i]
		}
	}
	return nil
}

// IsApplied reports whether the operator applied an object exactly as it is expected
// now. If the object differs, another author changed it: it drifted.
func (t *Task) IsApplied(id, revision string) bool {
	entry := t.Inventory(id)
	return entry != nil && entry.Revision == revision
}

// Outcome is the result of a task.
type Outcome struct {
	Control v1alpha1.ControlName

	// Baseline is the baseline that governs or audits the control. Where none does
	// and an object could not be removed, it is the baseline that applied it.
	Baseline string

	Mode     v1alpha1.Mode
	State    v1alpha1.State
	Message  string
	Findings []string
	Drifts   []v1alpha1.Drift
	// DriftVersions are the resourceVersions of drifted objects, by Kind/name.
	DriftVersions map[string]string
	// HasOnlyDrifts reports whether the outcome holds nothing but the drifts of an
	// earlier evaluation whose report could not be written.
	HasOnlyDrifts bool
	PodSecurity   *v1alpha1.PodSecurityReport

	// Changes are what Enforce mode would change.
	Changes []v1alpha1.Change

	// Inventory lists the objects that are in place, and those that were and will be
	// again.
	Inventory []v1alpha1.InventoryEntry

	// IsCacheStale reports whether the cache was stale: the task must
	// be repeated soon.
	IsCacheStale bool

	// RequeueAfter is how soon the task must be repeated because a write was rate
	// limited; zero if none was.
	RequeueAfter time.Duration

	// HasUnrevertedDrift reports whether something drifted and could not be reverted.
	HasUnrevertedDrift bool

	// HasUnsettledPods reports whether running pods can come to meet a pod-security
	// level, or to violate it, without an event: the task must be repeated in a while.
	HasUnsettledPods bool

	// Err is an error that may not occur again on a retry: the API server did not
	// answer, or not as expected.
	Err error
}

// NamespaceID returns the name of a namespace in reports: Namespace/name.
func NamespaceID(namespace *metav1.PartialObjectMetadata) string {
	return "Namespace/" + namespace.Name
}

// Truncate shortens a text to at most the given number of bytes, and marks that it
// did with an ellipsis.
func Truncate(text string, bytes int) string {
	const ellipsis = "..."
	if len(text) <= bytes {
		return text
	}
	return strings.ToValidUTF8(text[:bytes-len(ellipsis)], "") + ellipsis
}
