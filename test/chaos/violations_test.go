package main

import (
	"maps"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

const violated = "violated"

// violating is a namespace that the floor governs, and to which things are done.
type violating struct {
	*invariants
	now time.Time
}

func newViolating(t *testing.T) *violating {
	t.Helper()
	v := &violating{newInvariants(), time.Now().Add(time.Hour)}
	v.objects = map[key]client.Object{}
	v.make(floorBaseline)
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: violated, Labels: map[string]string{
		governedLabel: yes, governedLabel + "-too": yes, enforceLabel: "baseline",
	}}}
	v.do(key{"Namespace", "", violated}, namespace)
	for _, object := range wanted[floorBaseline]["Network"] {
		v.do(keyIn(violated, object), object.DeepCopyObject().(client.Object))
	}
	their := wanted[floorBaseline]["Network"][1].DeepCopyObject().(client.Object)
	their.SetName("their-own")
	their.SetLabels(map[string]string{"theirs": yes})
	their.SetAnnotations(map[string]string{editAnnotation: "1"})
	v.do(key{"NetworkPolicy", violated, "their-own"}, their)
	v.do(key{"BaselineReport", violated, v1alpha1.ReportName}, &v1alpha1.BaselineReport{})
	v.now = v.now.Add(time.Minute) // long enough for operators to know
	if len(v.violations) > 0 {
		t.Fatalf("violations at the beginning: %q", v.violations)
	}
	return v
}

// do makes an object what is given, or nothing.
func (v *violating) do(k key, after client.Object) {
	c := &change{key: k, before: v.objects[k], after: after, at: v.now}
	if after != nil && c.before == nil {
		after.SetUID(types.UID(k.String()))
	}
	if after == nil {
		delete(v.objects, k)
	} else {
		v.objects[k] = after
	}
	v.on(c)
}

// make makes a baseline long ago.
func (v *violating) make(name string) {
	made := baseline(name)
	made.CreationTimestamp = metav1.NewTime(v.now)
	v.do(key{kindSecurityBaseline, "", name}, made)
	v.now = v.now.Add(time.Minute)
}

// edits has the harness change a policy.
func (v *violating) edits(name string) {
	k := v.key(kindNetworkPolicy, name)
	after := v.objects[k].DeepCopyObject().(client.Object)
	annotations := map[string]string{}
	maps.Copy(annotations, after.GetAnnotations())
	annotations[editAnnotation] += "1"
	after.SetAnnotations(annotations)
	v.do(k, after)
}

func (v *violating) key(kind, name string) key {
	if kind == "Namespace" {
		return key{kind, "", violated}
	}
	return key{kind, violated, name}
}

func (v *violating) remove(kind, name string) { v.do(v.key(kind, name), nil) }

func (v *violating) create(kind, name string) {
	v.do(v.key(kind, name), &corev1.LimitRange{ObjectMeta: metav1.ObjectMeta{Name: name}})
}

func (v *violating) relabel(kind, name, label, value string) {
	k := v.key(kind, name)
	after := v.objects[k].DeepCopyObject().(client.Object)
	labels := after.GetLabels()
	if value == "" {
		delete(labels, label)
	} else {
		labels[label] = value
	}
	after.SetLabels(labels)
	v.do(k, after)
}

// record has a drift that came so often recorded, or none.
func (v *violating) record(object string, times int64) {
	k := v.key("BaselineReport", v1alpha1.ReportName)
	after := v.objects[k].DeepCopyObject().(*v1alpha1.BaselineReport)
	after.Drifts = nil
	if times > 0 {
		after.Drifts = []v1alpha1.Drift{{DetectionTime: metav1.NewTime(v.now), Object: object, Action: v1alpha1.DriftCreated, Count: times}}
	}
	after.Summary.DriftsTotal = max(after.Summary.DriftsTotal, times)
	v.do(k, after)
}

// count has so many drifts counted.
func (v *violating) count(drifts int64) {
	k := v.key("BaselineReport", v1alpha1.ReportName)
	after := v.objects[k].DeepCopyObject().(*v1alpha1.BaselineReport)
	after.Summary.DriftsTotal = drifts
	v.do(k, after)
}

// own has the owner set a level that is stricter, and one to be warned of.
func (v *violating) own() {
	k := v.key("Namespace", "")
	after := v.objects[k].DeepCopyObject().(client.Object)
	labels := maps.Clone(after.GetLabels())
	labels[ownersLabel], labels[enforceLabel], labels[warnLabel] = yes, "restricted", "restricted"
	after.SetLabels(labels)
	after.SetAnnotations(map[string]string{editAnnotation: "own"})
	v.do(k, after)
}

// strict has strict govern the namespace from now on, whose pods meet what it asks for.
func (v *violating) strict() {
	v.make(strictBaseline)
	k := v.key("Namespace", "")
	after := v.objects[k].DeepCopyObject().(client.Object)
	labels := maps.Clone(after.GetLabels())
	labels[tierLabel], labels[enforceLabel] = strictBaseline, "restricted"
	after.SetLabels(labels)
	after.SetAnnotations(map[string]string{editAnnotation: "strict"})
	v.do(k, after)
}

// newSettled is a namespace in which everything is as the floor asks.
func newSettled(t *testing.T) *violating {
	t.Helper()
	v := newViolating(t)
	v.remove("NetworkPolicy", "their-own")
	for _, objects := range wanted[floorBaseline] {
		for _, object := range objects {
			k := keyIn(violated, object)
			made := object.DeepCopyObject().(client.Object)
			made.SetLabels(maps.Clone(made.GetLabels()))
			made.GetLabels()[v1alpha1.BaselineLabel] = floorBaseline
			if k.kind == kindNamespace {
				k.name = violated
				made.SetName(violated)
				made.GetLabels()[governedLabel] = yes
			}
			v.objects[k] = made
		}
	}
	floor := v.floor()
	floor.Status.Namespaces.Governed = 1
	floor.Status.Conditions = []metav1.Condition{{Type: v1alpha1.ConditionReady, Status: metav1.ConditionTrue}}
	report := v.objects[v.key(kindBaselineReport, v1alpha1.ReportName)].(*v1alpha1.BaselineReport)
	report.State, report.ObservedBaselines = v1alpha1.StateCompliant, []v1alpha1.ObservedBaseline{{Name: floorBaseline}}
	return v
}

func TestWhatIsNotAsDesiredIsSeen(t *testing.T) {
	if problem := newSettled(t).settled(time.Now()); problem != "" {
		t.Fatalf("everything is as desired, but: %s", problem)
	}
	for _, test := range []struct {
		want   string
		change func(*violating)
	}{
		{"LimitRange/security-baseline-limits of baseline floor is missing", func(v *violating) { delete(v.objects, v.key(kindLimitRange, prefix+"limits")) }},
		{`has securitybaseline.io/baseline="strict", not "floor"`, func(v *violating) {
			v.objects[v.key(kindRoleBinding, prefix+"team")].GetLabels()[v1alpha1.BaselineLabel] = strictBaseline
		}},
		{"ServiceAccount/default of baseline floor is null, not false", func(v *violating) {
			v.objects[v.key(kindServiceAccount, "default")].(*corev1.ServiceAccount).AutomountServiceAccountToken = nil
		}},
		{"NetworkPolicy/security-baseline-from-mesh is left over", func(v *violating) {
			v.objects[v.key(kindNetworkPolicy, prefix+"from-mesh")] = v.objects[v.key(kindNetworkPolicy, prefix+defaultDeny)]
		}},
		{`has pod-security.kubernetes.io/enforce="privileged", not "baseline"`, func(v *violating) { v.objects[v.key(kindNamespace, "")].GetLabels()[enforceLabel] = "privileged" }},
		{"has no report", func(v *violating) { delete(v.objects, v.key(kindBaselineReport, v1alpha1.ReportName)) }},
		{"its report is not of baseline floor at generation 2", func(v *violating) {
			v.floor().Generation, v.floor().Status.ObservedGeneration = 2, 2
		}},
		{"is Drifted", func(v *violating) {
			v.objects[v.key(kindBaselineReport, v1alpha1.ReportName)].(*v1alpha1.BaselineReport).State = v1alpha1.StateDrifted
		}},
		{"its status is of generation 1, not 0", func(v *violating) { v.floor().Status.ObservedGeneration = 1 }},
		{"1 namespaces are pending", func(v *violating) { v.floor().Status.Namespaces.Pending = 1 }},
		{"it says that it governs 2 namespaces, not 1", func(v *violating) { v.floor().Status.Namespaces.Governed = 2 }},
		{"is not ready", func(v *violating) { v.floor().Status.Conditions = nil }},
		{"is still being deleted", func(v *violating) { v.floor().DeletionTimestamp = new(metav1.Now()) }},
	} {
		t.Run(test.want, func(t *testing.T) {
			v := newSettled(t)
			test.change(v)
			if problem := v.settled(time.Now()); !strings.Contains(problem, test.want) {
				t.Errorf("it says: %s", problem)
			}
		})
	}
}

func (v *violating) floor() *v1alpha1.SecurityBaseline {
	return v.objects[key{kindSecurityBaseline, "", floorBaseline}].(*v1alpha1.SecurityBaseline)
}
