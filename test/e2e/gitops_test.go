package e2e

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// computed returns what kstatus says of a baseline as the API server returns it.
func computed(t *testing.T, name string) *status.Result {
	t.Helper()
	baseline := &unstructured.Unstructured{}
	baseline.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SecurityBaseline"))
	must(t, admin.Get(t.Context(), client.ObjectKey{Name: name}, baseline))
	result, err := status.Compute(baseline)
	must(t, err)
	return result
}

// becomes waits until kstatus says so.
func becomes(t *testing.T, name string, want status.Status) *status.Result {
	t.Helper()
	var result *status.Result
	eventually(t, func(context.Context) error {
		if result = computed(t, name); result.Status != want {
			return fmt.Errorf("%s: %s", result.Status, result.Message)
		}
		return nil
	})
	return result
}

// The operator is stopped for a while, so it runs alone.
func TestANewBaselineIsInProgressUntilItIsCurrent(t *testing.T) {
	namespace := newNamespace(t, "a", nil)
	must(t, stopOperator())
	baseline := newBaseline(t, "all", everything())
	equal(t, "before the operator has seen it", status.InProgressStatus, computed(t, baseline.Name).Status)
	stop, err := startOperator(context.Background())
	must(t, err)
	stopOperator = stop
	becomes(t, baseline.Name, status.CurrentStatus)

	// kubectl wait knows nothing of generations.
	waiting := local.Kubectl(t.Context(), "wait", "--for=condition=Ready", "securitybaseline/"+baseline.Name, "--timeout=30s")
	if out, err := waiting.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	must(t, stopOperator())
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "restricted" })
	equal(t, "before the operator has seen the change", status.InProgressStatus, computed(t, baseline.Name).Status)
	stopOperator, err = startOperator(context.Background())
	must(t, err)
	becomes(t, baseline.Name, status.CurrentStatus)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
}

func TestARefusedBindingIsFailedWithTheSentence(t *testing.T) {
	t.Parallel()
	newNamespace(t, "a", nil)
	spec := everything()
	spec.RBAC.RoleBindings[0].RoleRef.Name = "system:node"
	baseline := newBaseline(t, "all", spec)
	result := becomes(t, baseline.Name, status.FailedStatus)
	want := fmt.Sprintf("RBAC in namespace %s-a: RoleBinding/security-baseline-developers: the operator may not bind ClusterRole \"system:node\". "+
		"To allow it, create a ClusterRole with the label rbac.securitybaseline.io/aggregate-to-operator: \"true\" and the rule "+
		"{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [system:node], verbs: [bind]}", suffix(t))
	equal(t, "the sentence", want, result.Message)
}

func TestDriftInAuditIsCurrent(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", inAudit(everything()))
	entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateDrifted))
	ready(t, baseline, hasCondition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonDriftDetected))
	becomes(t, baseline.Name, status.CurrentStatus)
}

func TestADeletedBaselineIsTerminating(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	spec := everything()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := newBaseline(t, "all", spec)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	change(t, policy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) { p.Finalizers = []string{"example.com/hold"} })
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Finalizers = append(b.Finalizers, "example.com/hold") })
	must(t, admin.Delete(t.Context(), baseline))
	becomes(t, baseline.Name, status.TerminatingStatus)
	change(t, policy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) { p.Finalizers = nil })
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Finalizers = nil })
}

// It counts the operator's writes, so it runs alone.
func TestASyncThatChangesNothingCausesNoWrite(t *testing.T) {
	namespace := newNamespace(t, "a", nil)
	synced := &v1alpha1.SecurityBaseline{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "SecurityBaseline"},
		ObjectMeta: metav1.ObjectMeta{Name: suffix(t)},
		Spec:       everything(),
	}
	synced.Spec.NamespaceSelector = selectTest(t)
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": synced.APIVersion, "kind": synced.Kind, "metadata": map[string]any{"name": synced.Name}, "spec": synced.Spec,
	})
	must(t, err)
	sync := func() *v1alpha1.SecurityBaseline {
		live := synced.DeepCopy()
		must(t, admin.Patch(t.Context(), live, client.RawPatch(types.ApplyPatchType, manifest), client.ForceOwnership, client.FieldOwner("kustomize-controller")))
		return live
	}
	baseline := sync()
	t.Cleanup(func() { remove(t, baseline) })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	rests(t)
	must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(baseline), baseline))
	before := operatorWrites.Load()
	for range 20 {
		live := sync()
		equal(t, "the version", baseline.ResourceVersion, live.ResourceVersion)
	}
	err = wait.PollUntilContextTimeout(t.Context(), glance, 5*time.Second, true, func(context.Context) (bool, error) {
		return operatorWrites.Load() != before, nil
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("%d writes of the operator (%v)", operatorWrites.Load()-before, err)
	}

	// It adds nothing outside status, so that a tool sees no difference.
	for _, entry := range baseline.ManagedFields {
		if entry.Manager == v1alpha1.FieldManager && entry.Subresource != "status" {
			t.Errorf("the operator owns %s", entry.FieldsV1.GetRawString())
		}
	}
}
