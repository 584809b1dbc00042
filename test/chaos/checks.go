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
