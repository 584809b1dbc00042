package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"k8s.io/apimachinery/pkg/api/meta"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// unsettled describes what does not match the baselines. It returns "" if everything
// does. It checks I3.
func (i *invariants) unsettled(now time.Time) string {
	var all []string
	baselines := i.activeBaselines()
	governed := map[string]int32{}
	for _, object := range i.objects {
		namespace, ok := object.(*corev1.Namespace)
		if !ok || namespace.Labels[governedLabel] != labelTrue || !namespace.DeletionTimestamp.IsZero() {
			continue
		}
		all = append(all, i.namespaceProblems(namespace, baselines, now)...)
		for _, baseline := range baselines {
			if baseline.Name == trialBaseline || isGoverningAnyControl(baseline.Name, enforcingBaselines(baselines, namespace.Labels), namespace.Name, now) {
				governed[baseline.Name]++
			}
		}
	}
	for k, object := range i.objects {
		if baseline, ok := object.(*v1alpha1.SecurityBaseline); ok {
			if problem := statusProblem(baseline, governed[baseline.Name]); problem != "" {
				all = append(all, fmt.Sprintf("%s: %s", k, problem))
			}
		}
	}
	slices.Sort(all)
	if len(all) > 5 {
		all = append(all[:5], fmt.Sprintf("and %d more", len(all)-5))
	}
	return strings.Join(all, "\n  ")
}

// statusProblem describes what is missing in the status of a baseline that governs
// controls in this number of namespaces. It returns "" if the status is complete.
func statusProblem(baseline *v1alpha1.SecurityBaseline, governed int32) string {
	switch {
	case !baseline.DeletionTimestamp.IsZero():
		return "is still being deleted"
	case baseline.Status.ObservedGeneration != baseline.Generation:
		return fmt.Sprintf("got status of generation %d, want %d", baseline.Status.ObservedGeneration, baseline.Generation)
	case baseline.Status.Namespaces.Pending > 0:
		return fmt.Sprintf("%d namespaces are pending", baseline.Status.Namespaces.Pending)
	case baseline.Status.Namespaces.Governed != governed:
		return fmt.Sprintf("got %d governed namespaces in the status, want %d", baseline.Status.Namespaces.Governed, governed)
	case !meta.IsStatusConditionTrue(baseline.Status.Conditions, v1alpha1.ConditionReady):
		return "is not ready: " + toJSON(baseline.Status.Conditions)
	}
	for _, condition := range baseline.Status.Conditions {
		if condition.Type == v1alpha1.ConditionReconciling {
			return "is reconciling: " + condition.Message
		}
	}
	return ""
}

// namespaceProblems describes what in a namespace does not match the baselines.
func (i *invariants) namespaceProblems(namespace *corev1.Namespace, baselines []*v1alpha1.SecurityBaseline, now time.Time) []string {
	var problems []string
	add := func(format string, args ...any) {
		problems = append(problems, namespace.Name+": "+fmt.Sprintf(format, args...))
	}
	all := enforcingBaselines(baselines, namespace.Labels)
	expected := map[string]bool{}
	for _, control := range controlNames {
		baseline := governingBaseline(all, control, namespace.Name, now)
		for _, object := range expectedObjects[baseline][control] {
			k := keyInNamespace(namespace.Name, object)
			expected[k.String()] = true
			if actual := i.objects[k]; actual == nil || actual.GetLabels()[foreignLabel] == "" {
				if problem := difference(actual, object, baseline, i.hasViolatingPod(namespace.Name)); problem != "" {
					add("%s of baseline %s %s", k, baseline, problem)
				}
			}
		}
	}
	for k, object := range i.objects {
		if k.namespace == namespace.Name && strings.HasPrefix(k.name, objectPrefix) && !expected[k.String()] && object.GetLabels()[foreignLabel] == "" {
			add("%s is not expected", k)
		}
	}
	report, _ := i.objects[key{kind: kindBaselineReport, namespace: namespace.Name, name: v1alpha1.ReportName}].(*v1alpha1.BaselineReport)
	if report == nil {
		add("has no report")
		return problems
	}
	for _, baseline := range baselines {
		isSelected := baseline.Name == trialBaseline || isSelectedBy[baseline.Name](namespace.Labels)
		if isSelected != slices.Contains(report.ObservedBaselines, v1alpha1.ObservedBaseline{Name: baseline.Name, Generation: baseline.Generation}) {
			add("the report is not based on baseline %s at generation %d: %s", baseline.Name, baseline.Generation, toJSON(report.ObservedBaselines))
		}
	}
	allowed := []v1alpha1.State{v1alpha1.StateCompliant, v1alpha1.StateContested, v1alpha1.StateExcepted}
	if i.hasViolatingPod(namespace.Name) {
		allowed = append(allowed, v1alpha1.StateViolating)
	}
	if !slices.Contains(allowed, report.State) && namespace.Labels[conflictLabel] == "" {
		add("is %s: %s", report.State, toJSON(report.Controls))
	}
	return problems
}

// keyInNamespace returns the key of an expected object in a namespace. For an expected
// Namespace, this is the key of the namespace itself.
func keyInNamespace(namespace string, object client.Object) key {
	kind := object.GetObjectKind().GroupVersionKind().Kind
	if kind == kindNamespace {
		return key{kind: kind, name: namespace}
	}
	return key{kind: kind, namespace: namespace, name: object.GetName()}
}

// difference describes how the actual object differs from the expected one. It returns
// "" if they match. If pods violate the expected level, the namespace may still enforce
// the level of another baseline.
func difference(actual, expected client.Object, baseline string, hasViolatingPods bool) string {
	if actual == nil {
		return "is missing"
	}
	labels := maps.Clone(expected.GetLabels())
	if _, isShared := expected.(*corev1.Namespace); isShared {
		delete(labels, controlLabel)
	} else {
		labels[v1alpha1.BaselineLabel] = baseline
	}
	for label, value := range labels {
		if hasViolatingPods && label == enforceLabel && actual.GetLabels()[label] == "baseline" {
			continue
		}
		if actual.GetLabels()[label] != value && actual.GetLabels()[ownerLabel] == "" {
			return fmt.Sprintf("got %s=%q, want %q", label, actual.GetLabels()[label], value)
		}
	}
	specOf := func(object client.Object) any {
		switch object := object.(type) {
		case *networkingv1.NetworkPolicy:
			return object.Spec
		case *rbacv1.RoleBinding:
			return []any{object.RoleRef, object.Subjects}
		case *corev1.ServiceAccount:
			return object.AutomountServiceAccountToken
		case *corev1.LimitRange:
			return object.Spec
		case *corev1.ResourceQuota:
			return object.Spec
		}
		return nil
	}
	if !equality.Semantic.DeepEqual(specOf(actual), specOf(expected)) {
		return fmt.Sprintf("got %s, want %s", toJSON(specOf(actual)), toJSON(specOf(expected)))
	}
	return ""
}
