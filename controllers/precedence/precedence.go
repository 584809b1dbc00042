// Package precedence says which baseline governs which control of a namespace. It
// is pure.
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

// Governance is which baseline governs what in one namespace.
type Governance struct {
	// Selecting are the baselines that select the namespace, first the one that
	// wins.
	Selecting []*v1alpha1.SecurityBaseline

	// Governing is the baseline that governs each control: of those in Enforce
	// mode that declare it and do not except the namespace from it, the first.
	Governing map[v1alpha1.ControlName]*v1alpha1.SecurityBaseline

	// Outranked are the others of them, in their order.
	Overridden map[v1alpha1.ControlName][]*v1alpha1.SecurityBaseline

	// Auditing are the baselines in Audit mode that declare each control and do
	// not except the namespace from it. They do not compete.
	Auditing map[v1alpha1.ControlName][]*v1alpha1.SecurityBaseline

	// Excepting are the exceptions in force that take each control out of the
	// namespace, one a baseline.
	ActiveExceptions map[v1alpha1.ControlName][]Exception

	// Until is when the first of these exceptions expires; zero, if none does.
	NextExpirationTime time.Time
}

// Exception is an exception and whose it is.
type Exception struct {
	Baseline *v1alpha1.SecurityBaseline
	*v1alpha1.Exception
}

// Govern resolves which baselines govern a namespace now. Namespaces whose names
// are protected are governed by none.
func Resolve(namespace *metav1.PartialObjectMetadata, baselines []v1alpha1.SecurityBaseline, protected sets.Set[string], now time.Time) Governance {
	governance := Governance{
		Governing: map[v1alpha1.ControlName]*v1alpha1.SecurityBaseline{},
		Overridden: map[v1alpha1.ControlName][]*v1alpha1.SecurityBaseline{},
		Auditing:  map[v1alpha1.ControlName][]*v1alpha1.SecurityBaseline{},
		ActiveExceptions: map[v1alpha1.ControlName][]Exception{},
	}
	for i := range baselines {
		if selects(&baselines[i], namespace, protected) {
			governance.Selecting = append(governance.Selecting, &baselines[i])
		}
	}
	slices.SortFunc(governance.Selecting, compare)
	for _, control := range controls.All {
		for _, baseline := range governance.Selecting {
			if control.IsDeclared(&baseline.Spec) {
				governance.add(control.Name, baseline, namespace.Name, now)
			}
		}
	}
	return governance
}

// add resolves what the next baseline that declares a control has to say of it.
func (g *Governance) add(control v1alpha1.ControlName, baseline *v1alpha1.SecurityBaseline, namespace string, now time.Time) {
	exception := ActiveException(baseline, namespace, control, now)
	switch {
	case exception != nil:
		g.ActiveExceptions[control] = append(g.ActiveExceptions[control], Exception{baseline, exception})
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

// Excepting returns the exception of a baseline that takes a control out of a
// namespace now: of several the one that lasts longest; nil if there is none.
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

// Precedes says whether a baseline would govern rather than another, were both
// in Enforce mode.
func HasPrecedence(a, b *v1alpha1.SecurityBaseline) bool {
	return compare(a, b) < 0
}

// Selector returns which namespaces a baseline selects, its exclusions and the
// protected ones left out.
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

// Unheld says whether a baseline is to take what it gave along, and could be
// deleted before that because it bears no finalizer yet. It gives nothing to a
// namespace that it has not given anything to before.
func MissingFinalizer(baseline *v1alpha1.SecurityBaseline) bool {
	return baseline.Spec.DeletionPolicy == v1alpha1.DeletionRemove && baseline.DeletionTimestamp.IsZero() &&
		!slices.Contains(baseline.Finalizers, v1alpha1.Finalizer)
}

func selects(baseline *v1alpha1.SecurityBaseline, namespace *metav1.PartialObjectMetadata, protected sets.Set[string]) bool {
	if !baseline.DeletionTimestamp.IsZero() {
		return false
	}
	// A selector that does not parse selects nothing; the baseline's status says
	// so.
	matches, err := NamespaceMatcher(baseline, protected)
	return err == nil && matches(namespace)
}

// compare orders the winning baseline first: the highest priority, then the
// oldest, then the first by name.
func compare(a, b *v1alpha1.SecurityBaseline) int {
	return cmp.Or(
		cmp.Compare(b.Spec.Priority, a.Spec.Priority),
		a.CreationTimestamp.Compare(b.CreationTimestamp.Time),
		cmp.Compare(a.Name, b.Name),
	)
}

// Protected returns the namespaces that are never governed: those of the
// cluster itself and the further ones given.
func ProtectedNamespaces(further ...string) sets.Set[string] {
	return sets.New(append([]string{metav1.NamespaceSystem, metav1.NamespacePublic, corev1.NamespaceNodeLease}, further...)...)
}
