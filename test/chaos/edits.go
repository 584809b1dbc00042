package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/controller/controllerutil"

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

// refused says whether the API server did not delete what it was asked to: without an
// answer, or when etcd did not answer it in time, it may do so yet. What is gone already
// may be so by the harness's own other hand.
func isRejected(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err)
}

// tolerated passes only the errors that the harness's own mistakes lead to: while the
// API server is down, while etcd is full and where things changed meanwhile, an edit
// comes to nothing.
func ignoreExpected(err error) error {
	if apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsMethodNotSupported(err) {
		return err
	}
	return nil
}

// patience is how long something is tried that must succeed in the end.
const retryTimeout = 2 * time.Minute

// retried does something until it succeeds.
func retry(ctx context.Context, do func() error) error {
	var last error
	ctx, cancel := context.WithTimeout(ctx, retryTimeout)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(context.Context) (bool, error) {
		last = do()
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w; at last: %w", err, last)
	}
	return err
}

func namespaceName(i int) string { return fmt.Sprintf("chaos-%02d", i) }

func (h *harness) randomNamespace() string { return namespaceName(rand.IntN(h.options.namespaces)) }

func (h *harness) randomOrdinaryNamespace() string {
	return namespaceName(fixedNamespaces + rand.IntN(h.options.namespaces-fixedNamespaces))
}

// namespace returns the namespace of a number, as it is made.
func (h *harness) newNamespace(name string) *corev1.Namespace {
	labels := map[string]string{governedLabel: labelTrue}
	var number int
	_, _ = fmt.Sscanf(name, "chaos-%d", &number)
	if number%2 == 1 {
		labels[tierLabel] = strictBaseline
	}
	if number%5 == 0 {
		labels[extraLabel] = labelTrue
	}
	switch number {
	case 2:
		labels[conflictLabel] = labelTrue
	case 4:
		labels[ownerLabel], labels[enforceLabel], labels[warnLabel] = labelTrue, restricted, restricted
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: labels, Annotations: map[string]string{editAnnotation: fmt.Sprint(h.editNumber.Add(1)), "owner.example.com/contact": "team@example.com"},
	}}
}

// populate makes a namespace and what is in it that is not the operator's.
func (h *harness) createNamespace(ctx context.Context, name string) error {
	namespace := h.newNamespace(name)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace.Name, Name: name, Annotations: map[string]string{editAnnotation: fmt.Sprint(h.editNumber.Add(1))}}
	}
	objects := []client.Object{
		namespace,
		&networkingv1.NetworkPolicy{ObjectMeta: meta("their-own"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: appLabels}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}},
		&rbacv1.RoleBinding{ObjectMeta: meta("their-own"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}},
		&appsv1.Deployment{ObjectMeta: meta(workloadName), Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: appLabels},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: appLabels}, Spec: violatingPodSpec()},
		}},
	}
	if namespace.Labels[conflictLabel] != "" {
		theirs := &networkingv1.NetworkPolicy{ObjectMeta: meta(objectPrefix + "from-gateway")}
		theirs.Labels = map[string]string{foreignLabel: labelTrue}
		objects = append(objects, theirs)
	}
	for _, object := range objects {
		err := retry(ctx, func() error {
			if err := h.admin.Create(ctx, object); !apierrors.IsAlreadyExists(err) {
				object.SetResourceVersion("")
				return err
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("making %s: %w", object.GetName(), err)
		}
	}
	return nil
}

// recreate deletes a namespace and makes it again under the same name. Where it is
// stuck, an object in it holds it up for a while.
func (h *harness) recreateNamespace(ctx context.Context, stuck time.Duration) error {
	name := h.randomOrdinaryNamespace()
	if _, already := h.recreating.LoadOrStore(name, true); already {
		return nil
	}
	defer h.recreating.Delete(name)
	if ctx.Err() != nil {
		return nil
	}
	// Whatever else ends, the namespace must neither stay nor be missing.
	over := ctx
	ctx = h.runCtx
	holder := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "holder", Finalizers: []string{"chaos.example.com/holder"}}}
	if stuck > 0 {
		if err := retry(ctx, func() error { return client.IgnoreAlreadyExists(h.admin.Create(ctx, holder.DeepCopy())) }); err != nil {
			return err
		}
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := retry(ctx, func() error { return client.IgnoreNotFound(h.admin.Delete(ctx, namespace)) }); err != nil {
		return err
	}
	if stuck > 0 {
		pause(over, stuck)
		err := retry(ctx, func() error {
			err := h.admin.Get(ctx, client.ObjectKeyFromObject(holder), holder)
			if err != nil {
				return client.IgnoreNotFound(err)
			}
			controllerutil.RemoveFinalizer(holder, "chaos.example.com/holder")
			return client.IgnoreNotFound(h.admin.Update(ctx, holder))
		})
		if err != nil {
			return err
		}
	}
	err := retry(ctx, func() error {
		if err := h.admin.Get(ctx, client.ObjectKey{Name: name}, namespace); !apierrors.IsNotFound(err) {
			return fmt.Errorf("namespace %s is still there: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.createNamespace(ctx, name)
}

// baseline returns a baseline as it is written in world.go.
func newBaseline(name string) *v1alpha1.SecurityBaseline {
	object, err := decode([]byte(strings.TrimSpace(baselineYAML[name])))
	if err != nil {
		panic(fmt.Sprintf("baseline %s: %v", name, err))
	}
	return object.(*v1alpha1.SecurityBaseline)
}

// ensure makes a baseline that is missing.
func (h *harness) ensureBaseline(ctx context.Context, name string) error {
	return retry(ctx, func() error {
		err := client.IgnoreAlreadyExists(h.admin.Create(ctx, newBaseline(name)))
		if err != nil && !apierrors.IsNotFound(err) { // the CRD is gone, or not served yet
			return fmt.Errorf("making baseline %s: %w", name, err)
		}
		return err
	})
}

// change changes the spec of a baseline that is there.
func (h *harness) updateBaseline(ctx context.Context, name string, to func(*v1alpha1.SecurityBaselineSpec)) error {
	var current v1alpha1.SecurityBaseline
	if err := h.admin.Get(ctx, client.ObjectKey{Name: name}, &current); err != nil {
		return ignoreExpected(err)
	}
	to(&current.Spec)
	return ignoreExpected(h.admin.Update(ctx, &current))
}

// swap exchanges which of two baselines has precedence.
func (h *harness) swapPriorities(ctx context.Context) error {
	return h.updateBaseline(ctx, strictBaseline, func(spec *v1alpha1.SecurityBaselineSpec) { spec.Priority = -spec.Priority })
}

// except takes a control out of some namespaces for a moment.
func (h *harness) addException(ctx context.Context) error {
	return h.updateBaseline(ctx, floorBaseline, func(spec *v1alpha1.SecurityBaselineSpec) {
		spec.Exceptions = []v1alpha1.Exception{{
			Name: "moment", Reason: "To see it expire", Namespaces: []string{h.randomNamespace(), h.randomNamespace() + "0"},
			Controls: []v1alpha1.ControlName{v1alpha1.ControlResources}, ExpirationTime: new(metav1.NewTime(time.Now().Add(2 * time.Second))),
		}}
	})
}

// toggle makes a baseline or deletes it.
func (h *harness) toggleBaseline(ctx context.Context, name string) error {
	err := h.admin.Create(ctx, newBaseline(name))
	if apierrors.IsAlreadyExists(err) {
		err = h.admin.Delete(ctx, newBaseline(name))
	}
	return ignoreExpected(err)
}

// reselect has another baseline govern a namespace, or not any more.
func (h *harness) toggleSelection(ctx context.Context) error {
	namespace := &corev1.Namespace{}
	if err := h.admin.Get(ctx, client.ObjectKey{Name: h.randomOrdinaryNamespace()}, namespace); err != nil {
		return ignoreExpected(err)
	}
	label, value := tierLabel, `"`+strictBaseline+`"`
	if rand.IntN(2) == 0 {
		label, value = extraLabel, `"`+labelTrue+`"`
	}
	if namespace.Labels[label] != "" {
		value = "null"
	}
	patch := fmt.Sprintf(`{"metadata":%s}`, h.editMetadata(fmt.Sprintf(`,%q:%s`, label, value)))
	return ignoreExpected(h.admin.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(editManager)))
}

// dirty is what violates the level restricted, and no other.
func violatingPodSpec() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "example.com/a"}}}
}

// pollute makes a pod that violates what strict asks for or, if it is there, deletes it.
func (h *harness) toggleViolatingPod(ctx context.Context) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: h.randomNamespace(), Name: violatingPodName}, Spec: violatingPodSpec()}
	err := h.admin.Create(ctx, pod)
	if !apierrors.IsAlreadyExists(err) {
		if err == nil {
			h.count("pods that violate a level")
		}
		return ignoreExpected(err)
	}
	if err := h.admin.Delete(ctx, pod); err != nil {
		return ignoreExpected(err)
	}
	// Only a workload that changes tells the operators.
	workload := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: workloadName}}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":%s}`, h.editMetadata("")))
	ctx = h.runCtx
	return retry(ctx, func() error {
		return client.IgnoreNotFound(h.admin.Patch(ctx, workload, patch, client.FieldOwner(editManager)))
	})
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
