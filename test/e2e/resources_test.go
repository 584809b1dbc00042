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
)

// defaultAccount waits until the ServiceAccount default of a namespace is as
// checked.
func defaultAccount(t *testing.T, namespace string, check func(*corev1.ServiceAccount) bool) *corev1.ServiceAccount {
	t.Helper()
	account := &corev1.ServiceAccount{}
	eventually(t, func(ctx context.Context) error {
		*account = corev1.ServiceAccount{}
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "default"}, account); err != nil {
			return err
		}
		if !check(account) {
			return fmt.Errorf("%+v", account)
		}
		return nil
	})
	return account
}

func withoutToken(account *corev1.ServiceAccount) bool {
	return account.AutomountServiceAccountToken != nil && !*account.AutomountServiceAccountToken && account.Labels[v1alpha1.BaselineLabel] != ""
}

// Of the ServiceAccount default a field is the operator's, and no more: the rest
// stays its owner's, and the field is released when it is not wanted any more.
func TestTheDefaultServiceAccountsToken(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	runnable(t, namespace.Name)
	change(t, get(t, namespace.Name, "default", &corev1.ServiceAccount{}), func(account *corev1.ServiceAccount) {
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		account.Labels = map[string]string{"example.com/owner": "them"}
	})
	baseline := newBaseline(t, "b", v1alpha1.SecurityBaselineSpec{
		ServiceAccounts: &v1alpha1.ServiceAccounts{AutomountDefaultToken: new(false)},
		Network:         &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}},
	})
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	theirs := func(account *corev1.ServiceAccount) {
		t.Helper()
		equal(t, "their pull secrets", []corev1.LocalObjectReference{{Name: "registry"}}, account.ImagePullSecrets)
		equal(t, "their label", "them", account.Labels["example.com/owner"])
	}
	account := defaultAccount(t, namespace.Name, withoutToken)
	theirs(account)

	// Changed, it is put right; the drift names who did it.
	change(t, account, func(account *corev1.ServiceAccount) { account.AutomountServiceAccountToken = new(true) })
	theirs(defaultAccount(t, namespace.Name, withoutToken))
	drifted := entry(t, namespace.Name, baseline, v1alpha1.ControlServiceAccounts, func(control *v1alpha1.ControlReport) error {
		if control.DriftsTotal != 1 {
			return fmt.Errorf("%d drifts", control.DriftsTotal)
		}
		return nil
	})
	equal(t, "the state", v1alpha1.StateCompliant, drifted.State)
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "the object that drifted", "ServiceAccount/default", current.Drifts[0].Object)
	equal(t, "who changed it", "admin", current.Drifts[0].Manager)
	equal(t, "what was found", []v1alpha1.FieldDifference{{Path: "automountServiceAccountToken", Expected: "false", Actual: "true"}}, current.Drifts[0].Fields)

	// Deleted, Kubernetes makes another, which has the field too.
	must(t, admin.Delete(t.Context(), account))
	defaultAccount(t, namespace.Name, func(made *corev1.ServiceAccount) bool { return made.UID != account.UID && withoutToken(made) })
	change(t, get(t, namespace.Name, "default", &corev1.ServiceAccount{}), func(account *corev1.ServiceAccount) {
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		account.Labels["example.com/owner"] = "them"
	})

	// No longer wanted, it is released, and nothing else is.
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.ServiceAccounts = nil })
	theirs(defaultAccount(t, namespace.Name, func(account *corev1.ServiceAccount) bool {
		return account.AutomountServiceAccountToken == nil && account.Labels[v1alpha1.BaselineLabel] == "" && account.Labels[v1alpha1.ControlLabel] == ""
	}))
}

// Somebody who clears the records of whose a field is holds nothing up.
func TestWhatNobodyIsRecordedForIsReleasedToo(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	runnable(t, namespace.Name)
	baseline := newBaseline(t, "b", v1alpha1.SecurityBaselineSpec{
		DeletionPolicy: v1alpha1.DeletionRemove, ServiceAccounts: &v1alpha1.ServiceAccounts{AutomountDefaultToken: new(false)},
	})
	change(t, defaultAccount(t, namespace.Name, withoutToken), func(account *corev1.ServiceAccount) {
		account.ManagedFields = []metav1.ManagedFieldsEntry{{}}
	})
	must(t, admin.Delete(t.Context(), baseline))
	absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	defaultAccount(t, namespace.Name, func(account *corev1.ServiceAccount) bool {
		return account.AutomountServiceAccountToken == nil && account.Labels[v1alpha1.BaselineLabel] == "" && account.Labels[v1alpha1.ControlLabel] == ""
	})
}

// What a quota counts cannot be changed in place: it is replaced, and bounded all
// the same. What somebody changes is put right.
func TestResources(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Resources: &v1alpha1.Resources{
		LimitRange: &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{{
			Type: corev1.LimitTypeContainer, DefaultRequest: limited("cpu", "10m", "memory", "16Mi"), Default: limited("memory", "64Mi"),
		}}},
		Quota: &v1alpha1.ResourceQuotaSpec{Hard: list("pods", "2", "requests.cpu", "1")},
	}})
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	runnable(t, namespace.Name)

	t.Run("a pod that states nothing gets the defaults", func(t *testing.T) {
		eventually(t, func(ctx context.Context) error {
			pod := podWith(namespace.Name, "example.com/app")
			if err := admin.Create(ctx, pod, client.DryRunAll); err != nil {
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
			eventually(t, func(ctx context.Context) error { return admin.Create(ctx, podWith(namespace.Name, "example.com/app")) })
		}
		heeded(t, func(ctx context.Context) error { return admin.Create(ctx, podWith(namespace.Name, "example.com/app")) }, "exceeded quota: security-baseline-quota")
	})
	t.Run("the quota counts something else now", func(t *testing.T) {
		quota := get(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
		change(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.Quota = &v1alpha1.ResourceQuotaSpec{Hard: list("pods", "5"), Scopes: []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort}}
		})
		current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		replaced := get(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
		if replaced.UID == quota.UID {
			t.Error("it was not replaced")
		}
		equal(t, "scopes", []corev1.ResourceQuotaScope{corev1.ResourceQuotaScopeNotBestEffort}, replaced.Spec.Scopes)
		equal(t, "drifts of a change that was asked for", int64(0), current.Summary.DriftsTotal)
	})
	t.Run("what somebody changes is put right", func(t *testing.T) {
		change(t, get(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{}), func(l *corev1.LimitRange) { l.Spec.Limits[0].Default = list("memory", "1Gi") })
		must(t, admin.Delete(t.Context(), get(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})))
		entry(t, namespace.Name, baseline, v1alpha1.ControlResources, func(control *v1alpha1.ControlReport) error {
			if control.DriftsTotal != 2 || control.State != v1alpha1.StateCompliant {
				return fmt.Errorf("%d drifts, %s", control.DriftsTotal, control.State)
			}
			return nil
		})
		equal(t, "the default", "64Mi", get(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{}).Spec.Limits[0].Default.Memory().String())
		equal(t, "the quota", list("pods", "5"), get(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{}).Spec.Hard)
	})
	t.Run("also a quota that somebody raises", func(t *testing.T) {
		change(t, get(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{}), func(q *corev1.ResourceQuota) { q.Spec.Hard = list("pods", "500") })
		eventually(t, func(ctx context.Context) error {
			quota := &corev1.ResourceQuota{}
			err := admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "security-baseline-quota"}, quota)
			if pods := quota.Spec.Hard.Pods().String(); pods != "5" {
				return errors.Join(err, fmt.Errorf("%s pods", pods))
			}
			return nil
		})
	})
	t.Run("of others, who had a quota of that name, nothing is touched", func(t *testing.T) {
		theirs := newNamespace(t, "theirs", map[string]string{"test": "no-one"})
		quota := &corev1.ResourceQuota{Spec: corev1.ResourceQuotaSpec{Hard: list("pods", "7")}}
		quota.Namespace, quota.Name = theirs.Name, "security-baseline-quota"
		must(t, admin.Create(t.Context(), quota))
		change(t, theirs, func(n *corev1.Namespace) { n.Labels["test"] = forTestOf(baseline) })
		entry(t, theirs.Name, baseline, v1alpha1.ControlResources, inState(v1alpha1.StateConflict))
		equal(t, "their quota", list("pods", "7"), get(t, theirs.Name, quota.Name, &corev1.ResourceQuota{}).Spec.Hard)
		get(t, theirs.Name, "security-baseline-limits", &corev1.LimitRange{})
	})
	t.Run("what is not wanted any more goes", func(t *testing.T) {
		change(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.Quota = nil
		})
		absent(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
		get(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{})
		change(t, baseline, func(b *v1alpha1.SecurityBaseline) {
			b.Spec.Resources.LimitRange, b.Spec.Resources.Quota = nil, &v1alpha1.ResourceQuotaSpec{Hard: list("pods", "5")}
		})
		absent(t, namespace.Name, "security-baseline-limits", &corev1.LimitRange{})
		get(t, namespace.Name, "security-baseline-quota", &corev1.ResourceQuota{})
	})
}

// forTestOf is the value of the label by which a baseline of a test selects.
func forTestOf(baseline *v1alpha1.SecurityBaseline) string {
	return string(baseline.Spec.NamespaceSelector.MatchLabels["test"])
}

// In Audit mode the same is only said.
func TestAuditWritesNothingOfResourcesAndServiceAccounts(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	runnable(t, namespace.Name)
	spec := fully()
	baseline := newBaseline(t, "b", inAudit(v1alpha1.SecurityBaselineSpec{ServiceAccounts: spec.ServiceAccounts, Resources: spec.Resources}))
	account := entry(t, namespace.Name, baseline, v1alpha1.ControlServiceAccounts, inState(v1alpha1.StateDrifted))
	equal(t, "of the account", "Enforce would configure ServiceAccount/default", account.Message)
	resources := entry(t, namespace.Name, baseline, v1alpha1.ControlResources, inState(v1alpha1.StateDrifted))
	equal(t, "of resources", []v1alpha1.Change{
		foretold("LimitRange/security-baseline-limits", v1alpha1.ChangeCreate), foretold("ResourceQuota/security-baseline-quota", v1alpha1.ChangeCreate),
	}, resources.Changes)
	live := get(t, namespace.Name, "default", &corev1.ServiceAccount{})
	if live.AutomountServiceAccountToken != nil || len(live.Labels) > 0 {
		t.Errorf("%+v", live)
	}
	var quotas corev1.ResourceQuotaList
	var limits corev1.LimitRangeList
	must(t, admin.List(t.Context(), &quotas, client.InNamespace(namespace.Name)))
	must(t, admin.List(t.Context(), &limits, client.InNamespace(namespace.Name)))
	equal(t, "quotas", 0, len(quotas.Items))
	equal(t, "limit ranges", 0, len(limits.Items))
}
