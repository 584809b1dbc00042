package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// waitForDefaultServiceAccount waits until the ServiceAccount default of a namespace passes a
// check.
func waitForDefaultServiceAccount(t *testing.T, namespace string, check func(*corev1.ServiceAccount) bool) *corev1.ServiceAccount {
	t.Helper()
	account := &corev1.ServiceAccount{}
	testutil.WaitFor(t, func(ctx context.Context) error {
		*account = corev1.ServiceAccount{}
		if err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "default"}, account); err != nil {
			return err
		}
		if !check(account) {
			return fmt.Errorf("ServiceAccount default: got %+v, want another", account)
		}
		return nil
	})
	return account
}

func isManagedWithoutToken(account *corev1.ServiceAccount) bool {
	return account.AutomountServiceAccountToken != nil && !*account.AutomountServiceAccountToken && account.Labels[v1alpha1.BaselineLabel] != ""
}

// TestServiceAccounts_OnlyTokenFieldIsManaged checks that the other fields stay with their
// owner, and that the operator releases the field when the baseline no longer declares it.
func TestServiceAccounts_OnlyTokenFieldIsManaged(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	env.WaitForServiceAccount(t, namespace.Name)
	update(t, waitForObject(t, namespace.Name, "default", &corev1.ServiceAccount{}), func(account *corev1.ServiceAccount) {
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		account.Labels = map[string]string{"example.com/owner": "them"}
	})
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{
		ServiceAccounts: &v1alpha1.ServiceAccounts{AutomountDefaultToken: new(false)},
		Network:         &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}},
	})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	requireOwnersFields := func(account *corev1.ServiceAccount) {
		t.Helper()
		testutil.Equal(t, "the owner's pull secrets", account.ImagePullSecrets, []corev1.LocalObjectReference{{Name: "registry"}})
		testutil.Equal(t, "the owner's label", account.Labels["example.com/owner"], "them")
	}
	account := waitForDefaultServiceAccount(t, namespace.Name, isManagedWithoutToken)
	requireOwnersFields(account)

	// The operator reverts a change, and the drift names the field manager.
	update(t, account, func(account *corev1.ServiceAccount) { account.AutomountServiceAccountToken = new(true) })
	requireOwnersFields(waitForDefaultServiceAccount(t, namespace.Name, isManagedWithoutToken))
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlServiceAccounts, hasControlDrifts(1), testutil.InState(v1alpha1.StateCompliant))
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(1))
	testutil.Equal(t, "the object that drifted", current.Drifts[0].Object, "ServiceAccount/default")
	testutil.Equal(t, "the field manager", current.Drifts[0].Manager, "admin")
	testutil.Equal(t, "the fields", current.Drifts[0].Fields, []v1alpha1.FieldDifference{{Path: "automountServiceAccountToken", Expected: "false", Actual: "true"}})

	// Kubernetes creates a deleted one again, and the operator sets the field there too.
	testutil.Must(t, env.Admin.Delete(t.Context(), account))
	waitForDefaultServiceAccount(t, namespace.Name, func(made *corev1.ServiceAccount) bool { return made.UID != account.UID && isManagedWithoutToken(made) })
	update(t, waitForObject(t, namespace.Name, "default", &corev1.ServiceAccount{}), func(account *corev1.ServiceAccount) {
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		account.Labels["example.com/owner"] = "them"
	})

	// The operator releases the field, and changes nothing else.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.ServiceAccounts = nil })
	requireOwnersFields(waitForDefaultServiceAccount(t, namespace.Name, func(account *corev1.ServiceAccount) bool {
		return account.AutomountServiceAccountToken == nil && account.Labels[v1alpha1.BaselineLabel] == "" && account.Labels[v1alpha1.ControlLabel] == ""
	}))
}

// TestServiceAccounts_TokenFieldReleasedWithoutManagedFields clears the managedFields, which name
// the owner of the field.
func TestServiceAccounts_TokenFieldReleasedWithoutManagedFields(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	env.WaitForServiceAccount(t, namespace.Name)
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{
		DeletionPolicy: v1alpha1.DeletionRemove, ServiceAccounts: &v1alpha1.ServiceAccounts{AutomountDefaultToken: new(false)},
	})
	update(t, waitForDefaultServiceAccount(t, namespace.Name, isManagedWithoutToken), func(account *corev1.ServiceAccount) {
		account.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	})
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	waitForDefaultServiceAccount(t, namespace.Name, func(account *corev1.ServiceAccount) bool {
		return account.AutomountServiceAccountToken == nil && account.Labels[v1alpha1.BaselineLabel] == "" && account.Labels[v1alpha1.ControlLabel] == ""
	})
}

// TestResources_LimitRangeAndQuota checks what both do, and that the operator applies and
// reverts changes. The scopes of a quota are immutable, so that the operator replaces it.
func TestResources_LimitRangeAndQuota(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Resources: &v1alpha1.Resources{
		LimitRange: &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, DefaultRequest: limitedResources("cpu", "10m", "memory", "16Mi"), Default: limitedResources("memory", "64Mi"),
		}}},
		Quota: &v1alpha1.ResourceQuotaSpec{Hard: resourceList("pods", "2", "requests.cpu", "1")},
	}})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForServiceAccount(t, namespace.Name)

	t.Run("a pod without resources gets the defaults", func(t *testing.T) {
		testutil.WaitFor(t, func(ctx context.Context) error {
			pod := newPodWithImage(namespace.Name, "example.com/app")
			if err := env.Admin.Create(ctx, pod, client.DryRunAll); err != nil {
				return err
			}
			container := pod.Spec.Containers[0].Resources
			if container.Requests.Cpu().String() != "10m" || container.Limits.Memory().String() != "64Mi" {
				return fmt.Errorf("resources: got %+v, want a cpu request of 10m and a memory limit of 64Mi", container)
			}
			return nil
		})
	})
	t.Run("the quota limits pods", func(t *testing.T) {
		for range 2 {
			testutil.WaitFor(t, func(ctx context.Context) error {
				return env.Admin.Create(ctx, newPodWithImage(namespace.Name, "example.com/app"))
			})
		}
		waitForForbidden(t, func(ctx context.Context) error {
			return env.Admin.Create(ctx, newPodWithImage(namespace.Name, "example.com/app"))
		}, "exceeded quota: security-baseline-quota")
	})
	t.Run("a quota with other scopes is replaced", func(t *testing.T) {
		quota := waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.Quota = &v1alpha1.ResourceQuotaSpec{Hard: resourceList("pods", "5"), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort}}
		})
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
		replaced := waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
		if replaced.UID == quota.UID {
			t.Error("UID of the quota: got the same, want another")
		}
		testutil.Equal(t, "scopes", replaced.Spec.Scopes, []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort})
	})
	t.Run("changes and deletions are reverted", func(t *testing.T) {
		update(t, waitForObject(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{}), func(l *corev1.LimitRange) { l.Spec.Limits[0].Default = resourceList("memory", "1Gi") })
		testutil.Must(t, env.Admin.Delete(t.Context(), waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})))
		env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlResources, hasControlDrifts(2), testutil.InState(v1alpha1.StateCompliant))
		testutil.Equal(t, "the default", waitForObject(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{}).Spec.Limits[0].Default.Memory().String(), "64Mi")
		testutil.Equal(t, "the quota", waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{}).Spec.Hard, resourceList("pods", "5"))
	})
	t.Run("a raised quota is reverted", func(t *testing.T) {
		update(t, waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{}), func(q *corev1.ResourceQuota) { q.Spec.Hard = resourceList("pods", "500") })
		waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{}, func(quota *corev1.ResourceQuota) error {
			return testutil.CheckEqual("pods", quota.Spec.Hard.Pods().String(), "5")
		})
	})
	t.Run("a foreign quota of the same name is kept", func(t *testing.T) {
		foreign := env.NewNamespace(t, "foreign", map[string]string{"test": "no-one"})
		quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: resourceList("pods", "7")}}
		quota.Namespace = foreign.Name
		quota.Name = "security-baseline-quota"
		testutil.Must(t, env.Admin.Create(t.Context(), quota))
		update(t, foreign, func(n *corev1.Namespace) { n.Labels["test"] = testLabelOf(baseline) })
		env.WaitForControl(t, foreign.Name, baseline, v1alpha1.ControlResources, testutil.InState(v1alpha1.StateConflict))
		testutil.Equal(t, "the foreign quota", waitForObject(t, foreign.Name, quota.Name, &corev1.ResourceQuota{}).Spec.Hard, resourceList("pods", "7"))
		waitForObject(t, foreign.Name, "security-baseline-limits", &corev1.LimitRange{})
	})
	t.Run("objects that the baseline drops are removed", func(t *testing.T) {
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.Quota = nil
		})
		env.WaitForNotFound(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
		waitForObject(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{})
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.LimitRange = nil
			b.Spec.Resources.Quota = &v1alpha1.ResourceQuotaSpec{Hard: resourceList("pods", "5")}
		})
		env.WaitForNotFound(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{})
		waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
	})
}

// testLabelOf returns the value of the label by which a baseline of a test selects.
func testLabelOf(baseline *v1alpha1.SecurityBaseline) string {
	return string(baseline.Spec.NamespaceSelector.MatchLabels["test"])
}

// TestAuditMode_WritesNoResourcesOrServiceAccounts checks the report and the namespace.
func TestAuditMode_WritesNoResourcesOrServiceAccounts(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	env.WaitForServiceAccount(t, namespace.Name)
	spec := everyKindSpec()
	baseline := env.NewBaseline(t, "b", inAuditMode(v1alpha1.SecurityBaselineSpec{ServiceAccounts: spec.ServiceAccounts, Resources: spec.Resources}))
	account := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlServiceAccounts, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "the message", account.Message, "Enforce would configure ServiceAccount/default")
	resources := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlResources, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "the changes", resources.Changes, []v1alpha1.Change{
		plannedChange("LimitRange/security-baseline-limits", v1alpha1.ChangeCreate), plannedChange("ResourceQuota/security-baseline-quota", v1alpha1.ChangeCreate),
	})
	live := waitForObject(t, namespace.Name, "default", &corev1.ServiceAccount{})
	if live.AutomountServiceAccountToken != nil || len(live.Labels) > 0 {
		t.Errorf("ServiceAccount default: got %+v, want no managed field or label", live)
	}
	var quotas corev1.ResourceQuotaList
	var limits corev1.LimitRangeList
	testutil.Must(t, env.Admin.List(t.Context(), &quotas, client.InNamespace(namespace.Name)))
	testutil.Must(t, env.Admin.List(t.Context(), &limits, client.InNamespace(namespace.Name)))
	testutil.Equal(t, "quotas", len(quotas.Items), 0)
	testutil.Equal(t, "limit ranges", len(limits.Items), 0)
}
