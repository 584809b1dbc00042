package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// computeStatus returns what kstatus computes from a baseline.
func computeStatus(t *testing.T, name string) *status.Result {
	t.Helper()
	baseline := &unstructured.Unstructured{}
	baseline.SetGroupVersionKind(v1alpha1.GroupVersion.WithKind("SecurityBaseline"))
	testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKey{Name: name}, baseline))
	result, err := status.Compute(baseline)
	testutil.Must(t, err)
	return result
}

// waitForKstatus waits until kstatus computes a status, with one of the messages if there are any.
func waitForKstatus(t *testing.T, name string, want status.Status, messages ...string) {
	t.Helper()
	testutil.WaitFor(t, func(context.Context) error {
		result := computeStatus(t, name)
		if result.Status != want || len(messages) > 0 && !slices.Contains(messages, result.Message) {
			return fmt.Errorf("kstatus: got %s: %q, want %s: %q", result.Status, result.Message, want, messages)
		}
		return nil
	})
}

// TestKstatus_InProgressUntilOperatorObservesGeneration stops the operator for a while.
func TestKstatus_InProgressUntilOperatorObservesGeneration(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	env.stopOperator(t)
	baseline := env.NewBaseline(t, "all", defaultSpec())
	testutil.Equal(t, "before the operator has seen it", computeStatus(t, baseline.Name).Status, status.InProgressStatus)
	env.startOperator(t)
	waitForKstatus(t, baseline.Name, status.CurrentStatus)

	// kubectl wait does not compare generations.
	waiting := env.Cluster.Kubectl(t.Context(), "wait", "--for=condition=Ready", "securitybaseline/"+baseline.Name, testutil.TimeoutFlag)
	if out, err := waiting.CombinedOutput(); err != nil {
		t.Errorf("kubectl wait: got %v, want no error: %s", err, out)
	}
	env.stopOperator(t)
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "restricted" })
	testutil.Equal(t, "before the operator has seen the change", computeStatus(t, baseline.Name).Status, status.InProgressStatus)
	env.startOperator(t)
	waitForKstatus(t, baseline.Name, status.CurrentStatus)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
}

func TestKstatus_FailedWhenBindingIsForbidden(t *testing.T) {
	t.Parallel()
	env.NewNamespace(t, "a", nil)
	spec := defaultSpec()
	spec.RBAC.RoleBindings[0].RoleRef.Name = "system:node"
	baseline := env.NewBaseline(t, "all", spec)
	want := fmt.Sprintf("RBAC in namespace %s-a: RoleBinding/security-baseline-developers: the operator may not bind ClusterRole \"system:node\". "+
		"To allow it, create a ClusterRole with the label rbac.securitybaseline.io/aggregate-to-operator: \"true\" and the rule "+
		"{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [system:node], verbs: [bind]}", testutil.Name(t))
	waitForKstatus(t, baseline.Name, status.FailedStatus, want)
}

func TestKstatus_CurrentWhenAuditModeFindsDrift(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "all", inAuditMode(defaultSpec()))
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateDrifted))
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonDriftDetected))
	waitForKstatus(t, baseline.Name, status.CurrentStatus)
}

func TestKstatus_TerminatingWhenBaselineIsDeleted(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := defaultSpec()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := env.NewBaseline(t, "all", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) { p.Finalizers = []string{"example.com/hold"} })
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Finalizers = append(b.Finalizers, "example.com/hold") })
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	waitForKstatus(t, baseline.Name, status.TerminatingStatus)
	update(t, env.WaitForPolicy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) { p.Finalizers = nil })
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Finalizers = nil })
}

// TestOperator_WritesNothingWhenUnchangedBaselineIsApplied counts the operator's writes.
func TestOperator_WritesNothingWhenUnchangedBaselineIsApplied(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	synced := &v1alpha1.SecurityBaseline{
		TypeMeta:   metav1.TypeMeta{APIVersion: v1alpha1.GroupVersion.String(), Kind: "SecurityBaseline"},
		ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t)},
		Spec:       defaultSpec(),
	}
	synced.Spec.NamespaceSelector = testutil.Selector(t)
	manifest, err := json.Marshal(map[string]any{
		"apiVersion": synced.APIVersion, "kind": synced.Kind, "metadata": map[string]any{"name": synced.Name}, "spec": synced.Spec,
	})
	testutil.Must(t, err)
	sync := func() *v1alpha1.SecurityBaseline {
		live := synced.DeepCopy()
		testutil.Must(t, env.Admin.Patch(t.Context(), live, client.RawPatch(types.ApplyPatchType, manifest), client.ForceOwnership, client.FieldOwner("kustomize-controller")))
		return live
	}
	baseline := sync()
	t.Cleanup(func() { env.Delete(t, baseline) })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	env.waitForNoWrites(t)
	testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(baseline), baseline))
	before := env.writes.Load()
	for range 20 {
		live := sync()
		testutil.Equal(t, "the version", live.ResourceVersion, baseline.ResourceVersion)
	}
	env.neverWrites(t, before, 5*time.Second)

	// The operator writes only the status, so that a tool finds no difference.
	for _, entry := range baseline.ManagedFields {
		if entry.Manager == v1alpha1.FieldManager && entry.Subresource != "status" {
			t.Errorf("managedFields: got fields of the operator outside the status, want none: %s", entry.FieldsV1.GetRawString())
		}
	}
}
