package e2e

import (
	"context"
	"fmt"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// everyKindSpec declares an object of every kind that the operator manages.
func everyKindSpec() v1alpha1.SecurityBaselineSpec {
	spec := defaultSpec()
	spec.ServiceAccounts = &v1alpha1.ServiceAccounts{AutomountDefaultToken: new(false)}
	spec.Resources = &v1alpha1.Resources{
		LimitRange: &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{{Type: corev1.LimitTypeContainer, DefaultRequest: limitedResources("cpu", "10m", "memory", "16Mi")}}},
		Quota:      &v1alpha1.ResourceQuotaSpec{Hard: resourceList("requests.cpu", "4", "pods", "50")},
	}
	return spec
}

// waitForManagedObjects waits for the objects in a namespace of which the operator manages a part.
func waitForManagedObjects(t *testing.T, namespace string) []client.Object {
	t.Helper()
	return []client.Object{
		env.WaitForPolicy(t, namespace, "default-deny"),
		waitForObject(t, namespace, "security-baseline-developers", &rbacv1.RoleBinding{}),
		waitForObject(t, namespace, "security-baseline-limits", &corev1.LimitRange{}),
		waitForObject(t, namespace, "security-baseline-quota", &corev1.ResourceQuota{}),
		waitForObject(t, namespace, "default", &corev1.ServiceAccount{}),
		waitForObject(t, namespace, v1alpha1.ReportName, &v1alpha1.BaselineReport{}),
	}
}

// tampered returns a copy of an object in which a managed field is changed.
func tampered(object client.Object) client.Object {
	object = object.DeepCopyObject().(client.Object)
	switch object := object.(type) {
	case *networkingv1.NetworkPolicy:
		object.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	case *rbacv1.RoleBinding:
		object.Subjects = append(object.Subjects, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"})
	case *corev1.LimitRange:
		object.Spec.Limits = nil
	case *corev1.ResourceQuota:
		object.Spec.Hard = resourceList("pods", "1000")
	case *corev1.ServiceAccount:
		object.AutomountServiceAccountToken = new(true)
	case *v1alpha1.BaselineReport:
		object.State = v1alpha1.StateFailed
	}
	return object
}

func TestGuard_ProtectsManagedObjectsAndLabels(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", map[string]string{"team": "a"})
	spec := everyKindSpec()
	spec.Guard = &v1alpha1.Guard{Exempt: []v1alpha1.Subject{
		{Kind: "User", Name: "exempt"}, {Kind: "Group", Name: "exempt-group"}, {Kind: "ServiceAccount", Namespace: "ci", Name: "exempt-account"},
	}}
	spec.RBAC.RoleBindings[0].SubjectsFrom = []v1alpha1.SubjectFrom{{Kind: "Group", Prefix: "team:", Label: "team"}}
	spec.Contact = "#platform"
	baseline := env.NewBaseline(t, "b", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	env.WaitForReady(t, baseline)
	const only = "only the operator and exempt subjects may change or delete the objects that the operator manages; change the baseline instead: rule guard of SecurityBaseline "
	deny := env.WaitForPolicy(t, namespace.Name, "default-deny")
	waitForForbidden(t, func(ctx context.Context) error { return env.Admin.Update(ctx, tampered(deny), client.DryRunAll) }, only+baseline.Name+"; contact #platform")

	for _, object := range waitForManagedObjects(t, namespace.Name) {
		name := fmt.Sprintf("%T", object)
		t.Run("change "+name, func(t *testing.T) {
			waitForForbidden(t, func(ctx context.Context) error { return updateAs(ctx, env.Admin, object, tampered, client.DryRunAll) }, only)
		})
		t.Run("unlabel "+name, func(t *testing.T) {
			if _, ok := object.(*v1alpha1.BaselineReport); ok {
				return // a report has no labels
			}
			unlabel := func(object client.Object) client.Object {
				object.SetLabels(nil)
				return object
			}
			waitForForbidden(t, func(ctx context.Context) error { return updateAs(ctx, env.Admin, object, unlabel, client.DryRunAll) }, only)
		})
		t.Run("delete "+name, func(t *testing.T) {
			testutil.Must(t, testutil.CheckForbidden(env.Admin.Delete(t.Context(), object, client.DryRunAll), only))
		})
		t.Run("delete all of "+name, func(t *testing.T) {
			testutil.Must(t, testutil.CheckForbidden(env.Admin.DeleteAllOf(t.Context(), object, client.InNamespace(namespace.Name), client.DryRunAll), only))
		})
	}
	t.Run("other fields of the ServiceAccount may change", func(t *testing.T) {
		account := waitForObject(t, namespace.Name, "default", &corev1.ServiceAccount{})
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		metav1.SetMetaDataLabel(&account.ObjectMeta, "a", "b")
		testutil.Must(t, env.Admin.Update(t.Context(), account, client.DryRunAll))
	})
	t.Run("managedFields and owner of the ServiceAccount", func(t *testing.T) {
		for name, tamper := range map[string]func(*corev1.ServiceAccount){
			"managedFields": func(a *corev1.ServiceAccount) { a.ManagedFields = []metav1.ManagedFieldsEntry{{}} },
			"owner": func(a *corev1.ServiceAccount) {
				a.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: namespace.UID}}
			},
		} {
			t.Logf("changing the %s", name)
			waitForForbidden(t, func(ctx context.Context) error {
				account := &corev1.ServiceAccount{}
				if err := env.Admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "default"}, account); err != nil {
					return err
				}
				tamper(account)
				return env.Admin.Update(ctx, account, client.DryRunAll)
			}, only)
		}
	})
	t.Run("managedFields and annotation of the namespace", func(t *testing.T) {
		for what, tamper := range map[string]func(*corev1.Namespace){
			"field manager securitybaseline-operator": func(n *corev1.Namespace) { n.ManagedFields = []metav1.ManagedFieldsEntry{{}} },
			"annotation securitybaseline.io/labels-set-at-creation": func(n *corev1.Namespace) {
				metav1.SetMetaDataAnnotation(&n.ObjectMeta, v1alpha1.CreationLabelsAnnotation, enforceLabel)
			},
		} {
			waitForForbidden(t, func(ctx context.Context) error {
				changed := &corev1.Namespace{}
				if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), changed); err != nil {
					return err
				}
				tamper(changed)
				return env.Admin.Update(ctx, changed, client.DryRunAll)
			}, what+" determines which rules apply to this namespace, so only the operator")
		}
	})
	t.Run("a user in 2,000 groups", func(t *testing.T) {
		groups := make([]string, 0, 2000)
		for i := range cap(groups) {
			groups = append(groups, fmt.Sprint("group-", i))
		}
		testutil.Must(t, testutil.CheckForbidden(env.ClientAs(t, "jane", groups...).Delete(t.Context(), deny, client.DryRunAll), "cannot delete resource"))
	})
	t.Run("objects with reserved names and labels", func(t *testing.T) {
		for _, meta := range []metav1.ObjectMeta{
			{Name: "security-baseline-mine"}, {GenerateName: "security-baseline-"},
			{Name: "mine", Labels: map[string]string{v1alpha1.BaselineLabel: baseline.Name}},
		} {
			meta.Namespace = namespace.Name
			testutil.Must(t, testutil.CheckForbidden(dryRunCreate(t.Context(), env.Admin, &networkingv1.NetworkPolicy{ObjectMeta: meta}), "are reserved for the operator; choose another name and remove the label"))
		}
		testutil.Must(t, dryRunCreate(t.Context(), env.Admin, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "mine"}}))
	})
	t.Run("labels of the namespace", func(t *testing.T) {
		for key, value := range map[string]string{
			"guard.securitybaseline.io/baseline": "other", "podsecurity.securitybaseline.io/baseline": "", "images.securitybaseline.io/baseline": "new",
			enforceLabel: "privileged", enforceVersion: "v1.0", "pod-security.kubernetes.io/warn": "",
			"test": "another", "team": "b",
		} {
			relabeled := &corev1.Namespace{}
			relabel := func(ctx context.Context) error {
				if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), relabeled); err != nil {
					return err
				}
				if relabeled.Labels[key] = value; value == "" {
					delete(relabeled.Labels, key)
				}
				return nil
			}
			want := "label " + key + " determines which rules apply to this namespace, so only the operator and exempt subjects may change it: rule guard of SecurityBaseline " + baseline.Name
			waitForForbidden(t, func(ctx context.Context) error {
				if err := relabel(ctx); err != nil {
					return err
				}
				return env.Admin.Update(ctx, relabeled, client.DryRunAll)
			}, want)
			waitForForbidden(t, func(ctx context.Context) error {
				if err := relabel(ctx); err != nil {
					return err
				}
				return env.Admin.SubResource("status").Update(ctx, relabeled, &client.SubResourceUpdateOptions{UpdateOptions: client.UpdateOptions{DryRun: []string{"All"}}})
			}, want)
		}
		relabeled := &corev1.Namespace{}
		testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), relabeled))
		relabeled.Labels["note"] = "anything"
		testutil.Must(t, env.Admin.Update(t.Context(), relabeled, client.DryRunAll))
	})
	t.Run("labels that another baseline selects", func(t *testing.T) {
		other := &v1alpha1.SecurityBaseline{
			ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t)},
			Spec: v1alpha1.SecurityBaselineSpec{
				Priority: 5, PodSecurity: &v1alpha1.PodSecurity{Enforce: "privileged"},
				NamespaceSelector: v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"way-out": "guarded"}},
			},
		}
		env.Create(t, other)
		waitForForbidden(t, func(ctx context.Context) error {
			relabeled := &corev1.Namespace{}
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), relabeled); err != nil {
				return err
			}
			relabeled.Labels["way-out"] = "guarded"
			return env.Admin.Update(ctx, relabeled, client.DryRunAll)
		}, "label way-out determines which rules apply")
	})
	t.Run("exempt subjects may change managed objects", func(t *testing.T) {
		testutil.Must(t, env.Admin.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "everybody"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
			Subjects:   []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:authenticated"}},
		}))
		for _, writer := range []client.Client{
			env.ClientAs(t, "exempt"), env.ClientAs(t, "jane", "exempt-group"), env.ClientAs(t, "system:serviceaccount:ci:exempt-account", "system:serviceaccounts"),
		} {
			testutil.WaitFor(t, func(ctx context.Context) error { return writer.Update(ctx, tampered(deny), client.DryRunAll) })
		}
		for _, writer := range []client.Client{env.ClientAs(t, "jane"), env.ClientAs(t, "exempt-group"), env.ClientAs(t, "system:serviceaccount:ci2:exempt-account")} {
			testutil.Must(t, testutil.CheckForbidden(writer.Update(t.Context(), tampered(deny), client.DryRunAll), only))
		}
	})
	t.Run("the operator applies a change of the baseline", func(t *testing.T) {
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.DefaultDeny = []v1alpha1.Direction{"Ingress"} })
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		testutil.Equal(t, "directions", env.WaitForPolicy(t, namespace.Name, "default-deny").Spec.PolicyTypes, []networkingv1.PolicyType{"Ingress"})
	})
	t.Run("the namespace can be deleted", func(t *testing.T) {
		testutil.Must(t, env.Admin.Delete(t.Context(), namespace))
		env.WaitForNotFound(t, "", namespace.Name, namespace)
	})
}
