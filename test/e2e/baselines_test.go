package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

func denyAll() v1alpha1.SecurityBaselineSpec {
	return v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{
		DefaultDeny: []v1alpha1.Direction{v1alpha1.DirectionIngress, v1alpha1.DirectionEgress},
	}}
}

func TestABaselineOfHigherPriorityTakesAControlOverInPlace(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	low := newBaseline(t, "low", everything())
	evaluated(t, namespace.Name, low, v1alpha1.StateCompliant)
	uid := policy(t, namespace.Name, "default-deny").UID
	events := watchAll(t, namespace.Name, &networkingv1.NetworkPolicyList{})

	spec := denyAll()
	spec.Priority = 10
	high := newBaseline(t, "high", spec)
	current := evaluated(t, namespace.Name, high, v1alpha1.StateCompliant)
	governedBy(t, current, map[v1alpha1.ControlName]string{"PodSecurity": low.Name, "Network": high.Name, "RBAC": low.Name})
	equal(t, "the baseline of default-deny", high.Name, policy(t, namespace.Name, "default-deny").Labels[v1alpha1.BaselineLabel])
	absent(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})

	ready(t, low, func(status v1alpha1.SecurityBaselineStatus) error {
		for _, control := range status.Controls {
			if control.Name == v1alpha1.ControlNetwork && control.Overridden != 1 {
				return fmt.Errorf("%+v", control)
			}
		}
		return nil
	})

	// And it hands back when it goes, whatever its deletionPolicy.
	must(t, admin.Delete(t.Context(), high))
	absent(t, "", high.Name, &v1alpha1.SecurityBaseline{})
	eventually(t, func(ctx context.Context) error {
		deny := &networkingv1.NetworkPolicy{}
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace.Name, Name: "security-baseline-default-deny"}, deny); err != nil {
			return err
		}
		if deny.Labels[v1alpha1.BaselineLabel] != low.Name {
			return fmt.Errorf("%v", deny.Labels)
		}
		return nil
	})
	current = evaluated(t, namespace.Name, low, v1alpha1.StateCompliant)
	equal(t, "drifts of a change that was asked for", int64(0), current.Summary.DriftsTotal)

	for _, event := range events() {
		if deny, ok := event.Object.(*networkingv1.NetworkPolicy); ok && deny.Name == "security-baseline-default-deny" {
			if event.Type == watch.Deleted || deny.UID != uid {
				t.Errorf("there was a moment without default-deny: %s %s", event.Type, deny.UID)
			}
		}
	}
}

func governedBy(t *testing.T, current *v1alpha1.BaselineReport, want map[v1alpha1.ControlName]string) {
	t.Helper()
	got := map[v1alpha1.ControlName]string{}
	for _, control := range current.Controls {
		got[control.Name] = control.Baseline
	}
	equal(t, "who governs", want, got)
}

func TestOfEqualPriorityTheOldestBaselineGoverns(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	older := newBaseline(t, "z", denyAll())
	evaluated(t, namespace.Name, older, v1alpha1.StateCompliant)
	// Creation times count whole seconds.
	eventually(t, func(context.Context) error {
		if metav1.Now().Unix() <= older.CreationTimestamp.Unix() {
			return fmt.Errorf("still the second in which the first was made")
		}
		return nil
	})
	younger := newBaseline(t, "a", denyAll())
	current := evaluated(t, namespace.Name, younger, v1alpha1.StateCompliant)
	governedBy(t, current, map[v1alpha1.ControlName]string{"Network": older.Name})
	ready(t, younger, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned))
	equal(t, "counts", v1alpha1.NamespaceCounts{StateCounts: v1alpha1.StateCounts{Overridden: 1}}, younger.Status.Namespaces)
}

func TestDeletingABaselineKeepsWhatItGave(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "deletionPolicy", v1alpha1.DeletionRetain, baseline.Spec.DeletionPolicy)
	equal(t, "finalizers", 0, len(baseline.Finalizers))
	before := operatorParts(t, namespace.Name)

	must(t, admin.Delete(t.Context(), baseline))
	absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	absent(t, namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
	equal(t, "what it gave", before, operatorParts(t, namespace.Name))
	uid := policy(t, namespace.Name, "default-deny").UID

	// Made again, it takes its objects over by their label, and prunes what it
	// does not give any more.
	spec := everything()
	spec.Network.Policies = nil
	again := newBaseline(t, "all", spec)
	current := evaluated(t, namespace.Name, again, v1alpha1.StateCompliant)
	equal(t, "drifts", int64(0), current.Summary.DriftsTotal)
	equal(t, "the same policy", uid, policy(t, namespace.Name, "default-deny").UID)
	absent(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
}

func TestDeletingABaselineRemovesExactlyWhatItGave(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	other := newNamespace(t, "b", map[string]string{"pod-security.kubernetes.io/enforce": "restricted"})
	spec := everything()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := newBaseline(t, "all", spec)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	evaluated(t, other.Name, baseline, v1alpha1.StateCompliant)
	foreign(t, namespace.Name, "")
	theirs := get(t, namespace.Name, "theirs", &networkingv1.NetworkPolicy{})
	eventually(t, func(ctx context.Context) error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil || len(baseline.Finalizers) == 0 {
			return fmt.Errorf("no finalizer (%w)", err)
		}
		return nil
	})

	must(t, admin.Delete(t.Context(), baseline))
	absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	bare(t, namespace.Name)
	equal(t, "their policy", theirs, get(t, namespace.Name, "theirs", &networkingv1.NetworkPolicy{}))
	get(t, "", other.Name, other)
	equal(t, "the owner's label", map[string]string{
		"test": suffix(t), corev1.LabelMetadataName: other.Name, "pod-security.kubernetes.io/enforce": "restricted",
	}, other.Labels)
}

// What is being made in a namespace while the baseline is deleted goes with it.
func TestDeletingABaselineThatIsStillBeingPutInPlaceLeavesNothing(t *testing.T) {
	t.Parallel()
	namespaces := make([]*corev1.Namespace, 0, 10)
	for i := range cap(namespaces) {
		namespaces = append(namespaces, newNamespace(t, fmt.Sprint(i), nil))
	}
	for i := range 10 {
		spec := everything()
		if i%3 == 0 {
			spec.Network, spec.RBAC = nil, nil // what is left is labels only
		}
		spec.DeletionPolicy = v1alpha1.DeletionRemove
		spec.NamespaceSelector = selectTest(t)
		baseline := &v1alpha1.SecurityBaseline{
			// As if the operator had set the finalizer already.
			ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprintf("%s-%d", suffix(t), i), Finalizers: []string{v1alpha1.Finalizer}},
			Spec:       spec,
		}
		must(t, admin.Create(t.Context(), baseline))
		if i%3 == 1 {
			policy(t, namespaces[i].Name, "default-deny")
		}
		must(t, admin.Delete(t.Context(), baseline))
		absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
		for _, namespace := range namespaces {
			equal(t, "what is left in "+namespace.Name, map[string]any{}, operatorParts(t, namespace.Name))
		}
	}
}

func TestDeletingABaselineDoesNotHangOnATerminatingNamespace(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	vanished := newNamespace(t, "vanished", nil)
	spec := everything()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := newBaseline(t, "all", spec)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	evaluated(t, vanished.Name, baseline, v1alpha1.StateCompliant)
	// A NetworkPolicy of ours that somebody holds keeps the namespace terminating.
	change(t, policy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Finalizers = []string{"example.com/hold"}
	})
	must(t, admin.Delete(t.Context(), namespace))
	must(t, admin.Delete(t.Context(), vanished))
	absent(t, "", vanished.Name, &corev1.Namespace{})

	must(t, admin.Delete(t.Context(), baseline))
	absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	get(t, "", namespace.Name, namespace)
	if namespace.DeletionTimestamp.IsZero() {
		t.Error("the namespace was to be terminating still")
	}
	change(t, policy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) { p.Finalizers = nil })
	absent(t, "", namespace.Name, &corev1.Namespace{})
}

func TestDeletingABaselineDoesNotHangOnAnObjectThatSomebodyHolds(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	spec := everything()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := newBaseline(t, "all", spec)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	held := policy(t, namespace.Name, "default-deny")
	change(t, held, func(p *networkingv1.NetworkPolicy) { p.Finalizers = []string{"example.com/hold"} })
	must(t, admin.Delete(t.Context(), baseline))
	absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	change(t, held, func(p *networkingv1.NetworkPolicy) { p.Finalizers = nil })
	bare(t, namespace.Name)
}

// Labels that somebody copied, in a namespace that no baseline ever governed.
func TestDeletingABaselineDoesNotHangOnWhatOnlyLooksGiven(t *testing.T) {
	t.Parallel()
	spec := everything()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := newBaseline(t, "all", spec)
	other := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: suffix(t) + "-other", Labels: map[string]string{v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity): baseline.Name},
	}}
	create(t, other)
	for name, labels := range map[string]map[string]string{
		"half": {v1alpha1.BaselineLabel: baseline.Name},
		"full": {v1alpha1.BaselineLabel: baseline.Name, v1alpha1.ControlLabel: "Network"},
	} {
		must(t, admin.Create(t.Context(), &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: other.Name, Name: name, Labels: labels},
		}))
	}
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonNoNamespaceGoverned))
	must(t, admin.Delete(t.Context(), baseline))
	absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	get(t, other.Name, "half", &networkingv1.NetworkPolicy{})
	get(t, other.Name, "full", &networkingv1.NetworkPolicy{})
}

func TestDeletingABaselineDoesNotHangOnARefusedRemoval(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	spec := everything()
	spec.DeletionPolicy = v1alpha1.DeletionRemove
	baseline := newBaseline(t, "all", spec)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	refuse(t, namespace.Name, admissionregistrationv1.Delete)

	must(t, admin.Delete(t.Context(), baseline))
	absent(t, "", baseline.Name, &v1alpha1.SecurityBaseline{})
	policy(t, namespace.Name, "default-deny")
	get(t, "", namespace.Name, namespace)
	if _, ok := namespace.Labels[v1alpha1.GoverningBaselineLabel(v1alpha1.ControlPodSecurity)]; ok {
		t.Error("a control whose removal was not refused is still there")
	}
}

func TestDeletingABaselineDoesNotHangOnARefusedRemovalUnderAnotherBaseline(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	low := newBaseline(t, "low", denyAll())
	spec := everything()
	spec.DeletionPolicy, spec.Priority = v1alpha1.DeletionRemove, 10
	high := newBaseline(t, "high", spec)
	evaluated(t, namespace.Name, high, v1alpha1.StateCompliant)
	refuse(t, namespace.Name, admissionregistrationv1.Delete)

	must(t, admin.Delete(t.Context(), high))
	absent(t, "", high.Name, &v1alpha1.SecurityBaseline{})
	policy(t, namespace.Name, "from-ingress") // refused, and left
	equal(t, "who governs", low.Name, policy(t, namespace.Name, "default-deny").Labels[v1alpha1.BaselineLabel])
}

// view, edit and admin are what the operator may bind unasked.
func TestRolesThatTheOperatorMayBind(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	spec := v1alpha1.SecurityBaselineSpec{RBAC: &v1alpha1.RBAC{}}
	for _, role := range []string{"view", "edit", "admin"} {
		spec.RBAC.RoleBindings = append(spec.RBAC.RoleBindings, v1alpha1.NamedRoleBinding{
			Name: role, RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: role}, Subjects: []v1alpha1.Subject{{Kind: "Group", Name: role + "ers"}},
		})
	}
	evaluated(t, namespace.Name, newBaseline(t, "all", spec), v1alpha1.StateCompliant)
	for _, role := range []string{"view", "edit", "admin"} {
		equal(t, "the role", role, get(t, namespace.Name, "security-baseline-"+role, &rbacv1.RoleBinding{}).RoleRef.Name)
	}
}

func TestARoleThatTheOperatorMayNotBindIsAFailedControl(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	role := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: suffix(t) + "-secrets"},
		Rules:      []rbacv1.PolicyRule{{APIGroups: []string{""}, Resources: []string{"secrets"}, Verbs: []string{"get"}}},
	}
	create(t, role)
	spec := everything()
	spec.RBAC.RoleBindings = append(spec.RBAC.RoleBindings,
		v1alpha1.NamedRoleBinding{Name: "secrets", RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: role.Name},
			Subjects: []v1alpha1.Subject{{Kind: "User", Name: "u"}}},
		v1alpha1.NamedRoleBinding{Name: "missing", RoleRef: v1alpha1.RoleRef{Kind: "ClusterRole", Name: role.Name + "-missing"},
			Subjects: []v1alpha1.Subject{{Kind: "User", Name: "u"}}})
	baseline := newBaseline(t, "all", spec)

	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateFailed)
	equal(t, "the state of Network", v1alpha1.StateCompliant, stateOf(current, v1alpha1.ControlNetwork))
	get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}) // its siblings are in place
	sentence := fmt.Sprintf("RoleBinding/security-baseline-secrets: the operator may not bind ClusterRole %q. "+
		"To allow it, create a ClusterRole with the label rbac.securitybaseline.io/aggregate-to-operator: \"true\" and the rule "+
		"{apiGroups: [rbac.authorization.k8s.io], resources: [clusterroles], resourceNames: [%s], verbs: [bind]}", role.Name, role.Name)
	missing := fmt.Sprintf("RoleBinding/security-baseline-missing: ClusterRole %q does not exist; create it, or correct roleRef", role.Name+"-missing")
	equal(t, "the message", sentence+"\n"+missing, current.Controls[2].Message)
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionFalse, v1alpha1.ReasonWriteRejected))
	ready(t, baseline, hasCondition(v1alpha1.ConditionStalled, metav1.ConditionTrue, v1alpha1.ReasonWriteRejected))

	// Doing what the sentence says mends it, without anyone touching the baseline.
	allow := &rbacv1.ClusterRole{
		ObjectMeta: metav1.ObjectMeta{Name: suffix(t) + "-allow", Labels: map[string]string{v1alpha1.AggregateLabel: "true"}},
		Rules: []rbacv1.PolicyRule{{APIGroups: []string{rbacv1.GroupName}, Resources: []string{"clusterroles"},
			ResourceNames: []string{role.Name}, Verbs: []string{"bind"}}},
	}
	create(t, allow)
	created := &rbacv1.ClusterRole{ObjectMeta: metav1.ObjectMeta{Name: role.Name + "-missing"}}
	create(t, created)
	current = evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "drifts", int64(0), current.Summary.DriftsTotal)
	get(t, namespace.Name, "security-baseline-secrets", &rbacv1.RoleBinding{})
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	for _, condition := range baseline.Status.Conditions {
		if condition.Type == v1alpha1.ConditionStalled || condition.Type == v1alpha1.ConditionReconciling {
			t.Errorf("%s is still present", condition.Type)
		}
	}
}

func TestARoleBindingIsReplacedWithoutAGap(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	events := watchAll(t, namespace.Name, &rbacv1.RoleBindingList{})

	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "drifts", int64(0), current.Summary.DriftsTotal)
	binding := get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	equal(t, "the role", "view", binding.RoleRef.Name)

	granting := sets.New[string]()
	for _, event := range events() {
		binding, ok := event.Object.(*rbacv1.RoleBinding)
		if !ok || len(binding.Subjects) == 0 {
			continue
		}
		if event.Type == watch.Deleted {
			granting.Delete(binding.Name)
		} else {
			granting.Insert(binding.Name)
		}
		if granting.Len() == 0 {
			t.Error("there was a moment in which nobody was granted anything")
		}
	}
	equal(t, "bindings in the end", []string{"security-baseline-developers"}, sets.List(granting))
}

func TestARoleBindingThatMayNotBeReplacedStays(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "system:node" })
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateFailed)
	if message := current.Controls[2].Message; !strings.Contains(message, `may not bind ClusterRole "system:node"`) {
		t.Error(message)
	}
	binding := get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	equal(t, "the role", "edit", binding.RoleRef.Name)
}

func TestARoleBindingThatSomebodyHoldsIsNotFoughtOver(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	binding := get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	change(t, binding, func(b *rbacv1.RoleBinding) { b.Finalizers = []string{"example.com/hold"} })
	events := watchAll(t, namespace.Name, &rbacv1.RoleBindingList{})
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateConflict)
	equal(t, "the message", "RoleBinding/security-baseline-developers grants another role, and cannot be replaced while it has the finalizers [example.com/hold]; remove them",
		current.Controls[2].Message)
	names := sets.New[string]()
	for _, event := range events() {
		names.Insert(string(event.Type) + " " + event.Object.(client.Object).GetName())
	}
	// The first is what was there when the watch began.
	equal(t, "events", []string{"ADDED marker", "ADDED security-baseline-developers"}, sets.List(names))
	change(t, binding, func(b *rbacv1.RoleBinding) { b.Finalizers = nil })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "the role", "view", get(t, namespace.Name, binding.Name, &rbacv1.RoleBinding{}).RoleRef.Name)
}

func TestAForeignStandInIsAConflict(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	theirs := &rbacv1.RoleBinding{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "security-baseline-developers:stand-in"},
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "view"},
	}
	create(t, theirs)
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateConflict)
	equal(t, "the message", "RoleBinding/security-baseline-developers grants another role, and cannot be replaced while there is "+
		"a RoleBinding security-baseline-developers:stand-in; delete that one", current.Controls[2].Message)
	must(t, admin.Delete(t.Context(), theirs))
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "the role", "view", get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}).RoleRef.Name)
}

func TestARefusedReplacementIsNotRepeatedAtOnce(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	refuse(t, namespace.Name, admissionregistrationv1.Create)
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.RBAC.RoleBindings[0].RoleRef.Name = "view" })
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateFailed)
	// A report that is written again and again is one that the API server is
	// asked for again and again.
	err := wait.PollUntilContextTimeout(t.Context(), glance, 5*time.Second, true, func(ctx context.Context) (bool, error) {
		again := &v1alpha1.BaselineReport{}
		err := admin.Get(ctx, client.ObjectKeyFromObject(current), again)
		return err == nil && again.ResourceVersion != current.ResourceVersion, err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("the report was written again (%v)", err)
	}
	equal(t, "the role", "edit", get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{}).RoleRef.Name)
}

// A backup brings objects back with their labels, written by somebody else.
func TestWhatWasRestoredIsTakenOverAndPruned(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	eventually(t, func(ctx context.Context) error {
		given := policy(t, namespace.Name, "from-ingress")
		must(t, client.IgnoreNotFound(admin.Delete(ctx, given)))
		return admin.Create(ctx, &networkingv1.NetworkPolicy{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: given.Name, Labels: given.Labels}, Spec: given.Spec,
		})
	})
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	absent(t, namespace.Name, "security-baseline-from-ingress", &networkingv1.NetworkPolicy{})
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
}

func TestADriftWhoseHealingIsRefusedAtFirstIsHealedAndRecorded(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	lift := refuse(t, namespace.Name, admissionregistrationv1.Update)
	change(t, policy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	})
	evaluated(t, namespace.Name, baseline, v1alpha1.StateFailed)
	lift()
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	if len(current.Drifts) != 1 || current.Drifts[0].Manager != "admin" {
		t.Errorf("drifts: %+v", current.Drifts)
	}
	equal(t, "ingress rules", 0, len(policy(t, namespace.Name, "default-deny").Spec.Ingress))
}

func TestADriftIsRecordedAlthoughTheBaselineChangesOtherThings(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	lift := refuse(t, namespace.Name, admissionregistrationv1.Update)
	change(t, policy(t, namespace.Name, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	})
	evaluated(t, namespace.Name, baseline, v1alpha1.StateFailed)
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.Network.Policies = nil })
	evaluated(t, namespace.Name, baseline, v1alpha1.StateFailed)
	lift()
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	if len(current.Drifts) != 1 || current.Drifts[0].Object != "NetworkPolicy/security-baseline-default-deny" {
		t.Errorf("drifts: %+v", current.Drifts)
	}
}

func TestARoleBindingThatWasReplacedByAnotherRolesIsHealed(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", everything())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	binding := get(t, namespace.Name, "security-baseline-developers", &rbacv1.RoleBinding{})
	// kubectl replace --force, labels and all. The operator may be quicker.
	eventually(t, func(ctx context.Context) error {
		must(t, client.IgnoreNotFound(admin.Delete(ctx, binding.DeepCopy())))
		forged := &rbacv1.RoleBinding{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: binding.Name, Labels: binding.Labels},
			RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: "cluster-admin"},
			Subjects:   binding.Subjects,
		}
		return admin.Create(ctx, forged)
	})
	eventually(t, func(ctx context.Context) error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(binding), binding); err != nil {
			return err
		}
		if binding.RoleRef.Name != "edit" {
			return fmt.Errorf("%+v", binding.RoleRef)
		}
		return nil
	})
}
