package e2e

import (
	"context"
	"errors"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// defaultAccount waits until the ServiceAccount default of a namespace is as
// checked.
func waitForDefaultServiceAccount(t *testing.T, namespace string, check func(*corev1.ServiceAccount) bool) *corev1.ServiceAccount {
	t.Helper()
	account := &corev1.ServiceAccount{}
	testutil.WaitFor(t, func(ctx context.Context) error {
		*account = corev1.ServiceAccount{}
		if err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "default"}, account); err != nil {
			return err
		}
		if !check(account) {
			return fmt.Errorf("%+v", account)
		}
		return nil
	})
	return account
}

func isManagedWithoutToken(account *corev1.ServiceAccount) bool {
	return account.AutomountServiceAccountToken != nil && !*account.AutomountServiceAccountToken && account.Labels[v1alpha1.BaselineLabel] != ""
}

// Of the ServiceAccount default a field is the operator's, and no more: the rest
// stays its owner's, and the field is released when it is not wanted any more.
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
	theirs := func(account *corev1.ServiceAccount) {
		t.Helper()
		testutil.Equal(t, "their pull secrets", []corev1.LocalObjectReference{{Name: "registry"}}, account.ImagePullSecrets)
		testutil.Equal(t, "their label", "them", account.Labels["example.com/owner"])
	}
	account := waitForDefaultServiceAccount(t, namespace.Name, isManagedWithoutToken)
	theirs(account)

	// Changed, it is put right; the drift names who did it.
	update(t, account, func(account *corev1.ServiceAccount) { account.AutomountServiceAccountToken = new(true) })
	theirs(waitForDefaultServiceAccount(t, namespace.Name, isManagedWithoutToken))
	drifted := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlServiceAccounts, func(control *v1alpha1.ControlReport) error {
		if control.DriftsTotal != 1 {
			return fmt.Errorf("%d drifts", control.DriftsTotal)
		}
		return nil
	})
	testutil.Equal(t, "the state", v1alpha1.StateCompliant, drifted.State)
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "the object that drifted", "ServiceAccount/default", current.Drifts[0].Object)
	testutil.Equal(t, "who changed it", "admin", current.Drifts[0].Manager)
	testutil.Equal(t, "what was found", []v1alpha1.FieldDifference{{Path: "automountServiceAccountToken", Expected: "false", Actual: "true"}}, current.Drifts[0].Fields)

	// Deleted, Kubernetes makes another, which has the field too.
	testutil.Must(t, env.Admin.Delete(t.Context(), account))
	waitForDefaultServiceAccount(t, namespace.Name, func(made *corev1.ServiceAccount) bool { return made.UID != account.UID && isManagedWithoutToken(made) })
	update(t, waitForObject(t, namespace.Name, "default", &corev1.ServiceAccount{}), func(account *corev1.ServiceAccount) {
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		account.Labels["example.com/owner"] = "them"
	})

	// No longer wanted, it is released, and nothing else is.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.ServiceAccounts = nil })
	theirs(waitForDefaultServiceAccount(t, namespace.Name, func(account *corev1.ServiceAccount) bool {
		return account.AutomountServiceAccountToken == nil && account.Labels[v1alpha1.BaselineLabel] == "" && account.Labels[v1alpha1.ControlLabel] == ""
	}))
}

// Somebody who clears the records of whose a field is holds nothing up.
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

// What a quota counts cannot be changed in place: it is replaced, and bounded all
// the same. What somebody changes is put right.
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

	t.Run("a pod that states nothing gets the defaults", func(t *testing.T) {
		testutil.WaitFor(t, func(ctx context.Context) error {
			pod := newPodWithImage(namespace.Name, "example.com/app")
			if err := env.Admin.Create(ctx, pod, client.DryRunAll); err != nil {
				return err
			}
			container := pod.Spec.Containers[0].Resources
			if container.Requests.Cpu().String() != "10m" || container.Limits.Memory().String() != "64Mi" {
				return fmt.Errorf("%+v", container)
			}
			return nil
		})
	})
	t.Run("the quota holds", func(t *testing.T) {
		for range 2 {
			testutil.WaitFor(t, func(ctx context.Context) error {
				return env.Admin.Create(ctx, newPodWithImage(namespace.Name, "example.com/app"))
			})
		}
		waitForForbidden(t, func(ctx context.Context) error {
			return env.Admin.Create(ctx, newPodWithImage(namespace.Name, "example.com/app"))
		}, "exceeded quota: security-baseline-quota")
	})
	t.Run("the quota counts something else now", func(t *testing.T) {
		quota := waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.Quota = &v1alpha1.ResourceQuotaSpec{Hard: resourceList("pods", "5"), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort}}
		})
		current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		replaced := waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
		if replaced.UID == quota.UID {
			t.Error("it was not replaced")
		}
		testutil.Equal(t, "scopes", []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort}, replaced.Spec.Scopes)
		testutil.Equal(t, "drifts of a change that was asked for", int64(0), current.Summary.DriftsTotal)
	})
	t.Run("what somebody changes is put right", func(t *testing.T) {
		update(t, waitForObject(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{}), func(l *corev1.LimitRange) { l.Spec.Limits[0].Default = resourceList("memory", "1Gi") })
		testutil.Must(t, env.Admin.Delete(t.Context(), waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})))
		env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlResources, func(control *v1alpha1.ControlReport) error {
			if control.DriftsTotal != 2 || control.State != v1alpha1.StateCompliant {
				return fmt.Errorf("%d drifts, %s", control.DriftsTotal, control.State)
			}
			return nil
		})
		testutil.Equal(t, "the default", "64Mi", waitForObject(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{}).Spec.Limits[0].Default.Memory().String())
		testutil.Equal(t, "the quota", resourceList("pods", "5"), waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{}).Spec.Hard)
	})
	t.Run("also a quota that somebody raises", func(t *testing.T) {
		update(t, waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{}), func(q *corev1.ResourceQuota) { q.Spec.Hard = resourceList("pods", "500") })
		testutil.WaitFor(t, func(ctx context.Context) error {
			quota := &corev1.ResourceQuota{}
			err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "security-baseline-quota"}, quota)
			if pods := quota.Spec.Hard.Pods().String(); pods != "5" {
				return errors.Join(err, fmt.Errorf("%s pods", pods))
			}
			return nil
		})
	})
	t.Run("of others, who had a quota of that name, nothing is touched", func(t *testing.T) {
		theirs := env.NewNamespace(t, "theirs", map[string]string{"test": "no-one"})
		quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: resourceList("pods", "7")}}
		quota.Namespace, quota.Name = theirs.Name, "security-baseline-quota"
		testutil.Must(t, env.Admin.Create(t.Context(), quota))
		update(t, theirs, func(n *corev1.Namespace) { n.Labels["test"] = testLabelOf(baseline) })
		env.WaitForControl(t, theirs.Name, baseline, v1alpha1.ControlResources, testutil.InState(v1alpha1.StateConflict))
		testutil.Equal(t, "their quota", resourceList("pods", "7"), waitForObject(t, theirs.Name, quota.Name, &corev1.ResourceQuota{}).Spec.Hard)
		waitForObject(t, theirs.Name, "security-baseline-limits", &corev1.LimitRange{})
	})
	t.Run("what is not wanted any more goes", func(t *testing.T) {
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.Quota = nil
		})
		env.WaitForNotFound(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
		waitForObject(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{})
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.LimitRange, b.Spec.Resources.Quota = nil, &v1alpha1.ResourceQuotaSpec{Hard: resourceList("pods", "5")}
		})
		env.WaitForNotFound(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{})
		waitForObject(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
	})
}

// forTestOf is the value of the label by which a baseline of a test selects.
func testLabelOf(baseline *v1alpha1.SecurityBaseline) string {
	return string(baseline.Spec.NamespaceSelector.MatchLabels["test"])
}

// In Audit mode the same is only said.
func TestAuditMode_WritesNoResourcesOrServiceAccounts(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	env.WaitForServiceAccount(t, namespace.Name)
	spec := everyKindSpec()
	baseline := env.NewBaseline(t, "b", inAuditMode(v1alpha1.SecurityBaselineSpec{ServiceAccounts: spec.ServiceAccounts, Resources: spec.Resources}))
	account := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlServiceAccounts, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "of the account", "Enforce would configure ServiceAccount/default", account.Message)
	resources := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlResources, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "of resources", []v1alpha1.Change{
		plannedChange("LimitRange/security-baseline-limits", v1alpha1.ChangeCreate), plannedChange("ResourceQuota/security-baseline-quota", v1alpha1.ChangeCreate),
	}, resources.Changes)
	live := waitForObject(t, namespace.Name, "default", &corev1.ServiceAccount{})
	if live.AutomountServiceAccountToken != nil || len(live.Labels) > 0 {
		t.Errorf("%+v", live)
	}
	var quotas corev1.ResourceQuotaList
	var limits corev1.LimitRangeList
	testutil.Must(t, env.Admin.List(t.Context(), &quotas, client.InNamespace(namespace.Name)))
	testutil.Must(t, env.Admin.List(t.Context(), &limits, client.InNamespace(namespace.Name)))
	testutil.Equal(t, "quotas", 0, len(quotas.Items))
	testutil.Equal(t, "limit ranges", 0, len(limits.Items))
}
