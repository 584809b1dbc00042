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
//	I1  Once governed, a namespace is never without a default-deny policy while a
//	    baseline that denies governs it.
//	I2  No object or field that is not the operator's ever changes.
//	I3  When faults stop, everything is as desired within 30 s: see settled.
//	I4  No report or record of a drift that was written is lost or wrong.
//	I5  The enforce label never drops below what a baseline asks for and the pods met.
//
// What the harness does itself it says in an annotation or, where it deletes, before
// it does. Everything else is the operator's doing, or Kubernetes' own.

const (
	// editAnnotation is new with each write of the harness.
	editAnnotation = "chaos.example.com/edit"
	// editManager is its field manager.
	editManager = "chaos"
	// prefix begins the names of the operator's objects.
	objectPrefix = "security-baseline-"
	// known is how long the operators have to learn of a change of the baselines
	// before they are held to it.
	baselineDelay = 10 * time.Second
	// doneWithin is how long the API server may take to do what it was asked to and
	// did not answer.
	deletionTimeout = time.Minute
)

// invariants checks each change as it happens. The watcher's lock guards it.
type invariants struct {
	objects    map[key]client.Object // the watcher's
	violations []string
	// made are the objects that the operators made, by UID.
	createdByOperator map[types.UID]bool
	// deleting is when the harness asked for an object to be deleted, by UID.
	deletions map[types.UID]time.Time
	// edited is how often the harness changed an object of a namespace, by its UID.
	harnessEdits map[types.UID]map[string]int
	// open is since when a namespace is open by the harness's doing.
	openSince map[types.UID]time.Time
	// healed is how long each was.
	openFor []time.Duration
	// reigns are who governs the level of a namespace, by its UID.
	levelGovernors map[types.UID]governor
	// withoutCRDs says that the harness has removed the CRDs, and with them all
	// baselines and reports.
	crdsRemoved   bool
	checkedWrites int
}

// reign is who governs a control, and since when.
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

// namespace returns a namespace that is there and not going, or nil.
func (i *invariants) governedNamespace(name string) *corev1.Namespace {
	namespace, ok := i.objects[key{kindNamespace, "", name}].(*corev1.Namespace)
	if !ok || !namespace.DeletionTimestamp.IsZero() || namespace.Labels[governedLabel] != labelTrue {
		return nil
	}
	return namespace
}

// baselines returns those that are there and not going.
func (i *invariants) activeBaselines() []*v1alpha1.SecurityBaseline {
	var all []*v1alpha1.SecurityBaseline
	for _, object := range i.objects {
		if baseline, ok := object.(*v1alpha1.SecurityBaseline); ok && baseline.DeletionTimestamp.IsZero() {
			all = append(all, baseline)
		}
	}
	return all
}

// on checks a change.
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
		return // not one of ours, or going with all that is in it
	}
	ours := i.isByHarness(c)
	if ours {
		if c.after != nil { // deletions are counted when they are asked for
			i.countEdit(namespace, c.key, 1)
		}
	} else {
		i.checkedWrites++
		i.checkUnmanaged(c)
	}
	switch c.key.kind {
	case kindNetworkPolicy:
		i.checkDefaultDeny(namespace, c, ours)
	case kindNamespace:
		i.checkLevel(namespace, c, ours)
	case kindBaselineReport:
		if !ours {
			i.checkReport(namespace, c)
		}
	}
}

// byHarness says whether the harness made a change.
func (i *invariants) isByHarness(c *change) bool {
	if c.after == nil {
		asked, ok := i.deletions[c.before.GetUID()]
		return ok && c.at.Sub(asked) < deletionTimeout
	}
	edit := c.after.GetAnnotations()[editAnnotation]
	return edit != "" && (c.before == nil || c.before.GetAnnotations()[editAnnotation] != edit)
}

// govern notes who governs the level of a namespace now.
func (i *invariants) recordLevelGovernor(namespace *corev1.Namespace, now time.Time) {
	baseline := governingBaseline(enforcingBaselines(i.activeBaselines(), namespace.Labels), "PodSecurity", namespace.Name, now)
	if i.levelGovernors[namespace.UID].baseline != baseline {
		i.levelGovernors[namespace.UID] = governor{baseline, now}
	}
}

// note counts edits of the harness.
func (i *invariants) countEdit(namespace *corev1.Namespace, k key, n int) {
	if i.harnessEdits[namespace.UID] == nil {
		i.harnessEdits[namespace.UID] = map[string]int{}
	}
	i.harnessEdits[namespace.UID][k.kind+"/"+k.name] += n
}

// deletes is told of a deletion that the harness is about to ask for.
func (i *invariants) recordDeletion(k key, object client.Object, now time.Time) {
	i.deletions[object.GetUID()] = now
	if namespace := i.governedNamespace(k.namespace); namespace != nil {
		i.countEdit(namespace, k, 1)
	}
}

// deletesNot is told that it was refused.
func (i *invariants) forgetDeletion(k key, object client.Object) {
	delete(i.deletions, object.GetUID())
	if namespace := i.governedNamespace(k.namespace); namespace != nil {
		i.countEdit(namespace, k, -1)
	}
}

// dirty says whether a pod violates what strict asks for.
func (i *invariants) hasViolatingPod(namespace string) bool {
	return i.objects[key{kindPod, namespace, violatingPodName}] != nil
}
