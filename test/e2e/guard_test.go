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
)

// fully is a baseline with an object of every kind that the operator makes.
func fully() v1alpha1.SecurityBaselineSpec {
	spec := everything()
	spec.ServiceAccounts = &v1alpha1.ServiceAccounts{AutomountDefaultToken: new(false)}
	spec.Resources = &v1alpha1.Resources{
		LimitRange: &v1alpha1.LimitRangeSpec{Limits: []v1alpha1.LimitRangeItem{{Type: corev1.LimitTypeContainer, DefaultRequest: limited("cpu", "10m", "memory", "16Mi")}}},
		Quota:      &v1alpha1.ResourceQuotaSpec{Hard: list("requests.cpu", "4", "pods", "50")},
	}
	return spec
}

// managed returns the objects in a namespace of which something is the operator's.
func managed(t *testing.T, namespace string) []client.Object {
	t.Helper()
	return []client.Object{
		policy(t, namespace, "default-deny"),
		get(t, namespace, "security-baseline-developers", &rbacv1.RoleBinding{}),
		get(t, namespace, "security-baseline-limits", &corev1.LimitRange{}),
		get(t, namespace, "security-baseline-quota", &corev1.ResourceQuota{}),
		get(t, namespace, "default", &corev1.ServiceAccount{}),
		get(t, namespace, v1alpha1.ReportName, &v1alpha1.BaselineReport{}),
	}
}

// spoiled returns an object changed in a way that matters.
func spoiled(object client.Object) client.Object {
	object = object.DeepCopyObject().(client.Object)
	switch object := object.(type) {
	case *networkingv1.NetworkPolicy:
		object.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	case *rbacv1.RoleBinding:
		object.Subjects = append(object.Subjects, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"})
	case *corev1.LimitRange:
		object.Spec.Limits = nil
	case *corev1.ResourceQuota:
		object.Spec.Hard = list("pods", "1000")
	case *corev1.ServiceAccount:
		object.AutomountServiceAccountToken = new(true)
	case *v1alpha1.BaselineReport:
		object.State = v1alpha1.StateFailed
	}
	return object
}

func TestGuard(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", map[string]string{"team": "a"})
	spec := fully()
	spec.Guard = &v1alpha1.Guard{Exempt: []v1alpha1.Subject{
		{Kind: "User", Name: "exempt"}, {Kind: "Group", Name: "exempt-group"}, {Kind: "ServiceAccount", Namespace: "ci", Name: "exempt-account"},
	}}
	spec.RBAC.RoleBindings[0].SubjectsFrom = []v1alpha1.SubjectFrom{{Kind: "Group", Prefix: "team:", Label: "team"}}
	spec.Contact = "#platform"
	baseline := newBaseline(t, "b", spec)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	inPlace(t, baseline)
	const only = "only the operator may change or delete what it wrote; change the baseline instead: rule guard of SecurityBaseline "
	deny := policy(t, namespace.Name, "default-deny")
	heeded(t, func(ctx context.Context) error { return admin.Update(ctx, spoiled(deny), client.DryRunAll) }, only+baseline.Name+"; ask #platform")

	for _, object := range managed(t, namespace.Name) {
		name := fmt.Sprintf("%T", object)
		t.Run("change "+name, func(t *testing.T) {
			must(t, refusedWith(admin.Update(t.Context(), spoiled(object), client.DryRunAll), only))
		})
		t.Run("unlabel "+name, func(t *testing.T) {
			if _, ok := object.(*v1alpha1.BaselineReport); ok {
				return // it has none
			}
			unlabelled := object.DeepCopyObject().(client.Object)
			unlabelled.SetLabels(nil)
			must(t, refusedWith(admin.Update(t.Context(), unlabelled, client.DryRunAll), only))
		})
		t.Run("delete "+name, func(t *testing.T) {
			must(t, refusedWith(admin.Delete(t.Context(), object, client.DryRunAll), only))
		})
		t.Run("delete all of "+name, func(t *testing.T) {
			must(t, refusedWith(admin.DeleteAllOf(t.Context(), object, client.InNamespace(namespace.Name), client.DryRunAll), only))
		})
	}
	t.Run("the rest of the ServiceAccount is not the operator's", func(t *testing.T) {
		account := get(t, namespace.Name, "default", &corev1.ServiceAccount{})
		account.ImagePullSecrets = []corev1.LocalObjectReference{{Name: "registry"}}
		metav1.SetMetaDataLabel(&account.ObjectMeta, "a", "b")
		must(t, admin.Update(t.Context(), account, client.DryRunAll))
	})
	t.Run("what is recorded of the ServiceAccount, and an owner that would take it along", func(t *testing.T) {
		for name, spoil := range map[string]func(*corev1.ServiceAccount){
			"records": func(a *corev1.ServiceAccount) { a.ManagedFields = []metav1.ManagedFieldsEntry{{}} },
			"owner": func(a *corev1.ServiceAccount) {
				a.OwnerReferences = []metav1.OwnerReference{{APIVersion: "v1", Kind: "ConfigMap", Name: "owner", UID: namespace.UID}}
			},
		} {
			account := get(t, namespace.Name, "default", &corev1.ServiceAccount{})
			spoil(account)
			if err := refusedWith(admin.Update(t.Context(), account, client.DryRunAll), only); err != nil {
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
			must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), spoiled))
			spoil(spoiled)
			if err := refusedWith(admin.Update(t.Context(), spoiled, client.DryRunAll), what+" says what holds in this namespace, so only the operator"); err != nil {
				t.Error(err)
			}
		}
	})
	t.Run("for somebody in a great many groups", func(t *testing.T) {
		groups := make([]string, 0, 2000)
		for i := range cap(groups) {
			groups = append(groups, fmt.Sprint("group-", i))
		}
		must(t, refusedWith(as(t, "somebody", groups...).Delete(t.Context(), deny, client.DryRunAll), "cannot delete resource"))
	})
	t.Run("objects of its names and with its label", func(t *testing.T) {
		for _, meta := range []metav1.ObjectMeta{
			{Name: "security-baseline-mine"}, {GenerateName: "security-baseline-"},
			{Name: "mine", Labels: map[string]string{v1alpha1.BaselineLabel: baseline.Name}},
		} {
			meta.Namespace = namespace.Name
			must(t, refusedWith(tried(t.Context(), admin, &networkingv1.NetworkPolicy{ObjectMeta: meta}), "belong to the operator; choose another"))
		}
		must(t, tried(t.Context(), admin, &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "mine"}}))
	})
	t.Run("labels of the namespace", func(t *testing.T) {
		for key, value := range map[string]string{
			"guard.securitybaseline.io/baseline": "other", "podsecurity.securitybaseline.io/baseline": "", "images.securitybaseline.io/baseline": "new",
			enforceLabel: "privileged", enforceVersion: "v1.0", "pod-security.kubernetes.io/warn": "",
			"test": "another", "team": "b",
		} {
			relabelled := &corev1.Namespace{}
			must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), relabelled))
			if relabelled.Labels[key] = value; value == "" {
				delete(relabelled.Labels, key)
			}
			want := "label " + key + " says what holds in this namespace, so only the operator and exempt subjects may change it: rule guard of SecurityBaseline " + baseline.Name
			must(t, refusedWith(admin.Update(t.Context(), relabelled, client.DryRunAll), want))
			must(t, refusedWith(admin.SubResource("status").Update(t.Context(), relabelled, &client.SubResourceUpdateOptions{UpdateOptions: client.UpdateOptions{DryRun: []string{"All"}}}), want))
		}
		relabelled := &corev1.Namespace{}
		must(t, admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), relabelled))
		relabelled.Labels["note"] = "anything"
		must(t, admin.Update(t.Context(), relabelled, client.DryRunAll))
	})
	t.Run("the labels of every baseline, not only of its own", func(t *testing.T) {
		other := &v1alpha1.SecurityBaseline{
			ObjectMeta: metav1.ObjectMeta{Name: suffix(t)},
			Spec: v1alpha1.SecurityBaselineSpec{
				Priority: 5, PodSecurity: &v1alpha1.PodSecurity{Enforce: "privileged"},
				NamespaceSelector: v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{"way-out": "guarded"}},
			},
		}
		create(t, other)
		heeded(t, func(ctx context.Context) error {
			relabelled := &corev1.Namespace{}
			if err := admin.Get(ctx, client.ObjectKeyFromObject(namespace), relabelled); err != nil {
				return err
			}
			relabelled.Labels["way-out"] = "guarded"
			return admin.Update(ctx, relabelled, client.DryRunAll)
		}, "label way-out says what holds")
	})
	t.Run("who is exempt may", func(t *testing.T) {
		must(t, admin.Create(t.Context(), &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "everybody"},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
			Subjects:   []rbacv1.Subject{{Kind: "Group", APIGroup: rbacv1.GroupName, Name: "system:authenticated"}},
		}))
		for _, writer := range []client.Client{
			as(t, "exempt"), as(t, "somebody", "exempt-group"), as(t, "system:serviceaccount:ci:exempt-account", "system:serviceaccounts"),
		} {
			eventually(t, func(ctx context.Context) error { return writer.Update(ctx, spoiled(deny), client.DryRunAll) })
		}
		for _, writer := range []client.Client{as(t, "somebody"), as(t, "exempt-group"), as(t, "system:serviceaccount:ci2:exempt-account")} {
			must(t, refusedWith(writer.Update(t.Context(), spoiled(deny), client.DryRunAll), only))
		}
	})
	t.Run("the operator may, and follows its baseline", func(t *testing.T) {
		change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.DefaultDeny = []v1alpha1.Direction{"Ingress"} })
		evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		equal(t, "directions", []networkingv1.PolicyType{"Ingress"}, policy(t, namespace.Name, "default-deny").Spec.PolicyTypes)
	})
	t.Run("the namespace can be deleted, and what owns can go", func(t *testing.T) {
		must(t, admin.Delete(t.Context(), namespace))
		eventually(t, func(ctx context.Context) error {
			return isGone(admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace))
		})
	})
}

// A namespace's admin tries everything that the built-in role admin lets them
// try. Without a guard the operator heals; what Kubernetes itself stops, it stops
// either way.
func TestANamespacesAdminCannotEscape(t *testing.T) {
	t.Parallel()
	for _, guarded := range []bool{false, true} {
		t.Run(fmt.Sprintf("guard %t", guarded), func(t *testing.T) {
			namespace := newNamespace(t, "a", nil)
			spec := fully()
			if guarded {
				spec.Guard = &v1alpha1.Guard{}
			}
			baseline := newBaseline(t, "b", spec)
			evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
			inPlace(t, baseline)
			must(t, admin.Create(t.Context(), &rbacv1.RoleBinding{
				ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "mallory"},
				RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"},
				Subjects:   []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "mallory"}},
			}))
			mallory := as(t, "mallory")
			eventually(t, func(ctx context.Context) error {
				return mallory.List(ctx, &corev1.ConfigMapList{}, client.InNamespace(namespace.Name))
			})
			if guarded {
				deny := policy(t, namespace.Name, "default-deny")
				heeded(t, func(ctx context.Context) error { return admin.Update(ctx, spoiled(deny), client.DryRunAll) })
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
					get(t, "", "require-bind-permission.securitybaseline.io", &vap{}), get(t, "", "require-bind-permission.securitybaseline.io", &vapBinding{}),
					get(t, "", "label-new-namespaces.securitybaseline.io", &admissionregistrationv1.MutatingAdmissionPolicy{}), get(t, "", baseline.Name+".label-new-namespaces.securitybaseline.io", &mapBinding{}),
				} {
					for _, err := range []error{mallory.Delete(t.Context(), object), mallory.Update(t.Context(), object)} {
						must(t, refusedWith(err, "cannot"))
					}
				}
			})
			t.Run("shadow the default-deny", func(t *testing.T) {
				open := &networkingv1.NetworkPolicy{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "open"},
					Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
				}
				must(t, mallory.Create(t.Context(), open))
				entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, func(control *v1alpha1.ControlReport) error {
					const want = "NetworkPolicy/open, which the operator did not make, opens all pods to ingress from everybody, so that it is not denied; delete it or make it narrower"
					if control.State != v1alpha1.StateViolating || control.Message != want {
						return fmt.Errorf("not violating")
					}
					return nil
				})
				ready(t, baseline, hasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonViolationsFound))
				get(t, namespace.Name, "open", open)
				must(t, mallory.Delete(t.Context(), open))
				entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateCompliant))
			})
			t.Run("shadow it in disguise", func(t *testing.T) {
				for control, what := range map[string]func(*testing.T, *networkingv1.NetworkPolicy){
					// Removed, as anything that looks like a leftover of the control.
					"Network": func(t *testing.T, open *networkingv1.NetworkPolicy) {
						absent(t, namespace.Name, open.Name, &networkingv1.NetworkPolicy{})
					},
					// Reported: what bears another control's label is nobody's leftover.
					"Images": func(t *testing.T, open *networkingv1.NetworkPolicy) {
						entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateViolating))
						must(t, mallory.Delete(t.Context(), open))
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
						must(t, refusedWith(err, "belong to the operator; choose another"))
						continue
					}
					must(t, err)
					what(t, open)
					entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateCompliant))
				}
			})
			t.Run("shadow the limits and the quota, and bring a ServiceAccount", func(t *testing.T) {
				meta := metav1.ObjectMeta{Namespace: namespace.Name, Name: "more"}
				for _, object := range []client.Object{&corev1.LimitRange{ObjectMeta: meta}, &corev1.ResourceQuota{ObjectMeta: meta}} {
					must(t, refusedWith(mallory.Create(t.Context(), object), "cannot create resource"))
				}
				// Theirs to make, and no way around: a pod that names it asks for a token.
				must(t, tried(t.Context(), mallory, &corev1.ServiceAccount{ObjectMeta: meta}))
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
				if err := tried(t.Context(), mallory, podOf(namespace.Name, privilegedPod())); !apierrors.IsForbidden(err) {
					t.Errorf("not forbidden: %v", err)
				}
			})
			// It may take several attempts, which are a contest.
			t.Run("replace a binding by one of the same name that grants more", func(t *testing.T) {
				binding := get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
				more := &rbacv1.RoleBinding{
					ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: binding.Name, Labels: binding.Labels},
					RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "admin"}, Subjects: []rbacv1.Subject{user("mallory-friend")},
				}
				if guarded {
					must(t, refusedWith(mallory.Delete(t.Context(), binding), "only the operator may change or delete what it wrote"))
					return
				}
				eventually(t, func(ctx context.Context) error {
					if err := mallory.Delete(ctx, binding); client.IgnoreNotFound(err) != nil {
						return err
					}
					return mallory.Create(ctx, more.DeepCopy())
				})
				eventually(t, func(ctx context.Context) error {
					healed := &rbacv1.RoleBinding{}
					if err := admin.Get(ctx, client.ObjectKeyFromObject(binding), healed); err != nil {
						return err
					}
					if healed.RoleRef != binding.RoleRef {
						return fmt.Errorf("%v is not %v", healed.RoleRef, binding.RoleRef)
					}
					return nil
				})
			})
			t.Run("replace the default-deny by their own", func(t *testing.T) { replaces(t, mallory, namespace.Name, baseline, guarded) })
			// Last: without a guard this is contested for a while.
			for _, object := range managed(t, namespace.Name) {
				escapes(t, mallory, object, guarded)
			}
		})
	}
}

// replaces deletes the default-deny policy and makes another of its name that
// opens everything. What bears the operator's label is healed; what does not might
// be anybody's, so it is left alone, and reported as in the way.
func replaces(t *testing.T, mallory client.Client, namespace string, baseline *v1alpha1.SecurityBaseline, guarded bool) {
	deny := policy(t, namespace, "default-deny")
	if guarded {
		must(t, refusedWith(mallory.Delete(t.Context(), deny), "only the operator may change or delete what it wrote"))
		return
	}
	for _, labels := range []map[string]string{deny.Labels, nil} {
		open := &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: deny.Name, Labels: labels},
			Spec:       networkingv1.NetworkPolicySpec{Ingress: []networkingv1.NetworkPolicyIngressRule{{}}},
		}
		// Until they are faster than the operator, which is not hard: it puts an
		// object right once a second.
		eventually(t, func(ctx context.Context) error {
			if err := mallory.Delete(ctx, policy(t, namespace, "default-deny")); err != nil {
				return err
			}
			return mallory.Create(ctx, open.DeepCopy())
		})
		if labels == nil {
			conflict := entry(t, namespace, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateConflict))
			if want := "NetworkPolicy/security-baseline-default-deny exists and was not made by the operator, so it is left alone; delete it"; !strings.Contains(conflict.Message, want) {
				t.Errorf("the message is %q", conflict.Message)
			}
			must(t, mallory.Delete(t.Context(), policy(t, namespace, "default-deny")))
		}
		eventually(t, func(context.Context) error {
			if healed := policy(t, namespace, "default-deny"); len(healed.Spec.Ingress) > 0 {
				return errors.New("still open")
			}
			return nil
		})
	}
}

// escapes tries to change, unlabel, delete and replace an object: either it is
// refused, or the operator puts it right.
func escapes(t *testing.T, mallory client.Client, object client.Object, guarded bool) {
	t.Helper()
	same := func(t *testing.T) {
		t.Helper()
		current := object.DeepCopyObject().(client.Object)
		eventually(t, func(ctx context.Context) error {
			if err := admin.Get(ctx, client.ObjectKeyFromObject(object), current); err != nil {
				return err
			}
			if spoil(current) != spoil(object) {
				return fmt.Errorf("it is %s", spoil(current))
			}
			return nil
		})
	}
	for name, try := range map[string]func(context.Context) error{
		"change": func(ctx context.Context) error {
			return patched(ctx, mallory, object, func(o client.Object) client.Object { return spoiled(o) })
		},
		"unlabel": func(ctx context.Context) error {
			return patched(ctx, mallory, object, func(o client.Object) client.Object { o.SetLabels(nil); return spoiled(o) })
		},
		"relabel": func(ctx context.Context) error {
			return patched(ctx, mallory, object, func(o client.Object) client.Object {
				o.SetLabels(map[string]string{v1alpha1.BaselineLabel: "nobody", v1alpha1.ControlLabel: "Nothing"})
				return spoiled(o)
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
func patched(ctx context.Context, writer client.Client, object client.Object, mutate func(client.Object) client.Object) error {
	current := object.DeepCopyObject().(client.Object)
	if err := admin.Get(ctx, client.ObjectKeyFromObject(object), current); err != nil {
		return err
	}
	return writer.Update(ctx, mutate(current))
}

// spoil returns what spoiled would change, as text.
func spoil(object client.Object) string {
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
