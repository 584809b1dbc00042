package main

import (
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

const simulatedNamespace = "violated"

// simulation is a namespace that the baseline floor governs. Tests change it and check
// which invariants are violated.
type simulation struct {
	*invariants
	now time.Time
}

func newSimulation(t *testing.T) *simulation {
	t.Helper()
	v := &simulation{invariants: newInvariants(), now: time.Now().Add(time.Hour)}
	v.objects = map[key]client.Object{}
	v.addBaseline(floorBaseline)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: simulatedNamespace, Labels: map[string]string{
		governedLabel: labelTrue, governedLabel + "-too": labelTrue, enforceLabel: "baseline",
	}}}
	v.set(key{kind: "Namespace", name: simulatedNamespace}, namespace)
	for _, object := range expectedObjects[floorBaseline]["Network"] {
		v.set(keyInNamespace(simulatedNamespace, object), object.DeepCopyObject().(client.Object))
	}
	unmanaged := expectedObjects[floorBaseline]["Network"][1].DeepCopyObject().(client.Object)
	unmanaged.SetName("unmanaged")
	unmanaged.SetLabels(map[string]string{"owner": labelTrue})
	unmanaged.SetAnnotations(map[string]string{editAnnotation: "1"})
	v.set(key{kind: "NetworkPolicy", namespace: simulatedNamespace, name: "unmanaged"}, unmanaged)
	v.set(key{kind: "BaselineReport", namespace: simulatedNamespace, name: v1alpha1.ReportName}, &v1alpha1.BaselineReport{})
	v.now = v.now.Add(time.Minute) // longer than baselineDelay
	if len(v.violations) > 0 {
		t.Fatalf("got violations before any change: %q, want none", v.violations)
	}
	return v
}

// set replaces an object and checks the change. A nil object deletes it.
func (v *simulation) set(k key, after client.Object) {
	c := &change{key: k, before: v.objects[k], after: after, at: v.now}
	if after != nil && c.before == nil {
		after.SetUID(types.UID(k.String()))
	}
	if after == nil {
		delete(v.objects, k)
	} else {
		v.objects[k] = after
	}
	v.observe(c)
}

// addBaseline adds a baseline that is older than baselineDelay.
func (v *simulation) addBaseline(name string) {
	added := newBaseline(name)
	added.CreationTimestamp = metav1.NewTime(v.now)
	v.set(key{kind: kindSecurityBaseline, name: name}, added)
	v.now = v.now.Add(time.Minute)
}

// editPolicy changes a policy as the harness does.
func (v *simulation) editPolicy(name string) {
	k := v.key(kindNetworkPolicy, name)
	after := v.objects[k].DeepCopyObject().(client.Object)
	annotations := map[string]string{}
	maps.Copy(annotations, after.GetAnnotations())
	annotations[editAnnotation] += "1"
	after.SetAnnotations(annotations)
	v.set(k, after)
}

func (v *simulation) key(kind, name string) key {
	if kind == "Namespace" {
		return key{kind: kind, name: simulatedNamespace}
	}
	return key{kind: kind, namespace: simulatedNamespace, name: name}
}

func (v *simulation) remove(kind, name string) { v.set(v.key(kind, name), nil) }

func (v *simulation) create(kind, name string) {
	v.set(v.key(kind, name), &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

func (v *simulation) relabel(kind, name, label, value string) {
	k := v.key(kind, name)
	after := v.objects[k].DeepCopyObject().(client.Object)
	labels := after.GetLabels()
	if value == "" {
		delete(labels, label)
	} else {
		labels[label] = value
	}
	after.SetLabels(labels)
	v.set(k, after)
}

// recordDrift replaces the drifts of the report with one that happened this number of
// times, or with none.
func (v *simulation) recordDrift(object string, times int64) {
	k := v.key("BaselineReport", v1alpha1.ReportName)
	after := v.objects[k].DeepCopyObject().(*v1alpha1.BaselineReport)
	after.Drifts = nil
	if times > 0 {
		after.Drifts = []v1alpha1.Drift{{DetectionTime: metav1.NewTime(v.now), Object: object, Action: v1alpha1.DriftCreated, Count: times}}
	}
	after.Summary.DriftsTotal = max(after.Summary.DriftsTotal, times)
	v.set(k, after)
}

func (v *simulation) setDriftsTotal(drifts int64) {
	k := v.key("BaselineReport", v1alpha1.ReportName)
	after := v.objects[k].DeepCopyObject().(*v1alpha1.BaselineReport)
	after.Summary.DriftsTotal = drifts
	v.set(k, after)
}

// setOwnerLevel sets a stricter enforce level and a warn level, as the owner of the
// namespace.
func (v *simulation) setOwnerLevel() {
	k := v.key("Namespace", "")
	after := v.objects[k].DeepCopyObject().(client.Object)
	labels := maps.Clone(after.GetLabels())
	labels[ownerLabel] = labelTrue
	labels[enforceLabel] = "restricted"
	labels[warnLabel] = "restricted"
	after.SetLabels(labels)
	after.SetAnnotations(map[string]string{editAnnotation: "own"})
	v.set(k, after)
}

// governByStrict makes the baseline strict govern the namespace. The pods meet its level.
func (v *simulation) governByStrict() {
	v.addBaseline(strictBaseline)
	k := v.key("Namespace", "")
	after := v.objects[k].DeepCopyObject().(client.Object)
	labels := maps.Clone(after.GetLabels())
	labels[tierLabel] = strictBaseline
	labels[enforceLabel] = "restricted"
	after.SetLabels(labels)
	after.SetAnnotations(map[string]string{editAnnotation: "strict"})
	v.set(k, after)
}

// newSettledSimulation returns a simulation in which everything matches the baseline
// floor.
func newSettledSimulation(t *testing.T) *simulation {
	t.Helper()
	v := newSimulation(t)
	v.remove("NetworkPolicy", "unmanaged")
	for _, objects := range expectedObjects[floorBaseline] {
		for _, object := range objects {
			k := keyInNamespace(simulatedNamespace, object)
			actual := object.DeepCopyObject().(client.Object)
			actual.SetLabels(maps.Clone(actual.GetLabels()))
			actual.GetLabels()[v1alpha1.BaselineLabel] = floorBaseline
			if k.kind == kindNamespace {
				k.name = simulatedNamespace
				actual.SetName(simulatedNamespace)
				actual.GetLabels()[governedLabel] = labelTrue
			}
			v.objects[k] = actual
		}
	}
	floor := v.floor()
	floor.Status.Namespaces.Governed = 1
	floor.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	report := v.objects[v.key(kindBaselineReport, v1alpha1.ReportName)].(*v1alpha1.BaselineReport)
	report.State = v1alpha1.StateCompliant
	report.ObservedBaselines = []v1alpha1.ObservedBaseline{{Name: floorBaseline}}
	return v
}

func (v *simulation) floor() *v1alpha1.SecurityBaseline {
	return v.objects[key{kind: kindSecurityBaseline, name: floorBaseline}].(*v1alpha1.SecurityBaseline)
}
