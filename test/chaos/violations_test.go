package main

import (
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
	floor := baseline(floorBaseline)
	floor.CreationTimestamp = metav1.Now()
	v.do(key{"SecurityBaseline", "", floor.Name}, floor)
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
	v.on(c)
	if after == nil {
		delete(v.objects, k)
		return
	}
	v.objects[k] = after
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

func (v *violating) record(object string) {
	k := v.key("BaselineReport", v1alpha1.ReportName)
	after := v.objects[k].DeepCopyObject().(*v1alpha1.BaselineReport)
	after.Drifts = append(after.Drifts, v1alpha1.Drift{Time: metav1.NewTime(v.now), Object: object, Action: v1alpha1.DriftCreated})
	v.do(k, after)
}
