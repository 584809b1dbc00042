package main

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

const (
	// foreignLabel is on objects that have names of the operator's and are not its.
	foreignLabel = "chaos.example.com/foreign"
	// conflictLabel is on the namespaces that have such an object.
	conflictLabel = "chaos.example.com/conflict"
	// ownersLabel is on a namespace whose owner set a stricter level, and one to be
	// warned of.
	ownerLabel = "chaos.example.com/owner"
	warnLabel  = "pod-security.kubernetes.io/warn"
	// special is how many namespaces are never made again, nor relabelled.
	fixedNamespaces = 5
	// podName is that of pods that violate what strict asks for, and workloadName that
	// of a Deployment that changes when they go.
	violatingPodName, workloadName = "dirty", "workload"
)

// edit is something that somebody does to what the operator put in place.
type objectEdit struct {
	kind, name string
	// patch is a merge patch in which %s is where the annotation goes, and which
	// deletes the object where it is empty.
	patch string
}

// theirApp labels what is theirs.
var appLabels = map[string]string{"app": "web"}

// defaultDeny is the name of the policy that denies, after the prefix.
const defaultDeny = "default-deny"

// opening lets everybody into the pods of a policy.
const openIngress = `{"metadata":%s,"spec":{"ingress":[{}]}}`

// edits are what is done to objects of every kind.
var objectEdits = []objectEdit{
	{kindNetworkPolicy, defaultDeny, openIngress},
	{kindNetworkPolicy, defaultDeny, `{"metadata":%s,"spec":{"policyTypes":["Ingress"]}}`},
	{kindNetworkPolicy, defaultDeny, `{"metadata":%s,"spec":{"podSelector":{"matchLabels":{"app":"none"}}}}`},
	{kindNetworkPolicy, defaultDeny, ""},
	{kindNetworkPolicy, "from-gateway", openIngress},
	{kindNetworkPolicy, "from-gateway", ""},
	{kindNetworkPolicy, "allow-same-namespace", `{"metadata":%s,"spec":{"egress":null}}`},
	{kindRoleBinding, "team", `{"metadata":%s,"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"mallory"}]}`},
	{kindRoleBinding, "team", ""},
	{kindLimitRange, "limits", `{"metadata":%s,"spec":{"limits":[{"type":"Pod","max":{"memory":"1Gi"}}]}}`},
	{kindLimitRange, "limits", ""},
	{kindResourceQuota, "quota", `{"metadata":%s,"spec":{"hard":{"pods":"1k"}}}`},
	{kindServiceAccount, "", `{"metadata":%s,"automountServiceAccountToken":true}`},
	{kindNamespace, "", `{"metadata":%s}`},
	{kindBaselineReport, "", `{"metadata":%s,"drifts":null,"state":"Failed"}`},
	{kindBaselineReport, "", ""},
}

// labels that are taken off a namespace or changed.
var labelEdits = []string{
	`"pod-security.kubernetes.io/enforce":"privileged"`, `"pod-security.kubernetes.io/enforce":null`,
	`"pod-security.kubernetes.io/enforce-version":"v1.20"`, `"podsecurity.securitybaseline.io/baseline":null`,
}

// annotated returns the metadata of a patch, which is new each time and says
// something that is nobody's but the harness's.
func (h *harness) editMetadata(labels string) string {
	n := h.editNumber.Add(1)
	return fmt.Sprintf(`{"annotations":{%q:"%d"},"labels":{"chaos.example.com/seen":"%d"%s}}`, editAnnotation, n, n%7, labels)
}

// edit does something at random to a namespace. That the object is not there, or has
// changed, is as well.
func (h *harness) editRandomObject(ctx context.Context) error {
	e := objectEdits[rand.IntN(len(objectEdits))]
	namespace := h.randomNamespace()
	k := key{e.kind, namespace, objectPrefix + e.name}
	labels := ""
	switch e.kind {
	case kindServiceAccount:
		k.name = "default"
	case kindBaselineReport:
		k.name = v1alpha1.ReportName
	case kindNamespace:
		k = key{e.kind, "", namespace}
		if label := rand.IntN(2 * len(labelEdits)); label < len(labelEdits) {
			labels = "," + labelEdits[label]
		}
	default:
		if rand.IntN(5) == 0 {
			labels = `,"securitybaseline.io/baseline":null`
		}
	}
	h.watcher.mutex.Lock()
	object := h.watcher.objects[k]
	if object != nil && e.patch == "" {
		h.invariants.recordDeletion(k, object, time.Now())
	}
	h.watcher.mutex.Unlock()
	if object == nil || object.GetLabels()[foreignLabel] != "" {
		return nil
	}
	object = object.DeepCopyObject().(client.Object)
	var err error
	if e.patch == "" {
		err = h.admin.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())})
		if isRejected(err) {
			h.watcher.mutex.Lock()
			h.invariants.forgetDeletion(k, object)
			h.watcher.mutex.Unlock()
		}
	} else {
		err = h.admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, e.patch, h.editMetadata(labels))), client.FieldOwner(editManager))
	}
	if err == nil {
		h.editsApplied.Add(1)
	}
	return ignoreExpected(err)
}

// open opens a namespace, and returns nil if it did.
func (h *harness) openRandomNamespace(ctx context.Context) error {
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: h.randomOrdinaryNamespace(), Name: objectPrefix + defaultDeny}}
	patch := fmt.Appendf(nil, openIngress, h.editMetadata(""))
	return h.admin.Patch(ctx, policy, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(editManager))
}

// churn is what goes on all the time: what users do, and now and then something that
// they should not. Baselines change seldom enough for what they ask for to be known.
func (h *harness) churn(ctx context.Context) error {
	switch n := rand.IntN(200); {
	case n < 1:
		return h.swapPriorities(ctx)
	case n < 4:
		return h.toggleBaseline(ctx, extraBaseline)
	case n < 7:
		return h.addException(ctx)
	case n < 10:
		return h.toggleBaseline(ctx, trialBaseline)
	case n < 20:
		return h.toggleSelection(ctx)
	case n < 40:
		return h.toggleViolatingPod(ctx)
	}
	return h.editRandomObject(ctx)
}
