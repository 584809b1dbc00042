// Package precedence determines which baseline governs which control of a namespace.
// It is pure: it uses no client.
package precedence

import (
	"cmp"
	"fmt"
	"slices"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
)

// Governance is the set of baselines that apply to one namespace, by their role.
type Governance struct {
	// Selecting are the baselines that select the namespace, the highest precedence
	// first.
	Selecting []*v1alpha1.SecurityBaseline

	// Governing maps each control to the baseline that governs it. This is the one
	// with the highest precedence of those that are in Enforce mode, declare the
	// control, and have no active exception for the namespace.
	Governing map[v1alpha1.ControlName]*v1alpha1.SecurityBaseline

	// Overridden maps each control to the baselines that would govern it if Governing
	// did not have higher precedence, the highest precedence first.
	Overridden map[v1alpha1.ControlName][]*v1alpha1.SecurityBaseline

	// Auditing maps each control to the baselines in Audit mode that declare it and
	// have no active exception for the namespace. They neither govern nor override.
	Auditing map[v1alpha1.ControlName][]*v1alpha1.SecurityBaseline

	// ActiveExceptions maps each control to the active exceptions for the namespace,
	// at most one for each baseline.
	ActiveExceptions map[v1alpha1.ControlName][]Exception

	// NextExpirationTime is when the first of these exceptions expires. It is zero if
	// none expires.
	NextExpirationTime time.Time
}

// Exception is an exception and the baseline that declares it.
type Exception struct {
	Baseline *v1alpha1.SecurityBaseline
	*v1alpha1.Exception
}

// Resolve returns the governance of a namespace at the time now. No baseline selects
// the namespaces in protected.
func Resolve(namespace *metav1.PartialObjectMetadata, baselines []v1alpha1.SecurityBaseline, protected sets.Set[string], now time.Time) Governance {
	governance := Governance{
		Governing:        map[v1alpha1.ControlName]*v1alpha1.SecurityBaseline{},
		Overridden:       map[v1alpha1.ControlName][]*v1alpha1.SecurityBaseline{},
		Auditing:         map[v1alpha1.ControlName][]*v1alpha1.SecurityBaseline{},
		ActiveExceptions: map[v1alpha1.ControlName][]Exception{},
	}
	for i := range baselines {
		if selects(&baselines[i], namespace, protected) {
			governance.Selecting = append(governance.Selecting, &baselines[i])
		}
	}
	slices.SortFunc(governance.Selecting, comparePrecedence)
	for _, control := range controls.All {
		for _, baseline := range governance.Selecting {
			if control.IsDeclared(&baseline.Spec) {
				governance.add(control.Name, baseline, namespace.Name, now)
			}
		}
	}
	return governance
}

// add determines the role of a baseline for a control that it declares. Call it in the
// order of precedence.
func (g *Governance) add(control v1alpha1.ControlName, baseline *v1alpha1.SecurityBaseline, namespace string, now time.Time) {
	exception := ActiveException(baseline, namespace, control, now)
	switch {
	case exception != nil:
		g.ActiveExceptions[control] = append(g.ActiveExceptions[control], Exception{Baseline: baseline, Exception: exception})
		if exception.ExpirationTime != nil && (g.NextExpirationTime.IsZero() || exception.ExpirationTime.Time.Before(g.NextExpirationTime)) {
			g.NextExpirationTime = exception.ExpirationTime.Time
		}
	case baseline.Spec.IsAudit():
		g.Auditing[control] = append(g.Auditing[control], baseline)
	case g.Governing[control] == nil:
		g.Governing[control] = baseline
	default:
		g.Overridden[control] = append(g.Overridden[control], baseline)
	}
}

// ActiveException returns the active exception of a baseline for a control in a
// namespace, or nil. If there are several, it returns the one that expires last.
func ActiveException(baseline *v1alpha1.SecurityBaseline, namespace string, control v1alpha1.ControlName, now time.Time) *v1alpha1.Exception {
	var longest *v1alpha1.Exception
	for i := range baseline.Spec.Exceptions {
		exception := &baseline.Spec.Exceptions[i]
		if !exception.IsActive(now) || !slices.Contains(exception.Namespaces, namespace) || !slices.Contains(exception.Controls, control) {
			continue
		}
		if longest == nil || longest.ExpirationTime != nil && (exception.ExpirationTime == nil || longest.ExpirationTime.Before(exception.ExpirationTime)) {
			longest = exception
		}
	}
	return longest
}

// HasPrecedence reports whether baseline a has higher precedence than baseline b. It
// ignores their modes.
func HasPrecedence(a, b *v1alpha1.SecurityBaseline) bool {
	return comparePrecedence(a, b) < 0
}

// ClusterAdminBaseline returns the baseline that governs rbac.clusterAdmin in the
// whole cluster, or nil.
func ClusterAdminBaseline(baselines []v1alpha1.SecurityBaseline) *v1alpha1.SecurityBaseline {
	var governing *v1alpha1.SecurityBaseline
	for i := range baselines {
		baseline := &baselines[i]
		if baseline.Spec.RBAC == nil || baseline.Spec.RBAC.ClusterAdmin == nil || !isEnforcing(baseline) {
			continue
		}
		if governing == nil || comparePrecedence(baseline, governing) < 0 {
			governing = baseline
		}
	}
	return governing
}

// isEnforcing reports whether the operator applies the controls of a baseline now.
func isEnforcing(baseline *v1alpha1.SecurityBaseline) bool {
	return !baseline.Spec.IsAudit() && baseline.DeletionTimestamp.IsZero() && !IsMissingFinalizer(baseline)
}

// NamespaceMatcher returns a function that reports whether a baseline selects a
// namespace. Excluded, protected and terminating namespaces do not match. It returns
// an error if the selector is invalid.
func NamespaceMatcher(baseline *v1alpha1.SecurityBaseline, protected sets.Set[string]) (func(*metav1.PartialObjectMetadata) bool, error) {
	selector, err := metav1.LabelSelectorAsSelector(baseline.Spec.NamespaceSelector.ToUpstream())
	if err != nil {
		return nil, fmt.Errorf("spec.namespaceSelector: %w", err)
	}
	return func(namespace *metav1.PartialObjectMetadata) bool {
		return selector.Matches(labels.Set(namespace.Labels)) &&
			!protected.Has(namespace.Name) &&
			!slices.Contains(baseline.Spec.ExcludeNamespaces, namespace.Name) &&
			namespace.DeletionTimestamp.IsZero()
	}, nil
}

// IsMissingFinalizer reports whether the baseline has deletionPolicy Remove but no
// finalizer yet. The operator applies it to no further namespace until then, because
// without the finalizer it could not remove the managed objects.
func IsMissingFinalizer(baseline *v1alpha1.SecurityBaseline) bool {
	return baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove && baseline.DeletionTimestamp.IsZero() &&
		!slices.Contains(baseline.Finalizers, v1alpha1.Finalizer)
}

// selects reports whether a baseline that is not being deleted selects a namespace.
func selects(baseline *v1alpha1.SecurityBaseline, namespace *metav1.PartialObjectMetadata, protected sets.Set[string]) bool {
	if !baseline.DeletionTimestamp.IsZero() {
		return false
	}
	// An invalid selector selects nothing. The status of the baseline reports it.
	matches, err := NamespaceMatcher(baseline, protected)
	return err == nil && matches(namespace)
}

// comparePrecedence sorts baselines by precedence, the highest first: by priority,
// then by age with the oldest first, then by name.
func comparePrecedence(a, b *v1alpha1.SecurityBaseline) int {
	return cmp.Or(
		cmp.Compare(b.Spec.Priority, a.Spec.Priority),
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		cmp.Compare(a.Name, b.Name),
	)
}

// ProtectedNamespaces returns the names of the namespaces that no baseline governs:
// those of Kubernetes itself and the additional ones.
func ProtectedNamespaces(additional ...string) sets.Set[string] {
	return sets.New(append([]string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}, additional...)...)
}
