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
	ownersLabel = "chaos.example.com/owner"
	warnLabel   = "pod-security.kubernetes.io/warn"
	// special is how many namespaces are never made again, nor relabelled.
	special = 5
	// podName is that of pods that violate what strict asks for, and workloadName that
	// of a Deployment that changes when they go.
	podName, workloadName = "dirty", "workload"
)

// edit is something that somebody does to what the operator put in place.
type edit struct {
	kind, name string
	// patch is a merge patch in which %s is where the annotation goes, and which
	// deletes the object where it is empty.
	patch string
}

// theirApp labels what is theirs.
var theirApp = map[string]string{"app": "web"}

// defaultDeny is the name of the policy that denies, after the prefix.
const defaultDeny = "default-deny"

// opening lets everybody into the pods of a policy.
const opening = `{"metadata":%s,"spec":{"ingress":[{}]}}`

// edits are what is done to objects of every kind.
var edits = []edit{
	{kindNetworkPolicy, defaultDeny, opening},
	{kindNetworkPolicy, defaultDeny, `{"metadata":%s,"spec":{"policyTypes":["Ingress"]}}`},
	{kindNetworkPolicy, defaultDeny, `{"metadata":%s,"spec":{"podSelector":{"matchLabels":{"app":"none"}}}}`},
	{kindNetworkPolicy, defaultDeny, ""},
	{kindNetworkPolicy, "from-gateway", opening},
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
func (h *harness) annotated(labels string) string {
	n := h.edits.Add(1)
	return fmt.Sprintf(`{"annotations":{%q:"%d"},"labels":{"chaos.example.com/seen":"%d"%s}}`, editAnnotation, n, n%7, labels)
}

// edit does something at random to a namespace. That the object is not there, or has
// changed, is as well.
func (h *harness) edit(ctx context.Context) error {
	e := edits[rand.IntN(len(edits))]
	namespace := h.anyNamespace()
	k := key{e.kind, namespace, prefix + e.name}
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
		h.invariants.deletes(k, object, time.Now())
	}
	h.watcher.mutex.Unlock()
	if object == nil || object.GetLabels()[foreignLabel] != "" {
		return nil
	}
	object = object.DeepCopyObject().(client.Object)
	var err error
	if e.patch == "" {
		err = h.admin.Delete(ctx, object, client.Preconditions{UID: new(object.GetUID())})
		if refused(err) {
			h.watcher.mutex.Lock()
			h.invariants.deletesNot(k, object)
			h.watcher.mutex.Unlock()
		}
	} else {
		err = h.admin.Patch(ctx, object, client.RawPatch(types.MergePatchType, fmt.Appendf(nil, e.patch, h.annotated(labels))), client.FieldOwner(editManager))
	}
	if err == nil {
		h.made.Add(1)
	}
	return tolerated(err)
}

// open opens a namespace, and returns nil if it did.
func (h *harness) open(ctx context.Context) error {
	policy := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: h.anyPlainNamespace(), Name: prefix + defaultDeny}}
	patch := fmt.Appendf(nil, opening, h.annotated(""))
	return h.admin.Patch(ctx, policy, client.RawPatch(types.MergePatchType, patch), client.FieldOwner(editManager))
}

// refused says whether the API server did not delete what it was asked to: without an
// answer, or when etcd did not answer it in time, it may do so yet. What is gone already
// may be so by the harness's own other hand.
func refused(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err)
}

// tolerated passes only the errors that the harness's own mistakes lead to: while the
// API server is down, while etcd is full and where things changed meanwhile, an edit
// comes to nothing.
func tolerated(err error) error {
	if apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsMethodNotSupported(err) {
		return err
	}
	return nil
}

// patience is how long something is tried that must succeed in the end.
const patience = 2 * time.Minute

// retried does something until it succeeds.
func retried(ctx context.Context, do func() error) error {
	var last error
	ctx, cancel := context.WithTimeout(ctx, patience)
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

func (h *harness) anyNamespace() string { return namespaceName(rand.IntN(h.settings.namespaces)) }

func (h *harness) anyPlainNamespace() string {
	return namespaceName(special + rand.IntN(h.settings.namespaces-special))
}

// namespace returns the namespace of a number, as it is made.
func (h *harness) namespace(name string) *corev1.Namespace {
	labels := map[string]string{governedLabel: yes}
	var number int
	_, _ = fmt.Sscanf(name, "chaos-%d", &number)
	if number%2 == 1 {
		labels[tierLabel] = strictBaseline
	}
	if number%5 == 0 {
		labels[extraLabel] = yes
	}
	switch number {
	case 2:
		labels[conflictLabel] = yes
	case 4:
		labels[ownersLabel], labels[enforceLabel], labels[warnLabel] = yes, restricted, restricted
	}
	return &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: name, Labels: labels, Annotations: map[string]string{editAnnotation: fmt.Sprint(h.edits.Add(1)), "owner.example.com/contact": "team@example.com"},
	}}
}

// populate makes a namespace and what is in it that is not the operator's.
func (h *harness) populate(ctx context.Context, name string) error {
	namespace := h.namespace(name)
	meta := func(name string) metav1.ObjectMeta {
		return metav1.ObjectMeta{Namespace: namespace.Name, Name: name, Annotations: map[string]string{editAnnotation: fmt.Sprint(h.edits.Add(1))}}
	}
	objects := []client.Object{
		namespace,
		&networkingv1.NetworkPolicy{ObjectMeta: meta("their-own"), Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: theirApp}, Ingress: []networkingv1.NetworkPolicyIngressRule{{}},
		}},
		&rbacv1.RoleBinding{ObjectMeta: meta("their-own"), RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}},
		&appsv1.Deployment{ObjectMeta: meta(workloadName), Spec: appsv1.DeploymentSpec{
			Replicas: new(int32(0)), Selector: &metav1.LabelSelector{MatchLabels: theirApp},
			Template: corev1.PodTemplateSpec{ObjectMeta: metav1.ObjectMeta{Labels: theirApp}, Spec: dirty()},
		}},
	}
	if namespace.Labels[conflictLabel] != "" {
		theirs := &networkingv1.NetworkPolicy{ObjectMeta: meta(prefix + "from-gateway")}
		theirs.Labels = map[string]string{foreignLabel: yes}
		objects = append(objects, theirs)
	}
	for _, object := range objects {
		err := retried(ctx, func() error {
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
func (h *harness) recreate(ctx context.Context, stuck time.Duration) error {
	name := h.anyPlainNamespace()
	if _, already := h.recreating.LoadOrStore(name, true); already {
		return nil
	}
	defer h.recreating.Delete(name)
	if ctx.Err() != nil {
		return nil
	}
	// Whatever else ends, the namespace must neither stay nor be missing.
	over := ctx
	ctx = h.whole
	holder := &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: name, Name: "holder", Finalizers: []string{"chaos.example.com/holder"}}}
	if stuck > 0 {
		if err := retried(ctx, func() error { return client.IgnoreAlreadyExists(h.admin.Create(ctx, holder.DeepCopy())) }); err != nil {
			return err
		}
	}
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name}}
	if err := retried(ctx, func() error { return client.IgnoreNotFound(h.admin.Delete(ctx, namespace)) }); err != nil {
		return err
	}
	if stuck > 0 {
		pause(over, stuck)
		err := retried(ctx, func() error {
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
	err := retried(ctx, func() error {
		if err := h.admin.Get(ctx, client.ObjectKey{Name: name}, namespace); !apierrors.IsNotFound(err) {
			return fmt.Errorf("namespace %s is still there: %w", name, err)
		}
		return nil
	})
	if err != nil {
		return err
	}
	return h.populate(ctx, name)
}

// baseline returns a baseline as it is written in world.go.
func baseline(name string) *v1alpha1.SecurityBaseline {
	object, err := decode([]byte(strings.TrimSpace(baselineYAML[name])))
	if err != nil {
		panic(fmt.Sprintf("baseline %s: %v", name, err))
	}
	return object.(*v1alpha1.SecurityBaseline)
}

// ensure makes a baseline that is missing.
func (h *harness) ensure(ctx context.Context, name string) error {
	return retried(ctx, func() error {
		err := client.IgnoreAlreadyExists(h.admin.Create(ctx, baseline(name)))
		if err != nil && !apierrors.IsNotFound(err) { // the CRD is gone, or not served yet
			return fmt.Errorf("making baseline %s: %w", name, err)
		}
		return err
	})
}

// change changes the spec of a baseline that is there.
func (h *harness) change(ctx context.Context, name string, to func(*v1alpha1.SecurityBaselineSpec)) error {
	var current v1alpha1.SecurityBaseline
	if err := h.admin.Get(ctx, client.ObjectKey{Name: name}, &current); err != nil {
		return tolerated(err)
	}
	to(&current.Spec)
	return tolerated(h.admin.Update(ctx, &current))
}

// swap exchanges which of two baselines has precedence.
func (h *harness) swap(ctx context.Context) error {
	return h.change(ctx, strictBaseline, func(spec *v1alpha1.SecurityBaselineSpec) { spec.Priority = -spec.Priority })
}

// except takes a control out of some namespaces for a moment.
func (h *harness) except(ctx context.Context) error {
	return h.change(ctx, floorBaseline, func(spec *v1alpha1.SecurityBaselineSpec) {
		spec.Exceptions = []v1alpha1.Exception{{
			Name: "moment", Reason: "To see it expire", Namespaces: []string{h.anyNamespace(), h.anyNamespace() + "0"},
			Controls: []v1alpha1.ControlName{v1alpha1.ControlResources}, ExpirationTime: new(metav1.NewTime(time.Now().Add(2 * time.Second))),
		}}
	})
}

// toggle makes a baseline or deletes it.
func (h *harness) toggle(ctx context.Context, name string) error {
	err := h.admin.Create(ctx, baseline(name))
	if apierrors.IsAlreadyExists(err) {
		err = h.admin.Delete(ctx, baseline(name))
	}
	return tolerated(err)
}

// reselect has another baseline govern a namespace, or not any more.
func (h *harness) reselect(ctx context.Context) error {
	namespace := &corev1.Namespace{}
	if err := h.admin.Get(ctx, client.ObjectKey{Name: h.anyPlainNamespace()}, namespace); err != nil {
		return tolerated(err)
	}
	label, value := tierLabel, `"`+strictBaseline+`"`
	if rand.IntN(2) == 0 {
		label, value = extraLabel, `"`+yes+`"`
	}
	if namespace.Labels[label] != "" {
		value = "null"
	}
	patch := fmt.Sprintf(`{"metadata":%s}`, h.annotated(fmt.Sprintf(`,%q:%s`, label, value)))
	return tolerated(h.admin.Patch(ctx, namespace, client.RawPatch(types.MergePatchType, []byte(patch)), client.FieldOwner(editManager)))
}

// dirty is what violates the level restricted, and no other.
func dirty() corev1.PodSpec {
	return corev1.PodSpec{Containers: []corev1.Container{{Name: "a", Image: "example.com/a"}}}
}

// pollute makes a pod that violates what strict asks for or, if it is there, deletes it.
func (h *harness) pollute(ctx context.Context) error {
	pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: h.anyNamespace(), Name: podName}, Spec: dirty()}
	err := h.admin.Create(ctx, pod)
	if !apierrors.IsAlreadyExists(err) {
		if err == nil {
			h.count("pods that violate a level")
		}
		return tolerated(err)
	}
	if err := h.admin.Delete(ctx, pod); err != nil {
		return tolerated(err)
	}
	// Only a workload that changes tells the operators.
	workload := &appsv1.Deployment{ObjectMeta: metav1.ObjectMeta{Namespace: pod.Namespace, Name: workloadName}}
	patch := client.RawPatch(types.MergePatchType, fmt.Appendf(nil, `{"metadata":%s}`, h.annotated("")))
	ctx = h.whole
	return retried(ctx, func() error {
		return client.IgnoreNotFound(h.admin.Patch(ctx, workload, patch, client.FieldOwner(editManager)))
	})
}

// churn is what goes on all the time: what users do, and now and then something that
// they should not. Baselines change seldom enough for what they ask for to be known.
func (h *harness) churn(ctx context.Context) error {
	switch n := rand.IntN(200); {
	case n < 1:
		return h.swap(ctx)
	case n < 4:
		return h.toggle(ctx, extraBaseline)
	case n < 7:
		return h.except(ctx)
	case n < 10:
		return h.toggle(ctx, trialBaseline)
	case n < 20:
		return h.reselect(ctx)
	case n < 40:
		return h.pollute(ctx)
	}
	return h.edit(ctx)
}
