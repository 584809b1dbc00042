package main

import (
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// The invariants:
//
//	I1  A governed namespace always has a default-deny policy while its baseline
//	    requires one.
//	I2  The operator never changes objects or fields that it does not manage.
//	I3  After the faults stop, the cluster matches the baselines within 30 s: see
//	    unsettled.
//	I4  Reports and recorded drifts are never lost or wrong.
//	I5  The enforce label never drops below the level that a baseline requires and the
//	    pods have met.
//
// The harness marks its own writes with an annotation and announces its deletions. All
// other changes come from the operator or from Kubernetes itself.

const (
	// editAnnotation has a new value after each write of the harness.
	editAnnotation = "chaos.example.com/edit"
	// editManager is the field manager of the harness.
	editManager = "chaos"
	// objectPrefix is the prefix of the names of managed objects.
	objectPrefix = "security-baseline-"
	// baselineDelay is the time that the operators may take to apply a change of a
	// baseline.
	baselineDelay = 10 * time.Second
	// deletionTimeout is the time after which the API server no longer executes a
	// deletion that it did not answer.
	deletionTimeout = time.Minute
)

// invariants checks each change as it happens. The watcher's lock guards it.
type invariants struct {
	objects    map[key]client.Object // shared with the watcher
	violations []string
	// createdByOperator holds the UIDs of the objects that the operators created.
	createdByOperator map[types.UID]bool
	// deletions holds when the harness requested the deletion of an object, by UID.
	deletions map[types.UID]time.Time
	// harnessEdits counts the changes of each object by the harness, by the UID of its
	// namespace and by kind/name.
	harnessEdits map[types.UID]map[string]int
	// openSince holds since when a namespace has been open because of the harness, by
	// UID.
	openSince map[types.UID]time.Time
	// openFor holds for how long each of them was open.
	openFor []time.Duration
	// levelGovernors holds which baseline governs PodSecurity in a namespace, by UID.
	levelGovernors map[types.UID]governor
	// areCRDsRemoved is true while the harness has removed the CRDs, and with them all
	// baselines and reports.
	areCRDsRemoved bool
	checkedWrites  int
}

// governor is the baseline that governs a control, and since when.
type governor struct {
	baseline string
	since    time.Time
}

func newInvariants() *invariants {
	return &invariants{
		createdByOperator: map[types.UID]bool{}, deletions: map[types.UID]time.Time{},
		harnessEdits: map[types.UID]map[string]int{}, openSince: map[types.UID]time.Time{}, levelGovernors: map[types.UID]governor{},
	}
}

func (i *invariants) addViolation(invariant string, c *change, format string, args ...any) {
	i.violations = append(i.violations, fmt.Sprintf("%s %s: %s: %s\n  before: %s\n  after:  %s",
		c.at.UTC().Format("15:04:05.000"), invariant, c.key, fmt.Sprintf(format, args...), toJSON(c.before), toJSON(c.after)))
}

// governedNamespace returns the namespace if it exists, is governed and is not
// terminating, or nil.
func (i *invariants) governedNamespace(name string) *corev1.Namespace {
	namespace, ok := i.objects[key{kind: kindNamespace, name: name}].(*corev1.Namespace)
	if !ok || !namespace.DeletionTimestamp.IsZero() || namespace.Labels[governedLabel] != labelTrue {
		return nil
	}
	return namespace
}

// activeBaselines returns the baselines that exist and are not being deleted.
func (i *invariants) activeBaselines() []*v1alpha1.SecurityBaseline {
	var all []*v1alpha1.SecurityBaseline
	for _, object := range i.objects {
		if baseline, ok := object.(*v1alpha1.SecurityBaseline); ok && baseline.DeletionTimestamp.IsZero() {
			all = append(all, baseline)
		}
	}
	return all
}

// observe checks a change.
func (i *invariants) observe(c *change) {
	switch c.key.kind {
	case kindPod:
		return
	case kindSecurityBaseline:
		for _, object := range i.objects {
			if namespace, ok := object.(*corev1.Namespace); ok {
				i.recordLevelGovernor(namespace, c.at)
			}
		}
		return
	}
	namespace := i.governedNamespace(c.key.namespace)
	if c.key.kind == kindNamespace {
		namespace, _ = c.after.(*corev1.Namespace)
		if namespace == nil || !namespace.DeletionTimestamp.IsZero() || namespace.Labels[governedLabel] != labelTrue {
			return
		}
		i.recordLevelGovernor(namespace, c.at)
	}
	if namespace == nil {
		return // not governed, or terminating
	}
	isByHarness := i.isByHarness(c)
	if isByHarness {
		if c.after != nil { // deletions are counted when they are announced
			i.countEdit(namespace, c.key, 1)
		}
	} else {
		i.checkedWrites++
		i.checkUnmanaged(c)
	}
	switch c.key.kind {
	case kindNetworkPolicy:
		i.checkDefaultDeny(namespace, c, isByHarness)
	case kindNamespace:
		i.checkLevel(namespace, c, isByHarness)
	case kindBaselineReport:
		if !isByHarness {
			i.checkReport(namespace, c)
		}
	}
}

// isByHarness reports whether the harness made a change.
func (i *invariants) isByHarness(c *change) bool {
	if c.after == nil {
		requested, ok := i.deletions[c.before.GetUID()]
		return ok && c.at.Sub(requested) < deletionTimeout
	}
	edit := c.after.GetAnnotations()[editAnnotation]
	return edit != "" && (c.before == nil || c.before.GetAnnotations()[editAnnotation] != edit)
}

// recordLevelGovernor records which baseline governs PodSecurity in the namespace.
func (i *invariants) recordLevelGovernor(namespace *corev1.Namespace, now time.Time) {
	baseline := governingBaseline(enforcingBaselines(i.activeBaselines(), namespace.Labels), "PodSecurity", namespace.Name, now)
	if i.levelGovernors[namespace.UID].baseline != baseline {
		i.levelGovernors[namespace.UID] = governor{baseline: baseline, since: now}
	}
}

// countEdit adds n edits of an object by the harness.
func (i *invariants) countEdit(namespace *corev1.Namespace, k key, n int) {
	if i.harnessEdits[namespace.UID] == nil {
		i.harnessEdits[namespace.UID] = map[string]int{}
	}
	i.harnessEdits[namespace.UID][k.kind+"/"+k.name] += n
}

// recordDeletion records a deletion that the harness is about to request.
func (i *invariants) recordDeletion(k key, object client.Object, now time.Time) {
	i.deletions[object.GetUID()] = now
	if namespace := i.governedNamespace(k.namespace); namespace != nil {
		i.countEdit(namespace, k, 1)
	}
}

// forgetDeletion reverts recordDeletion after the API server rejected the deletion.
func (i *invariants) forgetDeletion(k key, object client.Object) {
	delete(i.deletions, object.GetUID())
	if namespace := i.governedNamespace(k.namespace); namespace != nil {
		i.countEdit(namespace, k, -1)
	}
}

// hasViolatingPod reports whether the namespace has a pod that violates the level of the
// strict baseline.
func (i *invariants) hasViolatingPod(namespace string) bool {
	return i.objects[key{kind: kindPod, namespace: namespace, name: violatingPodName}] != nil
}
