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

// foreign checks I2.
func (i *invariants) checkUnmanaged(c *change) {
	named := strings.HasPrefix(c.key.name, objectPrefix) || c.key.name == v1alpha1.ReportName && c.key.kind == kindBaselineReport
	switch {
	case c.before == nil:
		i.createdByOperator[c.after.GetUID()] = true
		if !named && c.key.kind != kindServiceAccount && c.key.kind != kindNamespace {
			i.addViolation("I2", c, "made under a name that is not the operator's")
		}
	case c.after == nil:
		if !named || !i.createdByOperator[c.before.GetUID()] {
			i.addViolation("I2", c, "deleted, and not the operator's")
		}
	default:
		if before, after := unmanagedPart(c.before), unmanagedPart(c.after); !equality.Semantic.DeepEqual(before, after) {
			i.addViolation("I2", c, "changed what is not the operator's")
		}
	}
}

// theirs returns what of an object is not the operator's, and not Kubernetes' own.
func unmanagedPart(object client.Object) client.Object {
	rest := object.DeepCopyObject().(client.Object)
	rest.SetManagedFields(nil)
	rest.SetResourceVersion("")
	rest.SetGeneration(0)
	labels := rest.GetLabels()
	maps.DeleteFunc(labels, func(label, _ string) bool {
		domain, _, _ := strings.Cut(label, "/")
		owners := label == warnLabel && labels[ownerLabel] != ""
		return domain == "pod-security.kubernetes.io" && !owners || domain == "app.kubernetes.io" || strings.HasSuffix(domain, "securitybaseline.io")
	})
	if len(labels) == 0 {
		rest.SetLabels(nil)
	}
	made := strings.HasPrefix(object.GetName(), objectPrefix) && object.GetLabels()[foreignLabel] == ""
	switch rest := rest.(type) {
	case *corev1.Namespace:
		delete(rest.Annotations, v1alpha1.CreationLabelsAnnotation)
		rest.Spec, rest.Status = corev1.NamespaceSpec{}, corev1.NamespaceStatus{}
	case *corev1.ServiceAccount:
		rest.AutomountServiceAccountToken = nil
	case *corev1.ResourceQuota:
		rest.Status = corev1.ResourceQuotaStatus{}
		if made {
			rest.Spec = corev1.ResourceQuotaSpec{}
		}
	case *networkingv1.NetworkPolicy:
		if made {
			rest.Spec = networkingv1.NetworkPolicySpec{}
		}
	case *rbacv1.RoleBinding:
		if made {
			rest.Subjects = nil
		}
	case *corev1.LimitRange:
		if made {
			rest.Spec = corev1.LimitRangeSpec{}
		}
	case *v1alpha1.BaselineReport:
		rest.BaselineReportData = v1alpha1.BaselineReportData{}
	}
	return rest
}

// denies says whether a policy denies everything that no other policy allows.
func isDefaultDeny(object client.Object) bool {
	policy, ok := object.(*networkingv1.NetworkPolicy)
	return ok && len(policy.Spec.PodSelector.MatchLabels) == 0 && len(policy.Spec.PodSelector.MatchExpressions) == 0 &&
		len(policy.Spec.PolicyTypes) == 2 && len(policy.Spec.Ingress) == 0 && len(policy.Spec.Egress) == 0
}

// deny checks I1.
func (i *invariants) checkDefaultDeny(namespace *corev1.Namespace, c *change, ours bool) {
	before, after := isDefaultDeny(c.before), false
	for k, object := range i.objects {
		if k.kind == kindNetworkPolicy && k.namespace == c.key.namespace && isDefaultDeny(object) {
			before = before || k != c.key
			after = true
		}
	}
	if since, open := i.openSince[namespace.UID]; open && after {
		i.openFor = append(i.openFor, c.at.Sub(since))
		delete(i.openSince, namespace.UID)
	}
	if !before || after {
		return
	}
	switch {
	case ours:
		i.openSince[namespace.UID] = c.at
	case i.isLongGoverned(namespace, c.at):
		i.addViolation("I1", c, "the namespace is open")
	}
}

// governed says whether some baseline has long selected a namespace. All of them deny, and
// none whose selection changes is the only one.
func (i *invariants) isLongGoverned(namespace *corev1.Namespace, now time.Time) bool {
	return slices.ContainsFunc(enforcingBaselines(i.activeBaselines(), namespace.Labels), func(baseline *v1alpha1.SecurityBaseline) bool {
		return now.Sub(baseline.CreationTimestamp.Time) > baselineDelay
	})
}

// levels are the Pod Security Standards, the laxest first.
var podSecurityLevels = []string{"", "privileged", "baseline", restricted}

const (
	restricted   = "restricted"
	enforceLabel = "pod-security.kubernetes.io/enforce"
)

// level checks I5.
func (i *invariants) checkLevel(namespace *corev1.Namespace, c *change, ours bool) {
	level := func(object client.Object) int {
		if object == nil {
			return 0
		}
		return max(0, slices.Index(podSecurityLevels, object.GetLabels()[enforceLabel]))
	}
	if namespace.Labels[ownerLabel] != "" && !ours && c.before != nil && level(c.after) < level(c.before) {
		i.addViolation("I5", c, "lowered a level that the namespace's owner set")
		return
	}
	reign := i.levelGovernors[namespace.UID]
	if reign.baseline == "" {
		return
	}
	// What any of them asks for or, where it has long been so, the one that governs.
	needed := slices.Index(podSecurityLevels, "baseline")
	if reign.baseline == strictBaseline && c.at.Sub(reign.since) > baselineDelay {
		needed = slices.Index(podSecurityLevels, restricted)
	}
	if !ours && level(c.after) < level(c.before) && level(c.after) < needed {
		i.addViolation("I5", c, "lowered to %q", podSecurityLevels[level(c.after)])
	}
}

// governing returns the baseline that governs a control, or nothing.
func governingBaseline(enforcing []*v1alpha1.SecurityBaseline, control, namespace string, now time.Time) string {
	for _, baseline := range enforcing {
		if _, declared := expectedObjects[baseline.Name][control]; declared && !isExcepted(baseline, control, namespace, now) {
			return baseline.Name
		}
	}
	return ""
}

// excepted says whether an exception takes a control out of a namespace.
func isExcepted(baseline *v1alpha1.SecurityBaseline, control, namespace string, now time.Time) bool {
	return slices.ContainsFunc(baseline.Spec.Exceptions, func(exception v1alpha1.Exception) bool {
		return slices.Contains(exception.Namespaces, namespace) && slices.Contains(exception.Controls, v1alpha1.ControlName(control)) &&
			(exception.ExpirationTime == nil || now.Before(exception.ExpirationTime.Time))
	})
}

// report checks I4.
func (i *invariants) checkReport(namespace *corev1.Namespace, c *change) {
	before, _ := c.before.(*v1alpha1.BaselineReport)
	after, _ := c.after.(*v1alpha1.BaselineReport)
	if after == nil {
		if !i.crdsRemoved && i.isLongGoverned(namespace, c.at) {
			i.addViolation("I4", c, "the report is lost")
		}
		return
	}
	var old []v1alpha1.Drift
	if before != nil {
		old = before.Drifts
		if after.Summary.DriftsTotal < before.Summary.DriftsTotal {
			i.addViolation("I4", c, "%d drifts were counted, and now %d", before.Summary.DriftsTotal, after.Summary.DriftsTotal)
		}
	}
	count := func(drift *v1alpha1.Drift) int64 { return max(1, drift.Count) }
	for d := range old {
		kept := slices.ContainsFunc(after.Drifts, func(drift v1alpha1.Drift) bool {
			return isSameDrift(&drift, &old[d]) && count(&drift) >= count(&old[d])
		})
		oldest := len(after.Drifts) == maxDrifts && !after.Drifts[len(after.Drifts)-1].DetectionTime.Before(&old[d].DetectionTime)
		if !kept && !oldest {
			i.addViolation("I4", c, "lost the record %s", toJSON(old[d]))
		}
	}
	for d := range after.Drifts {
		drift := &after.Drifts[d]
		if slices.ContainsFunc(old, func(o v1alpha1.Drift) bool { return isSameDrift(&o, drift) && count(&o) == count(drift) }) {
			continue
		}
		if i.harnessEdits[namespace.UID][drift.Object] == 0 || drift.Manager != editManager && drift.Manager != "" || drift.Action == v1alpha1.DriftReported {
			i.addViolation("I4", c, "nobody did what is recorded: %s", toJSON(drift))
		}
	}
	recorded := map[string]int64{}
	for d := range after.Drifts {
		recorded[after.Drifts[d].Object] += count(&after.Drifts[d])
	}
	edits := 0
	for object, n := range i.harnessEdits[namespace.UID] {
		edits += n
		if recorded[object] > int64(n) {
			i.addViolation("I4", c, "%d drifts of %s are recorded, but it was changed no more than %d times", recorded[object], object, n)
		}
	}
	if after.Summary.DriftsTotal > int64(edits) {
		i.addViolation("I4", c, "%d drifts were counted, but nothing was changed more than %d times", after.Summary.DriftsTotal, edits)
	}
}

// mostDrifts is how many a report lists.
const maxDrifts = 20

// sameRecord says whether two records are of one drift, that came again perhaps.
func isSameDrift(a, b *v1alpha1.Drift) bool {
	return a.Control == b.Control && a.Baseline == b.Baseline && a.Object == b.Object && a.Manager == b.Manager && a.Operation == b.Operation && a.Action == b.Action
}

// dirty says whether a pod violates what strict asks for.
func (i *invariants) hasViolatingPod(namespace string) bool {
	return i.objects[key{kindPod, namespace, violatingPodName}] != nil
}

// settled says what is not as desired; empty if everything is.
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
			if baseline.Name == trialBaseline || governsAnyControl(baseline.Name, enforcingBaselines(baselines, namespace.Labels), namespace.Name, now) {
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

// allControls are those of which the baselines here declare any.
var controlNames = []string{"PodSecurity", "Network", "RBAC", "ServiceAccounts", "Resources"}

// governsAny says whether a baseline governs anything in a namespace.
func governsAnyControl(baseline string, enforcing []*v1alpha1.SecurityBaseline, namespace string, now time.Time) bool {
	return slices.ContainsFunc(controlNames, func(control string) bool { return governingBaseline(enforcing, control, namespace, now) == baseline })
}

// statusProblem says what the status of a baseline still lacks, that governs something in
// so many namespaces.
func statusProblem(baseline *v1alpha1.SecurityBaseline, governed int32) string {
	switch {
	case !baseline.DeletionTimestamp.IsZero():
		return "is still being deleted"
	case baseline.Status.ObservedGeneration != baseline.Generation:
		return fmt.Sprintf("its status is of generation %d, not %d", baseline.Status.ObservedGeneration, baseline.Generation)
	case baseline.Status.Namespaces.Pending > 0:
		return fmt.Sprintf("%d namespaces are pending", baseline.Status.Namespaces.Pending)
	case baseline.Status.Namespaces.Governed != governed:
		return fmt.Sprintf("it says that it governs %d namespaces, not %d", baseline.Status.Namespaces.Governed, governed)
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

// problems says what of a namespace is not as desired.
func (i *invariants) namespaceProblems(namespace *corev1.Namespace, baselines []*v1alpha1.SecurityBaseline, now time.Time) []string {
	var problems []string
	add := func(format string, args ...any) {
		problems = append(problems, namespace.Name+": "+fmt.Sprintf(format, args...))
	}
	all := enforcingBaselines(baselines, namespace.Labels)
	want := map[string]bool{}
	for _, control := range controlNames {
		baseline := governingBaseline(all, control, namespace.Name, now)
		for _, object := range expectedObjects[baseline][control] {
			k := keyInNamespace(namespace.Name, object)
			want[k.String()] = true
			if have := i.objects[k]; have == nil || have.GetLabels()[foreignLabel] == "" {
				if problem := difference(have, object, baseline, i.hasViolatingPod(namespace.Name)); problem != "" {
					add("%s of baseline %s %s", k, baseline, problem)
				}
			}
		}
	}
	for k, object := range i.objects {
		if k.namespace == namespace.Name && strings.HasPrefix(k.name, objectPrefix) && !want[k.String()] && object.GetLabels()[foreignLabel] == "" {
			add("%s is left over", k)
		}
	}
	report, _ := i.objects[key{kindBaselineReport, namespace.Name, v1alpha1.ReportName}].(*v1alpha1.BaselineReport)
	if report == nil {
		add("has no report")
		return problems
	}
	for _, baseline := range baselines {
		selected := baseline.Name == trialBaseline || isSelectedBy[baseline.Name](namespace.Labels)
		if selected != slices.Contains(report.ObservedBaselines, v1alpha1.ObservedBaseline{Name: baseline.Name, Generation: baseline.Generation}) {
			add("its report is not of baseline %s at generation %d: %s", baseline.Name, baseline.Generation, toJSON(report.ObservedBaselines))
		}
	}
	fine := []v1alpha1.State{v1alpha1.StateCompliant, v1alpha1.StateContested, v1alpha1.StateExcepted}
	if i.hasViolatingPod(namespace.Name) {
		fine = append(fine, v1alpha1.StateViolating)
	}
	if !slices.Contains(fine, report.State) && namespace.Labels[conflictLabel] == "" {
		add("is %s: %s", report.State, toJSON(report.Controls))
	}
	return problems
}

// keyIn is that of an object of a baseline in a namespace, or of the namespace.
func keyInNamespace(namespace string, object client.Object) key {
	kind := object.GetObjectKind().GroupVersionKind().Kind
	if kind == kindNamespace {
		return key{kind, "", namespace}
	}
	return key{kind, namespace, object.GetName()}
}

// differs says how an object is not as wanted; empty if it is. Where pods violate what is
// wanted, the level of the other baseline may still be enforced.
func difference(have, want client.Object, baseline string, dirty bool) string {
	if have == nil {
		return "is missing"
	}
	labels := maps.Clone(want.GetLabels())
	if _, shared := want.(*corev1.Namespace); shared {
		delete(labels, controlLabel)
	} else {
		labels[v1alpha1.BaselineLabel] = baseline
	}
	for label, value := range labels {
		if dirty && label == enforceLabel && have.GetLabels()[label] == "baseline" {
			continue
		}
		if have.GetLabels()[label] != value && have.GetLabels()[ownerLabel] == "" {
			return fmt.Sprintf("has %s=%q, not %q", label, have.GetLabels()[label], value)
		}
	}
	pick := func(object client.Object) any {
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
	if !equality.Semantic.DeepEqual(pick(have), pick(want)) {
		return fmt.Sprintf("is %s, not %s", toJSON(pick(have)), toJSON(pick(want)))
	}
	return ""
}
