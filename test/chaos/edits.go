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
	// foreignLabel marks objects that have the name of a managed object but are not
	// managed.
	foreignLabel = "chaos.example.com/foreign"
	// conflictLabel marks the namespaces that contain such an object.
	conflictLabel = "chaos.example.com/conflict"
	// ownerLabel marks a namespace. Its owner set a stricter level than the baseline, and
	// a warn level.
	ownerLabel = "chaos.example.com/owner"
	warnLabel  = "pod-security.kubernetes.io/warn"
	// fixedNamespaces is the number of namespaces that are never recreated or relabeled.
	fixedNamespaces = 5
	// violatingPodName is the name of pods that violate the level of the strict
	// baseline.
	violatingPodName = "violating"
	workloadName     = "workload"
)

// objectEdit is a change that a user makes to a managed object.
type objectEdit struct {
	kind, name string
	// patch is a merge patch. %s stands for the metadata. If patch is empty, the edit
	// deletes the object.
	patch string
}

// appLabels are the labels of the workloads in the namespaces.
var appLabels = map[string]string{"app": "web"}

// defaultDeny is the name of the default-deny policy, without objectPrefix.
const defaultDeny = "default-deny"

// openIngress is a patch that makes a NetworkPolicy allow all ingress.
const openIngress = `{"metadata":%s,"spec":{"ingress":[{}]}}`

// objectEdits are the possible edits.
var objectEdits = []objectEdit{
	{kind: kindNetworkPolicy, name: defaultDeny, patch: openIngress},
	{kind: kindNetworkPolicy, name: defaultDeny, patch: `{"metadata":%s,"spec":{"policyTypes":["Ingress"]}}`},
	{kind: kindNetworkPolicy, name: defaultDeny, patch: `{"metadata":%s,"spec":{"podSelector":{"matchLabels":{"app":"none"}}}}`},
	{kind: kindNetworkPolicy, name: defaultDeny},
	{kind: kindNetworkPolicy, name: "from-gateway", patch: openIngress},
	{kind: kindNetworkPolicy, name: "from-gateway"},
	{kind: kindNetworkPolicy, name: "allow-same-namespace", patch: `{"metadata":%s,"spec":{"egress":null}}`},
	{kind: kindRoleBinding, name: "team", patch: `{"metadata":%s,"subjects":[{"apiGroup":"rbac.authorization.k8s.io","kind":"User","name":"mallory"}]}`},
	{kind: kindRoleBinding, name: "team"},
	{kind: kindLimitRange, name: "limits", patch: `{"metadata":%s,"spec":{"limits":[{"type":"Pod","max":{"memory":"1Gi"}}]}}`},
	{kind: kindLimitRange, name: "limits"},
	{kind: kindResourceQuota, name: "quota", patch: `{"metadata":%s,"spec":{"hard":{"pods":"1k"}}}`},
	{kind: kindServiceAccount, patch: `{"metadata":%s,"automountServiceAccountToken":true}`},
	{kind: kindNamespace, patch: `{"metadata":%s}`},
	{kind: kindBaselineReport, patch: `{"metadata":%s,"drifts":null,"state":"Failed"}`},
	{kind: kindBaselineReport},
}

// labelEdits remove or change labels of a namespace.
var labelEdits = []string{
	`"pod-security.kubernetes.io/enforce":"privileged"`, `"pod-security.kubernetes.io/enforce":null`,
	`"pod-security.kubernetes.io/enforce-version":"v1.20"`, `"podsecurity.securitybaseline.io/baseline":null`,
}

// editMetadata returns the metadata of a patch, with a new annotation and a label that
// no operator manages.
func (h *harness) editMetadata(labels string) string {
	n := h.editNumber.Add(1)
	return fmt.Sprintf(`{"annotations":{%q:"%d"},"labels":{"chaos.example.com/seen":"%d"%s}}`, editAnnotation, n, n%7, labels)
}

// editRandomObject makes a random edit. It ignores that the object is missing or has
// changed.
func (h *harness) editRandomObject(ctx context.Context) error {
	edit := objectEdits[rand.IntN(len(objectEdits))]
	namespace := h.randomNamespace()
	k := key{kind: edit.kind, namespace: namespace, name: objectPrefix + edit.name}
	labels := ""
	switch edit.kind {
	case kindServiceAccount:
		k.name = "default"
	case kindBaselineReport:
		k.name = v1alpha1.ReportName
	case kindNamespace:
		k = key{kind: edit.kind, name: namespace}
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
	if object != nil && edit.patch == "" {
		h.invariants.recordDeletion(k, object, time.Now())
	}
	h.watcher.mutex.Unlock()
	if object == nil || object.GetLabels()[foreignLabel] != "" {
		return nil
	}
	object = object.DeepCopyObject().(client.Object)
	var err error
	if edit.patch == "" {
		err = h.admin.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())})
		if isRejected(err) {
			h.watcher.mutex.Lock()
			h.invariants.forgetDeletion(k, object)
			h.watcher.mutex.Unlock()
		}
	} else {
		err = h.admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, edit.patch, h.editMetadata(labels))), client.FieldOwner(editManager))
	}
	if err == nil {
		h.editsApplied.Add(1)
	}
	return ignoreExpected(err)
}

// openRandomNamespace makes the default-deny policy of a namespace allow all ingress.
func (h *harness) openRandomNamespace(ctx context.Context) error {
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: h.randomOrdinaryNamespace(), Name: objectPrefix + defaultDeny}}
	patch := fmt.Appendf(nil, openIngress, h.editMetadata(""))
	return h.admin.Patch(ctx, policy, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(editManager))
}

// churn makes one random change, as users do all the time, including changes to managed
// objects. Baselines change rarely enough for the operators to apply them.
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
