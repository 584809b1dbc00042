package e2e

import (
	"context"
	"fmt"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// TestNamespaceAdmin_CannotBypassBaseline tries what the ClusterRole admin allows. Without a
// guard the operator reverts it, unless Kubernetes denies it.
func TestNamespaceAdmin_CannotBypassBaseline(t *testing.T) {
	t.Parallel()
	for _, isGuarded := range []bool{false, true} {
		t.Run(fmt.Sprintf("guard %t", isGuarded), func(t *testing.T) {
			namespace := env.NewNamespace(t, "a", nil)
			spec := everyKindSpec()
			if isGuarded {
				spec.Guard = &v1alpha1.Guard{}
			}
			baseline := env.NewBaseline(t, "b", spec)
			env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
			env.WaitForReady(t, baseline)
			testutil.Must(t, env.Admin.Create(t.Context(), &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "mallory"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
				Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"}},
			}))
			mallory := env.ClientAs(t, "mallory")
			testutil.WaitFor(t, func(ctx context.Context) error {
				return mallory.List(ctx, &corev1.ConfigMapList{}, client.InNamespace(namespace.Name))
			})
			if isGuarded {
				deny := env.WaitForPolicy(t, namespace.Name, "default-deny")
				waitForForbidden(t, func(ctx context.Context) error { return env.Admin.Update(ctx, tampered(deny), client.DryRunAll) })
			}
			t.Run("relabel the namespace", func(t *testing.T) {
				relabeled := namespace.DeepCopy()
				relabeled.Labels = nil
				if err := mallory.Update(t.Context(), relabeled); !apierrors.IsForbidden(err) {
					t.Errorf("got %v, want Forbidden", err)
				}
			})
			t.Run("change the baseline, its policies and bindings", func(t *testing.T) {
				for _, err := range []error{
					mallory.Delete(t.Context(), baseline), mallory.Update(t.Context(), baseline), mallory.Status().Update(t.Context(), baseline),
				} {
					if !apierrors.IsForbidden(err) {
						t.Errorf("got %v, want Forbidden", err)
					}
				}
				for _, object := range []client.Object{
					waitForObject(t, "", "require-bind-permission.securitybaseline.io", &vap{}), waitForObject(t, "", "require-bind-permission.securitybaseline.io", &vapBinding{}),
					waitForObject(t, "", "label-new-namespaces.securitybaseline.io", &admissionregistrationv1.MutatingAdmissionPolicy{}), waitForObject(t, "", baseline.Name+".label-new-namespaces.securitybaseline.io", &mapBinding{}),
				} {
					for _, err := range []error{mallory.Delete(t.Context(), object), mallory.Update(t.Context(), object)} {
						testutil.Must(t, testutil.CheckForbidden(err, "cannot"))
					}
				}
			})
			t.Run("allow what the default-deny policy denies", func(t *testing.T) {
				open := &networkingv1.NetworkPolicy{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "open"},
					Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
				}
				testutil.Must(t, mallory.Create(t.Context(), open))
				env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, func(control *v1alpha1.ControlReport) error {
					const want = "NetworkPolicy/open is not managed by the operator and allows all pods ingress from anywhere, which undoes the default deny; delete it or narrow it"
					if control.State != v1alpha1.StateViolating || control.Message != want {
						return fmt.Errorf("got state %s and message %q, want Violating and %q", control.State, control.Message, want)
					}
					return nil
				})
				env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonViolationsFound))
				waitForObject(t, namespace.Name, "open", open)
				testutil.Must(t, mallory.Delete(t.Context(), open))
				env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateCompliant))
			})
			t.Run("allow it with the operator's labels", func(t *testing.T) {
				for control, what := range map[string]func(*testing.T, *networkingv1.NetworkPolicy){
					// The operator prunes what has the labels of a control that does not declare it.
					"Network": func(t *testing.T, open *networkingv1.NetworkPolicy) {
						env.WaitForNotFound(t, namespace.Name, open.Name, &networkingv1.NetworkPolicy{})
					},
					// The operator reports an object with the label of another control.
					"Images": func(t *testing.T, open *networkingv1.NetworkPolicy) {
						env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateViolating))
						testutil.Must(t, mallory.Delete(t.Context(), open))
					},
				} {
					open := &networkingv1.NetworkPolicy{
						ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "security-baseline-open", Labels: map[string]string{
							v1alpha1.BaselineLabel: "ghost", v1alpha1.ControlLabel: control, v1alpha1.ManagedByLabel: v1alpha1.ManagedByValue,
						}},
						Spec: networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
					}
					err := mallory.Create(t.Context(), open)
					if isGuarded {
						testutil.Must(t, testutil.CheckForbidden(err, "are reserved for the operator; choose another name and remove the label"))
						continue
					}
					testutil.Must(t, err)
					what(t, open)
					env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateCompliant))
				}
			})
			t.Run("create limits, a quota and a ServiceAccount", func(t *testing.T) {
				meta := metav1.ObjectMeta{Namespace: namespace.Name, Name: "more"}
				for _, object := range []client.Object{&corev1.LimitRange{ObjectMeta: meta}, &corev1.ResourceQuota{ObjectMeta: meta}} {
					testutil.Must(t, testutil.CheckForbidden(mallory.Create(t.Context(), object), "cannot create resource"))
				}
				// This is allowed: a pod gets the token of another ServiceAccount only by naming it.
				testutil.Must(t, dryRunCreate(t.Context(), mallory, &corev1.ServiceAccount{ObjectMeta: meta}))
			})
			t.Run("grant more than the own permissions", func(t *testing.T) {
				err := mallory.Create(t.Context(), &rbacv1.RoleBinding{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "more"},
					RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
					Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"}},
				})
				if !apierrors.IsForbidden(err) {
					t.Errorf("got %v, want Forbidden", err)
				}
			})
			t.Run("create a privileged pod", func(t *testing.T) {
				if err := dryRunCreate(t.Context(), mallory, newPod(namespace.Name, privilegedPod())); !apierrors.IsForbidden(err) {
					t.Errorf("got %v, want Forbidden", err)
				}
			})
			// This may take several attempts, which are contested drift.
			t.Run("replace a binding with one that grants more", func(t *testing.T) {
				binding := waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
				more := &rbacv1.RoleBinding{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: binding.Name, Labels: binding.Labels},
					RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"}, Subjects: []rbacv1.Subject{userSubject("mallory-friend")},
				}
				if isGuarded {
					testutil.Must(t, testutil.CheckForbidden(mallory.Delete(t.Context(), binding), "only the operator and exempt subjects may change or delete the objects that the operator manages"))
					return
				}
				testutil.WaitFor(t, func(ctx context.Context) error {
					if err := mallory.Delete(ctx, binding); client.IgnoreNotFound(err) != nil {
						return err
					}
					return mallory.Create(ctx, more.DeepCopy())
				})
				testutil.WaitFor(t, func(ctx context.Context) error {
					current := &rbacv1.RoleBinding{}
					if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(binding), current); err != nil {
						return err
					}
					return testutil.CheckEqual("the role", current.RoleRef, binding.RoleRef)
				})
			})
			t.Run("replace the default-deny policy", func(t *testing.T) { testReplacingDefaultDeny(t, mallory, namespace.Name, baseline, isGuarded) })
			// Last, because without a guard it is contested for a while.
			for _, object := range waitForManagedObjects(t, namespace.Name) {
				testTampering(t, mallory, object, isGuarded)
			}
		})
	}
}

// testReplacingDefaultDeny deletes the default-deny policy and creates one of the same name
// that allows everything. The operator reverts a policy with its labels. A policy without
// them is a foreign one, which the operator reports as a conflict.
func testReplacingDefaultDeny(t *testing.T, mallory client.Client, namespace string, baseline *v1alpha1.SecurityBaseline, isGuarded bool) {
	deny := env.WaitForPolicy(t, namespace, "default-deny")
	if isGuarded {
		testutil.Must(t, testutil.CheckForbidden(mallory.Delete(t.Context(), deny), "only the operator and exempt subjects may change or delete the objects that the operator manages"))
		return
	}
	for _, labels := range []map[string]string{deny.Labels, nil} {
		open := &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: deny.Name, Labels: labels},
			Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
		}
		// It succeeds as soon as mallory is faster than the operator.
		testutil.WaitFor(t, func(ctx context.Context) error {
			current := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: deny.Name}}
			if err := mallory.Delete(ctx, current); err != nil {
				return err
			}
			return mallory.Create(ctx, open.DeepCopy())
		})
		if labels == nil {
			env.WaitForControl(t, namespace, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateConflict),
				hasMessage("NetworkPolicy/security-baseline-default-deny exists but is not managed by the operator, so it is left alone; delete it"))
			testutil.Must(t, mallory.Delete(t.Context(), env.WaitForPolicy(t, namespace, "default-deny")))
		}
		env.WaitForPolicy(t, namespace, "default-deny", isClosed)
	}
}

// testTampering tries to change, unlabel, relabel and delete an object. Either the API server
// denies it, or the operator reverts it.
func testTampering(t *testing.T, mallory client.Client, object client.Object, isGuarded bool) {
	t.Helper()
	waitForReverted := func(t *testing.T) {
		t.Helper()
		current := object.DeepCopyObject().(client.Object)
		testutil.WaitFor(t, func(ctx context.Context) error {
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(object), current); err != nil {
				return err
			}
			if tamperedFields(current) != tamperedFields(object) {
				return fmt.Errorf("%s: got %s, want %s", object.GetName(), tamperedFields(current), tamperedFields(object))
			}
			return nil
		})
	}
	for name, try := range map[string]func(context.Context) error{
		"change": func(ctx context.Context) error {
			return updateAs(ctx, mallory, object, func(o client.Object) client.Object { return tampered(o) })
		},
		"unlabel": func(ctx context.Context) error {
			return updateAs(ctx, mallory, object, func(o client.Object) client.Object { o.SetLabels(nil); return tampered(o) })
		},
		"relabel": func(ctx context.Context) error {
			return updateAs(ctx, mallory, object, func(o client.Object) client.Object {
				o.SetLabels(map[string]string{v1alpha1.BaselineLabel: "no-baseline", v1alpha1.ControlLabel: "Nothing"})
				return tampered(o)
			})
		},
		"delete": func(ctx context.Context) error {
			return mallory.Delete(ctx, object.DeepCopyObject().(client.Object))
		},
	} {
		t.Run(fmt.Sprintf("%s %T", name, object), func(t *testing.T) {
			err := try(t.Context())
			if err != nil && !apierrors.IsForbidden(err) {
				t.Fatal(err)
			}
			if isGuarded && err == nil {
				t.Error("got no error, want Forbidden")
			}
			waitForReverted(t)
		})
	}
}

// updateAs changes the current version of an object with a client.
func updateAs(ctx context.Context, writer client.Client, object client.Object, mutate func(client.Object) client.Object, options ...client.UpdateOption) error {
	current := object.DeepCopyObject().(client.Object)
	if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(object), current); err != nil {
		return err
	}
	return writer.Update(ctx, mutate(current), options...)
}

// tamperedFields returns the fields that tampered changes, as text.
func tamperedFields(object client.Object) string {
	switch object := object.(type) {
	case *networkingv1.NetworkPolicy:
		return fmt.Sprint(object.Labels, object.Spec)
	case *rbacv1.RoleBinding:
		return fmt.Sprint(object.Labels, object.Subjects)
	case *corev1.LimitRange:
		return fmt.Sprint(object.Labels, object.Spec)
	case *corev1.ResourceQuota:
		return fmt.Sprint(object.Labels, object.Spec.Hard)
	case *corev1.ServiceAccount:
		return fmt.Sprint(object.Labels, ptr.Deref(object.AutomountServiceAccountToken, true))
	case *v1alpha1.BaselineReport:
		return fmt.Sprint(object.State == v1alpha1.StateFailed)
	}
	return ""
}
