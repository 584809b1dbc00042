package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
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

// fully is a baseline with an object of every kind that the operator makes.
func everyKindSpec() v1alpha1.SecurityBaselineSpec {
	spec := defaultSpec()
	spec.ServiceAccounts = &v1alpha1.ServiceAccounts{AutomountDefaultToken: new(false)}
	spec.Resources = &v1alpha1.Resources{
		LimitRange: &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{{Type: corev1.LimitTypeContainer, DefaultRequest: limitedResources("cpu", "10m", "memory", "16Mi")}}},
		Quota:      &v1alpha1.ResourceQuotaSpec{Hard: resourceList("requests.cpu", "4", "pods", "50")},
	}
	return spec
}

// managed returns the objects in a namespace of which something is the operator's.
func managedObjects(t *testing.T, namespace string) []client.Object {
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

// spoiled returns an object changed in a way that matters.
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
	const only = "only the operator may change or delete what it wrote; change the baseline instead: rule guard of SecurityBaseline "
	deny := env.WaitForPolicy(t, namespace.Name, "default-deny")
	waitForForbidden(t, func(ctx context.Context) error { return env.Admin.Update(ctx, tampered(deny), client.DryRunAll) }, only+baseline.Name+"; ask #platform")

	for _, object := range managedObjects(t, namespace.Name) {
		name := fmt.Sprintf("%T", object)
		t.Run("change "+name, func(t *testing.T) {
			testutil.Must(t, testutil.CheckForbidden(env.Admin.Update(t.Context(), tampered(object), client.DryRunAll), only))
		})
		t.Run("unlabel "+name, func(t *testing.T) {
			if _, ok := object.(*v1alpha1.BaselineReport); ok {
				return // it has none
			}
			unlabelled := object.DeepCopyObject().(client.Object)
			unlabelled.SetLabels(nil)
			testutil.Must(t, testutil.CheckForbidden(env.Admin.Update(t.Context(), unlabelled, client.DryRunAll), only))
		})
		t.Run("delete "+name, func(t *testing.T) {
			testutil.Must(t, testutil.CheckForbidden(env.Admin.Delete(t.Context(), object, client.DryRunAll), only))
		})
		t.Run("delete all of "+name, func(t *testing.T) {
			testutil.Must(t, testutil.CheckForbidden(env.Admin.DeleteAllOf(t.Context(), object, client.InNamespace(namespace.Name), client.DryRunAll), only))
		})
	}
	t.Run("the rest of the ServiceAccount is not the operator's", func(t *testing.T) {
		account := waitForObject(t, namespace.Name, "default", &corev1.ServiceAccount{})
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		metav1.SetMetaDataLabel(&account.ObjectMeta, "a", "b")
		testutil.Must(t, env.Admin.Update(t.Context(), account, client.DryRunAll))
	})
	t.Run("what is recorded of the ServiceAccount, and an owner that would take it along", func(t *testing.T) {
		for name, spoil := range map[string]func(*corev1.ServiceAccount){
			"records": func(a *corev1.ServiceAccount) { a.ManagedFields = []metav1.ManagedFieldsEntry{{}} },
			"owner": func(a *corev1.ServiceAccount) {
				a.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: namespace.UID}}
			},
		} {
			account := waitForObject(t, namespace.Name, "default", &corev1.ServiceAccount{})
			spoil(account)
			if err := testutil.CheckForbidden(env.Admin.Update(t.Context(), account, client.DryRunAll), only); err != nil {
				t.Errorf("%s: %v", name, err)
			}
		}
	})
	t.Run("what is recorded of the namespace", func(t *testing.T) {
		for what, spoil := range map[string]func(*corev1.Namespace){
			"field manager securitybaseline-operator": func(n *corev1.Namespace) { n.ManagedFields = []metav1.ManagedFieldsEntry{{}} },
			"annotation securitybaseline.io/labels-set-at-creation": func(n *corev1.Namespace) {
				metav1.SetMetaDataAnnotation(&n.ObjectMeta, v1alpha1.CreationLabelsAnnotation, enforceLabel)
			},
		} {
			spoiled := &corev1.Namespace{}
			testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), spoiled))
			spoil(spoiled)
			if err := testutil.CheckForbidden(env.Admin.Update(t.Context(), spoiled, client.DryRunAll), what+" says what holds in this namespace, so only the operator"); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("for somebody in a great many groups", func(t *testing.T) {
		groups := make([]string, 0, 2000)
		for i := range cap(groups) {
			groups = append(groups, fmt.Sprint("group-", i))
		}
		testutil.Must(t, testutil.CheckForbidden(env.ClientAs(t, "somebody", groups...).Delete(t.Context(), deny, client.DryRunAll), "cannot delete resource"))
	})
	t.Run("objects of its names and with its label", func(t *testing.T) {
		for _, meta := range []metav1.ObjectMeta{
			{Name: "security-baseline-mine"}, {GenerateName: "security-baseline-"},
			{Name: "mine", Labels: map[string]string{v1alpha1.BaselineLabel: baseline.Name}},
		} {
			meta.Namespace = namespace.Name
			testutil.Must(t, testutil.CheckForbidden(dryRunCreate(t.Context(), env.Admin, &networkingv1.NetworkPolicy{ObjectMeta: meta}), "belong to the operator; choose another"))
		}
		testutil.Must(t, dryRunCreate(t.Context(), env.Admin, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "mine"}}))
	})
	t.Run("labels of the namespace", func(t *testing.T) {
		for key, value := range map[string]string{
			"guard.securitybaseline.io/baseline": "other", "podsecurity.securitybaseline.io/baseline": "", "images.securitybaseline.io/baseline": "new",
			enforceLabel: "privileged", enforceVersion: "v1.0", "pod-security.kubernetes.io/warn": "",
			"test": "another", "team": "b",
		} {
			relabelled := &corev1.Namespace{}
			testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), relabelled))
			if relabelled.Labels[key] = value; value == "" {
				delete(relabelled.Labels, key)
			}
			want := "label " + key + " says what holds in this namespace, so only the operator and exempt subjects may change it: rule guard of SecurityBaseline " + baseline.Name
			testutil.Must(t, testutil.CheckForbidden(env.Admin.Update(t.Context(), relabelled, client.DryRunAll), want))
			testutil.Must(t, testutil.CheckForbidden(env.Admin.SubResource("status").Update(t.Context(), relabelled, &client.SubResourceUpdateOptions{UpdateOptions: client.UpdateOptions{DryRun: []string{"All"}}}), want))
		}
		relabelled := &corev1.Namespace{}
		testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), relabelled))
		relabelled.Labels["note"] = "anything"
		testutil.Must(t, env.Admin.Update(t.Context(), relabelled, client.DryRunAll))
	})
	t.Run("the labels of every baseline, not only of its own", func(t *testing.T) {
		other := &v1alpha1.SecurityBaseline{
			ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t)},
			Spec: v1alpha1.SecurityBaselineSpec{
				Priority: 5, PodSecurity: &v1alpha1.PodSecurity{Enforce: "privileged"},
				NamespaceSelector: v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"way-out": "guarded"}},
			},
		}
		env.Create(t, other)
		waitForForbidden(t, func(ctx context.Context) error {
			relabelled := &corev1.Namespace{}
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), relabelled); err != nil {
				return err
			}
			relabelled.Labels["way-out"] = "guarded"
			return env.Admin.Update(ctx, relabelled, client.DryRunAll)
		}, "label way-out says what holds")
	})
	t.Run("who is exempt may", func(t *testing.T) {
		testutil.Must(t, env.Admin.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "everybody"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
			Subjects:   []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:authenticated"}},
		}))
		for _, writer := range []client.Client{
			env.ClientAs(t, "exempt"), env.ClientAs(t, "somebody", "exempt-group"), env.ClientAs(t, "system:serviceaccount:ci:exempt-account", "system:serviceaccounts"),
		} {
			testutil.WaitFor(t, func(ctx context.Context) error { return writer.Update(ctx, tampered(deny), client.DryRunAll) })
		}
		for _, writer := range []client.Client{env.ClientAs(t, "somebody"), env.ClientAs(t, "exempt-group"), env.ClientAs(t, "system:serviceaccount:ci2:exempt-account")} {
			testutil.Must(t, testutil.CheckForbidden(writer.Update(t.Context(), tampered(deny), client.DryRunAll), only))
		}
	})
	t.Run("the operator may, and follows its baseline", func(t *testing.T) {
		update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.DefaultDeny = []v1alpha1.Direction{"Ingress"} })
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		testutil.Equal(t, "directions", []networkingv1.PolicyType{"Ingress"}, env.WaitForPolicy(t, namespace.Name, "default-deny").Spec.PolicyTypes)
	})
	t.Run("the namespace can be deleted, and what owns can go", func(t *testing.T) {
		testutil.Must(t, env.Admin.Delete(t.Context(), namespace))
		testutil.WaitFor(t, func(ctx context.Context) error {
			return testutil.CheckNotFound(env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace))
		})
	})
}

// A namespace's admin tries everything that the built-in role admin lets them
// try. Without a guard the operator heals; what Kubernetes itself stops, it stops
// either way.
func TestNamespaceAdmin_CannotBypassBaseline(t *testing.T) {
	t.Parallel()
	for _, guarded := range []bool{false, true} {
		t.Run(fmt.Sprintf("guard %t", guarded), func(t *testing.T) {
			namespace := env.NewNamespace(t, "a", nil)
			spec := everyKindSpec()
			if guarded {
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
			if guarded {
				deny := env.WaitForPolicy(t, namespace.Name, "default-deny")
				waitForForbidden(t, func(ctx context.Context) error { return env.Admin.Update(ctx, tampered(deny), client.DryRunAll) })
			}
			t.Run("relabel the namespace", func(t *testing.T) {
				relabelled := namespace.DeepCopy()
				relabelled.Labels = nil
				if err := mallory.Update(t.Context(), relabelled); !apierrors.IsForbidden(err) {
					t.Errorf("not forbidden: %v", err)
				}
			})
			t.Run("write into the baseline, its bindings and policies", func(t *testing.T) {
				for _, err := range []error{
					mallory.Delete(t.Context(), baseline), mallory.Update(t.Context(), baseline), mallory.Status().Update(t.Context(), baseline),
				} {
					if !apierrors.IsForbidden(err) {
						t.Errorf("not forbidden: %v", err)
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
			t.Run("shadow the default-deny", func(t *testing.T) {
				open := &networkingv1.NetworkPolicy{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "open"},
					Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
				}
				testutil.Must(t, mallory.Create(t.Context(), open))
				env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, func(control *v1alpha1.ControlReport) error {
					const want = "NetworkPolicy/open, which the operator did not make, opens all pods to ingress from everybody, so that it is not denied; delete it or make it narrower"
					if control.State != v1alpha1.StateViolating || control.Message != want {
						return fmt.Errorf("not violating")
					}
					return nil
				})
				env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonViolationsFound))
				waitForObject(t, namespace.Name, "open", open)
				testutil.Must(t, mallory.Delete(t.Context(), open))
				env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateCompliant))
			})
			t.Run("shadow it in disguise", func(t *testing.T) {
				for control, what := range map[string]func(*testing.T, *networkingv1.NetworkPolicy){
					// Removed, as anything that looks like a leftover of the control.
					"Network": func(t *testing.T, open *networkingv1.NetworkPolicy) {
						env.WaitForNotFound(t, namespace.Name, open.Name, &networkingv1.NetworkPolicy{})
					},
					// Reported: what bears another control's label is nobody's leftover.
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
					if guarded {
						testutil.Must(t, testutil.CheckForbidden(err, "belong to the operator; choose another"))
						continue
					}
					testutil.Must(t, err)
					what(t, open)
					env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateCompliant))
				}
			})
			t.Run("shadow the limits and the quota, and bring a ServiceAccount", func(t *testing.T) {
				meta := metav1.ObjectMeta{Namespace: namespace.Name, Name: "more"}
				for _, object := range []client.Object{&corev1.LimitRange{ObjectMeta: meta}, &corev1.ResourceQuota{ObjectMeta: meta}} {
					testutil.Must(t, testutil.CheckForbidden(mallory.Create(t.Context(), object), "cannot create resource"))
				}
				// Theirs to make, and no way around: a pod that names it asks for a token.
				testutil.Must(t, dryRunCreate(t.Context(), mallory, &corev1.ServiceAccount{ObjectMeta: meta}))
			})
			t.Run("grant more than they have", func(t *testing.T) {
				err := mallory.Create(t.Context(), &rbacv1.RoleBinding{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "more"},
					RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
					Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"}},
				})
				if !apierrors.IsForbidden(err) {
					t.Errorf("not forbidden: %v", err)
				}
			})
			t.Run("a privileged pod", func(t *testing.T) {
				if err := dryRunCreate(t.Context(), mallory, newPod(namespace.Name, privilegedPod())); !apierrors.IsForbidden(err) {
					t.Errorf("not forbidden: %v", err)
				}
			})
			// It may take several attempts, which are a contest.
			t.Run("replace a binding by one of the same name that grants more", func(t *testing.T) {
				binding := waitForObject(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
				more := &rbacv1.RoleBinding{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: binding.Name, Labels: binding.Labels},
					RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"}, Subjects: []rbacv1.Subject{userSubject("mallory-friend")},
				}
				if guarded {
					testutil.Must(t, testutil.CheckForbidden(mallory.Delete(t.Context(), binding), "only the operator may change or delete what it wrote"))
					return
				}
				testutil.WaitFor(t, func(ctx context.Context) error {
					if err := mallory.Delete(ctx, binding); client.IgnoreNotFound(err) != nil {
						return err
					}
					return mallory.Create(ctx, more.DeepCopy())
				})
				testutil.WaitFor(t, func(ctx context.Context) error {
					healed := &rbacv1.RoleBinding{}
					if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(binding), healed); err != nil {
						return err
					}
					if healed.RoleRef != binding.RoleRef {
						return fmt.Errorf("%v is not %v", healed.RoleRef, binding.RoleRef)
					}
					return nil
				})
			})
			t.Run("replace the default-deny by their own", func(t *testing.T) { testReplacingDefaultDeny(t, mallory, namespace.Name, baseline, guarded) })
			// Last: without a guard this is contested for a while.
			for _, object := range managedObjects(t, namespace.Name) {
				testTampering(t, mallory, object, guarded)
			}
		})
	}
}

// replaces deletes the default-deny policy and makes another of its name that
// opens everything. What bears the operator's label is healed; what does not might
// be anybody's, so it is left alone, and reported as in the way.
func testReplacingDefaultDeny(t *testing.T, mallory client.Client, namespace string, baseline *v1alpha1.SecurityBaseline, guarded bool) {
	deny := env.WaitForPolicy(t, namespace, "default-deny")
	if guarded {
		testutil.Must(t, testutil.CheckForbidden(mallory.Delete(t.Context(), deny), "only the operator may change or delete what it wrote"))
		return
	}
	for _, labels := range []map[string]string{deny.Labels, nil} {
		open := &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: deny.Name, Labels: labels},
			Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
		}
		// Until they are faster than the operator, which is not hard: it puts an
		// object right once a second.
		testutil.WaitFor(t, func(ctx context.Context) error {
			if err := mallory.Delete(ctx, env.WaitForPolicy(t, namespace, "default-deny")); err != nil {
				return err
			}
			return mallory.Create(ctx, open.DeepCopy())
		})
		if labels == nil {
			conflict := env.WaitForControl(t, namespace, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateConflict))
			if want := "NetworkPolicy/security-baseline-default-deny exists and was not made by the operator, so it is left alone; delete it"; !strings.Contains(conflict.Message, want) {
				t.Errorf("the message is %q", conflict.Message)
			}
			testutil.Must(t, mallory.Delete(t.Context(), env.WaitForPolicy(t, namespace, "default-deny")))
		}
		testutil.WaitFor(t, func(context.Context) error {
			if healed := env.WaitForPolicy(t, namespace, "default-deny"); len(healed.Spec.Ingress) > 0 {
				return errors.New("still open")
			}
			return nil
		})
	}
}

// escapes tries to change, unlabel, delete and replace an object: either it is
// refused, or the operator puts it right.
func testTampering(t *testing.T, mallory client.Client, object client.Object, guarded bool) {
	t.Helper()
	same := func(t *testing.T) {
		t.Helper()
		current := object.DeepCopyObject().(client.Object)
		testutil.WaitFor(t, func(ctx context.Context) error {
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(object), current); err != nil {
				return err
			}
			if tamperedFields(current) != tamperedFields(object) {
				return fmt.Errorf("it is %s", tamperedFields(current))
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
				o.SetLabels(map[string]string{v1alpha1.BaselineLabel: "nobody", v1alpha1.ControlLabel: "Nothing"})
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
			if guarded && err == nil {
				t.Error("not refused")
			}
			same(t)
		})
	}
}

// patched changes an object as it is at the API server.
func updateAs(ctx context.Context, writer client.Client, object client.Object, mutate func(client.Object) client.Object) error {
	current := object.DeepCopyObject().(client.Object)
	if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(object), current); err != nil {
		return err
	}
	return writer.Update(ctx, mutate(current))
}

// spoil returns what spoiled would change, as text.
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
