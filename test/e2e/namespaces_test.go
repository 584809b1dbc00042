package e2e

import (
	"context"
	"fmt"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/cluster"
)

// bare waits until nothing of the operator's is in a namespace.
func bare(t *testing.T, namespace string) {
	t.Helper()
	eventually(t, func(context.Context) error {
		if diff := cmp.Diff(map[string]any{}, operatorParts(t, namespace)); diff != "" {
			return fmt.Errorf("not bare (-want +got):\n%s", diff)
		}
		return nil
	})
	absent(t, namespace, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
}

func TestANamespaceThatIsCreatedLaterIsHardened(t *testing.T) {
	t.Parallel()
	baseline := newBaseline(t, "all", everything())
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned))
	namespace := newNamespace(t, "later", nil)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	policy(t, namespace.Name, "default-deny")
	ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 1, StateCounts: v1alpha1.StateCounts{Compliant: 1}}
		if status.Namespaces != want {
			return fmt.Errorf("%+v", status.Namespaces)
		}
		return hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated)(status)
	})
}

func TestANamespaceThatStopsMatchingLosesExactlyWhatItWasGiven(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	foreign(t, namespace.Name, "")
	theirs := get(t, namespace.Name, "theirs", &networkingv1.NetworkPolicy{})

	change(t, namespace, func(n *corev1.Namespace) { n.Labels["test"] = "none" })
	bare(t, namespace.Name)
	equal(t, "their policy", theirs, get(t, namespace.Name, "theirs", &networkingv1.NetworkPolicy{}))
	get(t, namespace.Name, "theirs", &rbacv1.RoleBinding{})
	get(t, "", namespace.Name, namespace)
	equal(t, "their label", "team-a", namespace.Labels["example.com/owner"])

	change(t, namespace, func(n *corev1.Namespace) { n.Labels["test"] = suffix(t) })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	policy(t, namespace.Name, "default-deny")
}

func TestAnExcludedNamespaceIsLeftAlone(t *testing.T) {
	t.Parallel()
	excluded, governed := newNamespace(t, "excluded", nil), newNamespace(t, "governed", nil)
	spec := everything()
	spec.ExcludeNamespaces = []string{excluded.Name}
	baseline := newBaseline(t, "all", spec)
	evaluated(t, governed.Name, baseline, v1alpha1.StateCompliant)
	bare(t, excluded.Name)

	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.ExcludeNamespaces = []string{governed.Name} })
	evaluated(t, excluded.Name, baseline, v1alpha1.StateCompliant)
	bare(t, governed.Name)
}

// It selects every namespace, those of parallel tests too, so it runs alone.
func TestProtectedNamespacesAreNeverGoverned(t *testing.T) {
	namespace := newNamespace(t, "a", nil)
	baseline := &v1alpha1.SecurityBaseline{
		ObjectMeta: metav1.ObjectMeta{Name: suffix(t)},
		Spec:       everything(),
	}
	baseline.Spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline.Spec.NamespaceSelector = v1alpha1.LabelSelector{}
	create(t, baseline)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	evaluated(t, metav1.NamespaceDefault, baseline, v1alpha1.StateCompliant)
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	for _, protected := range []string{"kube-system", "kube-public", "kube-node-lease", cluster.OperatorNamespace} {
		if isGone(admin.Get(t.Context(), client.ObjectKey{Namespace: protected, Name: "security-baseline-default-deny"}, &networkingv1.NetworkPolicy{})) != nil {
			t.Errorf("%s is governed", protected)
		}
	}
	must(t, admin.Delete(t.Context(), baseline))
	absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	bare(t, metav1.NamespaceDefault)
	bare(t, namespace.Name)
}

func TestABaselineThatSelectsAllIsNoTrapForItself(t *testing.T) {
	t.Parallel()
	// A namespace that is named like an object of ours, labelled like one.
	namespace := newNamespace(t, "a", map[string]string{v1alpha1.BaselineLabel: "x", v1alpha1.ControlLabel: "Network"})
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	get(t, "", namespace.Name, namespace)
	equal(t, "a label that is not ours", "x", namespace.Labels[v1alpha1.BaselineLabel])
}

func TestWhatIsTakenOutOfABaselineGoesEverywhere(t *testing.T) {
	t.Parallel()
	namespaces := []*corev1.Namespace{newNamespace(t, "a", nil), newNamespace(t, "b", nil)}
	baseline := newBaseline(t, "all", everything())
	for _, namespace := range namespaces {
		evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	}
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.Network.Policies = nil
		b.Spec.Network.Allow.SameNamespace = false
		b.Spec.PodSecurity.Warn = ""
		b.Spec.RBAC.RoleBindings[0].Name = "engineers"
	})
	for _, namespace := range namespaces {
		evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		absent(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
		absent(t, namespace.Name, "security-baseline-allow-same-namespace", &networkingv1.NetworkPolicy{})
		absent(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
		get(t, namespace.Name, "security-baseline-engineers", &rbacv1.RoleBinding{})
		policy(t, namespace.Name, "default-deny")
		policy(t, namespace.Name, "allow-dns")
		get(t, "", namespace.Name, namespace)
		if _, ok := namespace.Labels["pod-security.kubernetes.io/warn"]; ok {
			t.Error("the label warn is still there")
		}
		equal(t, "enforce", "baseline", namespace.Labels["pod-security.kubernetes.io/enforce"])
	}

	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network, b.Spec.PodSecurity = nil, nil })
	for _, namespace := range namespaces {
		current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		equal(t, "controls", 1, len(current.Controls))
		equal(t, "drifts of a change that was asked for", int64(0), current.Summary.DriftsTotal)
		eventually(t, func(context.Context) error {
			if left := operatorParts(t, namespace.Name); len(left) != 1 {
				return fmt.Errorf("what is left: %v", left)
			}
			return nil
		})
	}
}

func TestALevelIsAFloor(t *testing.T) {
	t.Parallel()
	const enforce, version = "pod-security.kubernetes.io/enforce", "pod-security.kubernetes.io/enforce-version"
	namespace := newNamespace(t, "a", map[string]string{enforce: "restricted"})
	baseline := newBaseline(t, "all", v1alpha1.SecurityBaselineSpec{
		PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline", Version: "v1.30"},
	})
	levels := func(t *testing.T, wantLevel, wantVersion string) {
		t.Helper()
		eventually(t, func(ctx context.Context) error {
			if err := admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
				return err
			}
			if namespace.Labels[enforce] != wantLevel || namespace.Labels[version] != wantVersion {
				return fmt.Errorf("%v", namespace.Labels)
			}
			return nil
		})
	}

	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	levels(t, "restricted", "")
	equal(t, "findings", []string{"enforce: restricted is kept; it is stricter than baseline, which the baseline asks for"}, current.Controls[0].Findings)

	// When it goes, the baseline's own comes back.
	change(t, namespace, func(n *corev1.Namespace) { delete(n.Labels, enforce) })
	levels(t, "baseline", "v1.30")

	// What the operator set itself is no floor.
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "restricted" })
	levels(t, "restricted", "v1.30")
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "baseline" })
	levels(t, "baseline", "v1.30")

	// The owner makes it stricter, later laxer than the floor.
	change(t, namespace, func(n *corev1.Namespace) { n.Labels[enforce] = "restricted" })
	eventually(t, func(ctx context.Context) error {
		current := &v1alpha1.BaselineReport{}
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: v1alpha1.ReportName}, current); err != nil {
			return err
		}
		if current.State != v1alpha1.StateCompliant || len(current.Controls[0].Findings) != 1 {
			return fmt.Errorf("%+v", current.BaselineReportData)
		}
		return nil
	})
	levels(t, "restricted", "v1.30")
	change(t, namespace, func(n *corev1.Namespace) { n.Labels[enforce] = "privileged" })
	levels(t, "baseline", "v1.30")
}

func TestAnObjectThatTheOperatorDidNotMakeIsLeftAlone(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	theirs := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "security-baseline-default-deny"},
		Spec: networkingv1.NetworkPolicySpec{
			PodSelector: metav1.LabelSelector{MatchLabels: map[string]string{"app": "public"}},
			Ingress:     []networkingv1.NetworkPolicyIngressRule{{}},
		},
	}
	must(t, admin.Create(t.Context(), theirs))
	baseline := newBaseline(t, "all", everything())
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateConflict)
	equal(t, "the state of Network", v1alpha1.StateConflict, stateOf(current, v1alpha1.ControlNetwork))
	equal(t, "the state of RBAC", v1alpha1.StateCompliant, stateOf(current, v1alpha1.ControlRBAC))
	policy(t, namespace.Name, "allow-dns") // its siblings are in place

	ready(t, baseline, hasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonObjectConflict))
	equal(t, "violations", []v1alpha1.Violation{{Namespace: namespace.Name, Control: "Network", State: "Conflict",
		Message: "NetworkPolicy/security-baseline-default-deny exists and was not made by the operator, so it is left alone; delete it, or make it again under another name"}},
		baseline.Status.Violations)
	unchanged := policy(t, namespace.Name, "default-deny")
	equal(t, "their policy", theirs.ResourceVersion, unchanged.ResourceVersion)

	// When it goes, ours comes, and that was no drift.
	must(t, admin.Delete(t.Context(), theirs))
	current = evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "drifts", int64(0), current.Summary.DriftsTotal)
	equal(t, "the baseline's label", baseline.Name, policy(t, namespace.Name, "default-deny").Labels[v1alpha1.BaselineLabel])
}

func TestACopyOfAnObjectOfOursIsNotDeleted(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	original := policy(t, namespace.Name, "default-deny")
	theirs := &networkingv1.NetworkPolicy{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "copy", Labels: original.Labels},
		Spec:       original.Spec,
	}
	must(t, admin.Create(t.Context(), theirs))
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network = nil })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	absent(t, namespace.Name, original.Name, &networkingv1.NetworkPolicy{})
	kept := get(t, namespace.Name, "copy", &networkingv1.NetworkPolicy{})
	equal(t, "the copy", theirs.ResourceVersion, kept.ResourceVersion)
}

func TestAReportThatSomebodyElseWroteIsWrittenAgain(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	change(t, current.DeepCopy(), func(r *v1alpha1.BaselineReport) {
		r.State = v1alpha1.StateFailed
		r.Controls[0].State = v1alpha1.StateFailed
	})
	again := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "the report", current.BaselineReportData, again.BaselineReportData)

	must(t, admin.Delete(t.Context(), again))
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
}

func TestSubjectsFollowALabelOfTheNamespace(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", map[string]string{"team": "payments"})
	baseline := newBaseline(t, "all", v1alpha1.SecurityBaselineSpec{RBAC: &v1alpha1.RBAC{RoleBindings: []v1alpha1.NamedRoleBinding{{
		Name:         "team",
		RoleRef:      v1alpha1.RoleRef{Kind: "ClusterRole", Name: "view"},
		SubjectsFrom: []v1alpha1.SubjectFrom{{Kind: "Group", Prefix: "oidc:", Label: "team"}},
	}}}})
	subject := func(want string) {
		t.Helper()
		eventually(t, func(ctx context.Context) error {
			binding := &rbacv1.RoleBinding{}
			if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "security-baseline-team"}, binding); err != nil {
				return err
			}
			if binding.Subjects[0].Name != want {
				return fmt.Errorf("%+v", binding.Subjects)
			}
			return nil
		})
	}
	subject("oidc:payments")
	change(t, namespace, func(n *corev1.Namespace) { n.Labels["team"] = "billing" })
	subject("oidc:billing")
	change(t, namespace, func(n *corev1.Namespace) { delete(n.Labels, "team") })
	absent(t, namespace.Name, "security-baseline-team", &rbacv1.RoleBinding{})
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "drifts of a change that was asked for", int64(0), current.Summary.DriftsTotal)
}

// watchAll collects the events of a kind in a namespace until the function that
// it returns is called, which returns them.
func watchAll(t *testing.T, namespace string, list client.ObjectList) func() []watch.Event {
	t.Helper()
	watcher, err := client.NewWithWatch(local.Admin, client.Options{Scheme: controllers.Scheme()})
	must(t, err)
	events, err := watcher.Watch(t.Context(), list, client.InNamespace(namespace))
	must(t, err)
	return func() []watch.Event {
		// The last event that must come is of an object made for that.
		marker := newMarker(t, namespace, list)
		var seen []watch.Event
		for event := range events.ResultChan() {
			seen = append(seen, event)
			if object, ok := event.Object.(client.Object); ok && object.GetName() == marker {
				events.Stop()
				break
			}
		}
		return seen
	}
}

// newMarker makes an object of the kind of a list and returns its name.
func newMarker(t *testing.T, namespace string, list client.ObjectList) string {
	t.Helper()
	meta := metav1.ObjectMeta{Namespace: namespace, Name: "marker"}
	var object client.Object = &networkingv1.NetworkPolicy{ObjectMeta: meta}
	if _, ok := list.(*rbacv1.RoleBindingList); ok {
		object = &rbacv1.RoleBinding{ObjectMeta: meta, RoleRef: rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"}}
	}
	must(t, admin.Create(t.Context(), object))
	return meta.Name
}
