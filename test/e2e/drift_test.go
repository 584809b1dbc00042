package e2e

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// foreign makes objects, labels and annotations that are not the operator's in a
// hardened namespace and returns a function that checks that they are byte for
// byte as before.
//
// What was on an object that is deleted, deleted says by its name, is gone.
func foreign(t *testing.T, namespace, deleted string) func() {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "theirs", Labels: map[string]string{"team": "a"}}
	for _, object := range []client.Object{
		&networkingv1.NetworkPolicy{ObjectMeta: meta, Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "public"}},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		}},
		&rbacv1.RoleBinding{ObjectMeta: meta,
			RoleRef:  rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
			Subjects: []rbacv1.Subject{{Kind: "User", APIGroup: rbacv1.GroupName, Name: "guest"}},
		},
	} {
		must(t, admin.Create(t.Context(), object))
	}
	for _, object := range []client.Object{
		get(t, "", namespace, &corev1.Namespace{}),
		policy(t, namespace, "default-deny"),
		get(t, namespace, "security-baseline-developers", &rbacv1.RoleBinding{}),
	} {
		change(t, object, func(object client.Object) {
			object.SetAnnotations(map[string]string{"example.com/note": "keep"})
			labels := object.GetLabels()
			labels["example.com/owner"] = "team-a"
			object.SetLabels(labels)
		})
	}
	before := foreignParts(t, namespace)
	return func() {
		t.Helper()
		after := foreignParts(t, namespace)
		delete(before, deleted)
		delete(after, deleted)
		equal(t, "what is not the operator's", before, after)
	}
}

// foreignParts returns what is not the operator's in a namespace, as JSON: other
// objects whole, other labels and annotations of the operator's objects and of
// the namespace.
func foreignParts(t *testing.T, namespace string) map[string]string {
	t.Helper()
	parts := map[string]string{}
	record := func(key string, value any) {
		data, err := json.Marshal(value)
		must(t, err)
		parts[key] = string(data)
	}
	recordObject := func(object client.Object) {
		if object.GetName() == "theirs" {
			record(fmt.Sprintf("%T", object), object)
			return
		}
		// The UID tells that an object was healed, not made again.
		record(object.GetName(), []any{object.GetUID(), object.GetAnnotations(), object.GetLabels()["example.com/owner"]})
	}
	in := client.InNamespace(namespace)
	var policies networkingv1.NetworkPolicyList
	var bindings rbacv1.RoleBindingList
	must(t, admin.List(t.Context(), &policies, in))
	must(t, admin.List(t.Context(), &bindings, in))
	for i := range policies.Items {
		recordObject(&policies.Items[i])
	}
	for i := range bindings.Items {
		recordObject(&bindings.Items[i])
	}
	own := get(t, "", namespace, &corev1.Namespace{})
	recordObject(own)
	record("the namespace's other labels", []string{own.Labels["test"], own.Labels[corev1.LabelMetadataName]})
	return parts
}

// itsBaseline stands in a table for the name of the test's baseline.
const itsBaseline = "the name of the test's baseline"

func TestDriftIsHealed(t *testing.T) {
	type world struct {
		namespace string
		t         *testing.T
	}
	for _, test := range []struct {
		name  string
		drift func(world)
		want  v1alpha1.Drift
		// deleted is the name of the object that is deleted, if any.
		deleted string
	}{
		{
			name:  "the default-deny policy is deleted",
			drift: func(w world) { must(w.t, admin.Delete(w.t.Context(), policy(w.t, w.namespace, "default-deny"))) },
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-default-deny",
				Operation: "Delete", Action: v1alpha1.DriftCreated},
			deleted: "security-baseline-default-deny",
		},
		{
			name: "a rule is added to the default-deny policy",
			drift: func(w world) {
				change(w.t, policy(w.t, w.namespace, "default-deny"), func(p *networkingv1.NetworkPolicy) {
					p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
				})
			},
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-default-deny",
				Fields: []v1alpha1.FieldDifference{{Path: "spec.ingress", Actual: `[{}]`}}, Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a rule of an allowance is widened by server-side apply",
			drift: func(w world) {
				wider := policy(w.t, w.namespace, "from-ingress")
				wider.Spec.Ingress[0].From = []networkingv1.NetworkPolicyPeer{{NamespaceSelector: &metav1.LabelSelector{}}}
				wider.TypeMeta = metav1.TypeMeta{APIVersion: "networking.k8s.io/v1", Kind: "NetworkPolicy"}
				wider.ManagedFields, wider.ResourceVersion = nil, ""
				//nolint:staticcheck // what a user's tool sends is an apply patch, labels and all
				must(w.t, admin.Patch(w.t.Context(), wider, client.Apply, client.ForceOwnership, client.FieldOwner("argocd-controller")))
			},
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-from-ingress",
				Fields: []v1alpha1.FieldDifference{{Path: "spec.ingress", Expected: `[{"from":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"ingress-nginx"}}}]}]`, Actual: `[{"from":[{"namespaceSelector":{}}]}]`}}, Manager: "argocd-controller", Operation: "Apply", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "the ingress of an allowance is emptied",
			drift: func(w world) {
				change(w.t, policy(w.t, w.namespace, "from-ingress"), func(p *networkingv1.NetworkPolicy) { p.Spec.Ingress = nil })
			},
			// A field that was removed belongs to nobody.
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-from-ingress",
				Fields: []v1alpha1.FieldDifference{{Path: "spec.ingress", Expected: `[{"from":[{"namespaceSelector":{"matchLabels":{"kubernetes.io/metadata.name":"ingress-nginx"}}}]}]`}}, Action: v1alpha1.DriftConfigured},
		},
		{
			name: "the operator's labels are stripped from a policy",
			drift: func(w world) {
				change(w.t, policy(w.t, w.namespace, "default-deny"), func(p *networkingv1.NetworkPolicy) {
					p.Labels = map[string]string{"example.com/owner": "team-a"}
				})
			},
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-default-deny",
				Fields: []v1alpha1.FieldDifference{
					{Path: "metadata.labels.app.kubernetes.io/managed-by", Expected: v1alpha1.ManagedByValue},
					{Path: "metadata.labels.securitybaseline.io/baseline", Expected: itsBaseline},
					{Path: "metadata.labels.securitybaseline.io/control", Expected: "Network"},
				}, Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a policy is relabelled as another baseline's",
			drift: func(w world) {
				change(w.t, policy(w.t, w.namespace, "default-deny"), func(p *networkingv1.NetworkPolicy) {
					p.Labels[v1alpha1.BaselineLabel] = "another"
				})
			},
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-default-deny",
				Fields:  []v1alpha1.FieldDifference{{Path: "metadata.labels.securitybaseline.io/baseline", Expected: itsBaseline, Actual: "another"}},
				Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a policy is relabelled as another control's",
			drift: func(w world) {
				change(w.t, policy(w.t, w.namespace, "default-deny"), func(p *networkingv1.NetworkPolicy) {
					p.Labels[v1alpha1.ControlLabel] = "RBAC"
				})
			},
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-default-deny",
				Fields:  []v1alpha1.FieldDifference{{Path: "metadata.labels.securitybaseline.io/control", Expected: "Network", Actual: "RBAC"}},
				Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a policy is relabelled as an earlier control's",
			drift: func(w world) {
				change(w.t, policy(w.t, w.namespace, "default-deny"), func(p *networkingv1.NetworkPolicy) {
					p.Labels[v1alpha1.ControlLabel] = "PodSecurity"
				})
			},
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-default-deny",
				Fields:  []v1alpha1.FieldDifference{{Path: "metadata.labels.securitybaseline.io/control", Expected: "Network", Actual: "PodSecurity"}},
				Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a binding is relabelled as another control's",
			drift: func(w world) {
				change(w.t, get(w.t, w.namespace, "security-baseline-developers", &rbacv1.RoleBinding{}), func(b *rbacv1.RoleBinding) {
					b.Labels[v1alpha1.ControlLabel] = "Network"
				})
			},
			want: v1alpha1.Drift{Control: "RBAC", Object: "RoleBinding/security-baseline-developers",
				Fields:  []v1alpha1.FieldDifference{{Path: "metadata.labels.securitybaseline.io/control", Expected: "RBAC", Actual: "Network"}},
				Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a policy is opened and its labels are stripped at once",
			drift: func(w world) {
				change(w.t, policy(w.t, w.namespace, "default-deny"), func(p *networkingv1.NetworkPolicy) {
					p.Labels = map[string]string{"example.com/owner": "team-a"}
					p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
				})
			},
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-default-deny",
				Fields: []v1alpha1.FieldDifference{
					{Path: "metadata.labels.app.kubernetes.io/managed-by", Expected: v1alpha1.ManagedByValue},
					{Path: "metadata.labels.securitybaseline.io/baseline", Expected: itsBaseline},
					{Path: "metadata.labels.securitybaseline.io/control", Expected: "Network"},
					{Path: "spec.ingress", Actual: `[{}]`},
				}, Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a policy is opened, and its labels and managedFields are cleared at once",
			drift: func(w world) {
				patch := `{"metadata":{"managedFields":[{}],"labels":{"securitybaseline.io/baseline":null,"securitybaseline.io/control":null,"app.kubernetes.io/managed-by":null}},` +
					`"spec":{"podSelector":{"matchLabels":{"a":"b"}},"policyTypes":["Egress"],"egress":[{}]}}`
				must(w.t, admin.Patch(w.t.Context(), policy(w.t, w.namespace, "default-deny"), client.RawPatch(types.MergePatchType, []byte(patch))))
			},
			want: v1alpha1.Drift{Control: "Network", Object: "NetworkPolicy/security-baseline-default-deny",
				Fields: []v1alpha1.FieldDifference{
					{Path: "metadata.labels.app.kubernetes.io/managed-by", Expected: v1alpha1.ManagedByValue},
					{Path: "metadata.labels.securitybaseline.io/baseline", Expected: itsBaseline},
					{Path: "metadata.labels.securitybaseline.io/control", Expected: "Network"},
					{Path: "spec.podSelector", Expected: `{}`, Actual: `{"matchLabels":{"a":"b"}}`},
					{Path: "spec.policyTypes", Expected: `["Ingress"]`},
					{Path: "spec.egress", Actual: `[{}]`},
				}, Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a pod-security label is lowered",
			drift: func(w world) {
				change(w.t, get(w.t, "", w.namespace, &corev1.Namespace{}), func(n *corev1.Namespace) {
					n.Labels["pod-security.kubernetes.io/enforce"] = "privileged"
				})
			},
			want: v1alpha1.Drift{Control: "PodSecurity", Object: "Namespace/", Fields: []v1alpha1.FieldDifference{{Path: "metadata.labels.pod-security.kubernetes.io/enforce", Expected: "baseline", Actual: "privileged"}},
				Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a pod-security label is removed",
			drift: func(w world) {
				change(w.t, get(w.t, "", w.namespace, &corev1.Namespace{}), func(n *corev1.Namespace) {
					delete(n.Labels, "pod-security.kubernetes.io/enforce")
				})
			},
			want: v1alpha1.Drift{Control: "PodSecurity", Object: "Namespace/",
				Fields: []v1alpha1.FieldDifference{{Path: "metadata.labels.pod-security.kubernetes.io/enforce", Expected: "baseline"}}, Action: v1alpha1.DriftConfigured},
		},
		{
			name: "the version of a pod-security level is pinned",
			drift: func(w world) {
				change(w.t, get(w.t, "", w.namespace, &corev1.Namespace{}), func(n *corev1.Namespace) {
					n.Labels["pod-security.kubernetes.io/warn-version"] = "v1.0"
				})
			},
			want: v1alpha1.Drift{Control: "PodSecurity", Object: "Namespace/", Fields: []v1alpha1.FieldDifference{{Path: "metadata.labels.pod-security.kubernetes.io/warn-version", Expected: "latest", Actual: "v1.0"}},
				Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "the subjects of a binding are replaced",
			drift: func(w world) {
				change(w.t, get(w.t, w.namespace, "security-baseline-developers", &rbacv1.RoleBinding{}), func(b *rbacv1.RoleBinding) {
					b.Subjects[0].Name = "attackers"
				})
			},
			want: v1alpha1.Drift{Control: "RBAC", Object: "RoleBinding/security-baseline-developers",
				Fields: []v1alpha1.FieldDifference{{Path: "subjects", Expected: `[{"kind":"Group","apiGroup":"rbac.authorization.k8s.io","name":"developers"}]`, Actual: `[{"kind":"Group","apiGroup":"rbac.authorization.k8s.io","name":"attackers"}]`}}, Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a subject is added to a binding",
			drift: func(w world) {
				change(w.t, get(w.t, w.namespace, "security-baseline-developers", &rbacv1.RoleBinding{}), func(b *rbacv1.RoleBinding) {
					b.Subjects = append(b.Subjects, rbacv1.Subject{Kind: "User", APIGroup: rbacv1.GroupName, Name: "guest"})
				})
			},
			want: v1alpha1.Drift{Control: "RBAC", Object: "RoleBinding/security-baseline-developers",
				Fields: []v1alpha1.FieldDifference{{Path: "subjects", Actual: `[{"kind":"User","apiGroup":"rbac.authorization.k8s.io","name":"guest"}]`}}, Manager: "admin", Operation: "Update", Action: v1alpha1.DriftConfigured},
		},
		{
			name: "a binding is deleted",
			drift: func(w world) {
				must(w.t, admin.Delete(w.t.Context(), get(w.t, w.namespace, "security-baseline-developers", &rbacv1.RoleBinding{})))
			},
			want: v1alpha1.Drift{Control: "RBAC", Object: "RoleBinding/security-baseline-developers",
				Operation: "Delete", Action: v1alpha1.DriftCreated},
			deleted: "security-baseline-developers",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			namespace := newNamespace(t, "a", nil).Name
			baseline := newBaseline(t, "all", everything())
			evaluated(t, namespace, baseline, v1alpha1.StateCompliant)
			unchanged := foreign(t, namespace, test.deleted)
			want := operatorParts(t, namespace)

			test.drift(world{namespace, t})

			eventually(t, func(context.Context) error {
				if diff := cmp.Diff(want, operatorParts(t, namespace)); diff != "" {
					return fmt.Errorf("not healed (-want +got):\n%s", diff)
				}
				return nil
			})
			unchanged()

			test.want.Baseline = baseline.Name
			for i := range test.want.Fields {
				if test.want.Fields[i].Expected == itsBaseline {
					test.want.Fields[i].Expected = baseline.Name
				}
			}
			if test.want.Object == "Namespace/" {
				test.want.Object += namespace
			}
			eventually(t, func(ctx context.Context) error {
				current := &v1alpha1.BaselineReport{}
				if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.ReportName}, current); err != nil {
					return err
				}
				for i := range current.Drifts {
					drift := &current.Drifts[i]
					if recorded := drift.ChangeTime != nil && drift.DetectionTime.Sub(drift.ChangeTime.Time).Abs() < patience; recorded != (drift.Manager != "") {
						return fmt.Errorf("%q changed it at %s, seen at %s", drift.Manager, drift.ChangeTime, drift.DetectionTime)
					}
					drift.DetectionTime, drift.ChangeTime = metav1.Time{}, nil
				}
				if diff := cmp.Diff([]v1alpha1.Drift{test.want}, current.Drifts); diff != "" || current.State != v1alpha1.StateCompliant {
					return fmt.Errorf("%s (-want +got):\n%s", current.State, diff)
				}
				return nil
			})
			ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
				if status.LastDrift == nil || status.LastDrift.Namespace != namespace || status.LastDrift.Object != test.want.Object || status.DriftsTotal != 1 {
					return fmt.Errorf("lastDrift %+v, drifts %d", status.LastDrift, status.DriftsTotal)
				}
				return nil
			})
			for _, about := range []string{namespace, baseline.Name} {
				event := emitted(t, about, "Drift")
				equal(t, "the event's action", string(test.want.Action), event.Action)
				if event.Related == nil || event.Related.Kind+"/"+event.Related.Name != test.want.Object {
					t.Errorf("the event is related to %v", event.Related)
				}
				by := "somebody, whom Kubernetes does not record"
				if test.want.Manager != "" {
					by = fmt.Sprintf("%q (%s) at ", test.want.Manager, test.want.Operation)
				}
				if !strings.Contains(event.Note, test.want.Object+" was ") || !strings.Contains(event.Note, "ed by "+by) {
					t.Errorf("the event says %s", event.Note)
				}
			}
		})
	}
}

// Each author has an event, although the object and the field are the same.
func TestEachAuthorIsTold(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", denyAll())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	for _, author := range []string{"alice", "bob"} {
		must(t, open(t.Context(), namespace.Name, author))
		_, err := healed(t.Context(), namespace.Name)
		must(t, err)
		for _, about := range []string{namespace.Name, baseline.Name} {
			eventually(t, func(ctx context.Context) error {
				events, err := eventsAbout(ctx, about)
				for _, event := range events {
					if event.Series == nil && strings.Contains(event.Note, strconv.Quote(author)) {
						return err
					}
				}
				return fmt.Errorf("%s is not told of in %v", author, events)
			})
		}
	}
}

// A drift that was put right while the report could not be written is in the
// next one.
func TestADriftThatCouldNotBeRecordedIsRecordedLater(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", denyAll())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	lift := refuseResources(t, namespace.Name, admissionregistrationv1.Update, "baselinereports")
	must(t, admin.Delete(t.Context(), policy(t, namespace.Name, "default-deny")))
	policy(t, namespace.Name, "default-deny")
	name := map[string]string{"baseline": baseline.Name, "control": string(v1alpha1.ControlNetwork)}
	eventually(t, func(ctx context.Context) error {
		families, err := scrape(ctx)
		if seen := sample(families, "securitybaseline_drifts_total", name).GetCounter().GetValue(); seen != 1 {
			return fmt.Errorf("%v drifts (%w)", seen, err)
		}
		return nil
	})
	lift()
	eventually(t, func(ctx context.Context) error {
		current := &v1alpha1.BaselineReport{}
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: v1alpha1.ReportName}, current); err != nil {
			return err
		}
		if len(current.Drifts) != 1 || current.Drifts[0].Operation != "Delete" || current.Summary.DriftsTotal != 1 {
			return fmt.Errorf("%+v", current.Drifts)
		}
		return nil
	})
	families, err := scrape(t.Context())
	must(t, err)
	equal(t, "drifts counted", 1.0, sample(families, "securitybaseline_drifts_total", name).GetCounter().GetValue())
}

// operatorParts returns what is the operator's in a namespace.
func operatorParts(t *testing.T, namespace string) map[string]any {
	t.Helper()
	parts := map[string]any{}
	in, ours := client.InNamespace(namespace), client.HasLabels{v1alpha1.BaselineLabel}
	var policies networkingv1.NetworkPolicyList
	var bindings rbacv1.RoleBindingList
	must(t, admin.List(t.Context(), &policies, in, ours))
	must(t, admin.List(t.Context(), &bindings, in, ours))
	for _, p := range policies.Items {
		parts["policy "+p.Name] = []any{p.Spec, p.Labels[v1alpha1.BaselineLabel], p.Labels[v1alpha1.ControlLabel]}
	}
	for _, b := range bindings.Items {
		parts["binding "+b.Name] = []any{b.RoleRef, b.Subjects, b.Labels[v1alpha1.BaselineLabel], b.Labels[v1alpha1.ControlLabel]}
	}
	for key, value := range get(t, "", namespace, &corev1.Namespace{}).Labels {
		if !slices.Contains([]string{"test", "example.com/owner", corev1.LabelMetadataName}, key) {
			parts["label "+key] = value
		}
	}
	return parts
}
