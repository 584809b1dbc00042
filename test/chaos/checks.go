package main

import (
	"maps"
	"slices"
	"strings"
	"time"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	"k8s.io/apimachinery/pkg/api/equality"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// checkUnmanaged checks I2.
func (i *invariants) checkUnmanaged(c *change) {
	hasManagedName := strings.HasPrefix(c.key.name, objectPrefix) || c.key.name == v1alpha1.ReportName && c.key.kind == kindBaselineReport
	switch {
	case c.before == nil:
		i.createdByOperator[c.after.GetUID()] = true
		if !hasManagedName && c.key.kind != kindServiceAccount && c.key.kind != kindNamespace {
			i.addViolation("I2", c, "the operator created an object without its name prefix")
		}
	case c.after == nil:
		if !hasManagedName || !i.createdByOperator[c.before.GetUID()] {
			i.addViolation("I2", c, "the operator deleted an object that it does not manage")
		}
	default:
		if !equality.Semantic.DeepEqual(unmanagedPart(c.before), unmanagedPart(c.after)) {
			i.addViolation("I2", c, "the operator changed fields that it does not manage")
		}
	}
}

// unmanagedPart returns a copy of the object without the fields that the operator or
// Kubernetes itself may change.
func unmanagedPart(object client.Object) client.Object {
	rest := object.DeepCopyObject().(client.Object)
	rest.SetManagedFields(nil)
	rest.SetResourceVersion("")
	rest.SetGeneration(0)
	labels := rest.GetLabels()
	maps.DeleteFunc(labels, func(label, _ string) bool {
		domain, _, _ := strings.Cut(label, "/")
		isOwners := label == warnLabel && labels[ownerLabel] != ""
		return domain == "pod-security.kubernetes.io" && !isOwners || domain == "app.kubernetes.io" || strings.HasSuffix(domain, "securitybaseline.io")
	})
	if len(labels) == 0 {
		rest.SetLabels(nil)
	}
	isManaged := strings.HasPrefix(object.GetName(), objectPrefix) && object.GetLabels()[foreignLabel] == ""
	switch rest := rest.(type) {
	case *corev1.Namespace:
		delete(rest.Annotations, v1alpha1.CreationLabelsAnnotation)
		rest.Spec = corev1.NamespaceSpec{}
		rest.Status = corev1.NamespaceStatus{}
	case *corev1.ServiceAccount:
		rest.AutomountServiceAccountToken = nil
	case *corev1.ResourceQuota:
		rest.Status = corev1.ResourceQuotaStatus{}
		if isManaged {
			rest.Spec = corev1.ResourceQuotaSpec{}
		}
	case *networkingv1.NetworkPolicy:
		if isManaged {
			rest.Spec = networkingv1.NetworkPolicySpec{}
		}
	case *rbacv1.RoleBinding:
		if isManaged {
			rest.Subjects = nil
		}
	case *corev1.LimitRange:
		if isManaged {
			rest.Spec = corev1.LimitRangeSpec{}
		}
	case *v1alpha1.BaselineReport:
		rest.BaselineReportData = v1alpha1.BaselineReportData{}
	}
	return rest
}

// isDefaultDeny reports whether the object is a NetworkPolicy that selects all pods and
// denies all traffic.
func isDefaultDeny(object client.Object) bool {
	policy, ok := object.(*networkingv1.NetworkPolicy)
	return ok && len(policy.Spec.PodSelector.MatchLabels) == 0 && len(policy.Spec.PodSelector.MatchExpressions) == 0 &&
		len(policy.Spec.PolicyTypes) == 2 && len(policy.Spec.Ingress) == 0 && len(policy.Spec.Egress) == 0
}

// checkDefaultDeny checks I1.
func (i *invariants) checkDefaultDeny(namespace *corev1.Namespace, c *change, isByHarness bool) {
	hadDefaultDeny := isDefaultDeny(c.before)
	hasDefaultDeny := false
	for k, object := range i.objects {
		if k.kind == kindNetworkPolicy && k.namespace == c.key.namespace && isDefaultDeny(object) {
			hadDefaultDeny = hadDefaultDeny || k != c.key
			hasDefaultDeny = true
		}
	}
	if since, isOpen := i.openSince[namespace.UID]; isOpen && hasDefaultDeny {
		i.openFor = append(i.openFor, c.at.Sub(since))
		delete(i.openSince, namespace.UID)
	}
	if !hadDefaultDeny || hasDefaultDeny {
		return
	}
	switch {
	case isByHarness:
		i.openSince[namespace.UID] = c.at
	case i.isLongGoverned(namespace, c.at):
		i.addViolation("I1", c, "the namespace has no default-deny policy")
	}
}

// isLongGoverned reports whether a baseline older than baselineDelay governs the
// namespace. All baselines here require default-deny policies, and the
// selection of one of them never changes.
func (i *invariants) isLongGoverned(namespace *corev1.Namespace, now time.Time) bool {
	return slices.ContainsFunc(enforcingBaselines(i.activeBaselines(), namespace.Labels), func(baseline *v1alpha1.SecurityBaseline) bool {
		return now.Sub(baseline.CreationTimestamp.Time) > baselineDelay
	})
}

// podSecurityLevels are the levels of the Pod Security Standards, the least strict
// first.
var podSecurityLevels = []string{"", "privileged", "baseline", restricted}

const (
	restricted   = "restricted"
	enforceLabel = "pod-security.kubernetes.io/enforce"
)

// checkLevel checks I5.
func (i *invariants) checkLevel(namespace *corev1.Namespace, c *change, isByHarness bool) {
	level := func(object client.Object) int {
		if object == nil {
			return 0
		}
		return max(0, slices.Index(podSecurityLevels, object.GetLabels()[enforceLabel]))
	}
	if namespace.Labels[ownerLabel] != "" && !isByHarness && c.before != nil && level(c.after) < level(c.before) {
		i.addViolation("I5", c, "the operator lowered a level that the owner of the namespace set")
		return
	}
	current := i.levelGovernors[namespace.UID]
	if current.baseline == "" {
		return
	}
	// All baselines require at least the level baseline. The level of the governing
	// baseline counts once it has governed for baselineDelay.
	needed := slices.Index(podSecurityLevels, "baseline")
	if current.baseline == strictBaseline && c.at.Sub(current.since) > baselineDelay {
		needed = slices.Index(podSecurityLevels, restricted)
	}
	if !isByHarness && level(c.after) < level(c.before) && level(c.after) < needed {
		i.addViolation("I5", c, "the operator lowered the level to %q", podSecurityLevels[level(c.after)])
	}
}

// checkReport checks I4.
func (i *invariants) checkReport(namespace *corev1.Namespace, c *change) {
	before, _ := c.before.(*v1alpha1.BaselineReport)
	after, _ := c.after.(*v1alpha1.BaselineReport)
	if after == nil {
		if !i.areCRDsRemoved && i.isLongGoverned(namespace, c.at) {
			i.addViolation("I4", c, "the report was deleted")
		}
		return
	}
	var old []v1alpha1.Drift
	if before != nil {
		old = before.Drifts
		if after.Summary.DriftsTotal < before.Summary.DriftsTotal {
			i.addViolation("I4", c, "driftsTotal decreased from %d to %d", before.Summary.DriftsTotal, after.Summary.DriftsTotal)
		}
	}
	count := func(drift *v1alpha1.Drift) int64 { return max(1, drift.Count) }
	for d := range old {
		isKept := slices.ContainsFunc(after.Drifts, func(drift v1alpha1.Drift) bool {
			return isSameDrift(&drift, &old[d]) && count(&drift) >= count(&old[d])
		})
		isDisplaced := len(after.Drifts) == maxDrifts && !after.Drifts[len(after.Drifts)-1].DetectionTime.Before(&old[d].DetectionTime)
		if !isKept && !isDisplaced {
			i.addViolation("I4", c, "a recorded drift was removed: %s", toJSON(old[d]))
		}
	}
	for d := range after.Drifts {
		drift := &after.Drifts[d]
		if slices.ContainsFunc(old, func(o v1alpha1.Drift) bool { return isSameDrift(&o, drift) && count(&o) == count(drift) }) {
			continue
		}
		if i.harnessEdits[namespace.UID][drift.Object] == 0 || drift.Manager != editManager && drift.Manager != "" || drift.Action == v1alpha1.DriftReported {
			i.addViolation("I4", c, "a drift is recorded that did not happen: %s", toJSON(drift))
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
			i.addViolation("I4", c, "got %d recorded drifts of %s, want at most %d", recorded[object], object, n)
		}
	}
	if after.Summary.DriftsTotal > int64(edits) {
		i.addViolation("I4", c, "got driftsTotal %d, want at most %d", after.Summary.DriftsTotal, edits)
	}
}

// maxDrifts is the maximum number of drifts in a report.
const maxDrifts = 20

// isSameDrift reports whether two entries record the same drift, which may have happened
// again in between.
func isSameDrift(a, b *v1alpha1.Drift) bool {
	return a.Control == b.Control && a.Baseline == b.Baseline && a.Object == b.Object && a.Manager == b.Manager && a.Operation == b.Operation && a.Action == b.Action
}
