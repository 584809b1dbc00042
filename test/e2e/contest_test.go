package e2e

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	eventsv1 "k8s.io/api/events/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers"
)

// open opens a policy to everybody as the field manager.
func open(ctx context.Context, namespace, manager string) error {
	deny := &networkingv1.NetworkPolicy{}
	if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "security-baseline-default-deny"}, deny); err != nil {
		return err
	}
	deny.Spec.Ingress = []networkingv1.NetworkPolicyIngressRule{{}}
	return admin.Update(ctx, deny, client.FieldOwner(manager))
}

// healed waits until a policy denies again and returns how long that took.
func healed(ctx context.Context, namespace string) (time.Duration, error) {
	start := time.Now()
	err := wait.PollUntilContextTimeout(ctx, time.Millisecond, patience, true, func(ctx context.Context) (bool, error) {
		deny := &networkingv1.NetworkPolicy{}
		err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: "security-baseline-default-deny"}, deny)
		return err == nil && len(deny.Spec.Ingress) == 0, err
	})
	return time.Since(start), err
}

// fight is how long a client keeps fighting, and how often it changes.
const (
	fight      = time.Minute
	fightEvery = 100 * time.Millisecond
	// elsewhereEvery is how often another namespace drifts meanwhile.
	elsewhereEvery = 2 * time.Second
)

func TestAFightStaysBoundedAndHurtsNobodyElse(t *testing.T) {
	t.Parallel()
	contested, others := newNamespace(t, "contested", nil), newNamespace(t, "other", nil)
	baseline := newBaseline(t, "all", denyAll())
	evaluated(t, contested.Name, baseline, v1alpha1.StateCompliant)
	evaluated(t, others.Name, baseline, v1alpha1.StateCompliant)

	ctx, stop := context.WithTimeout(t.Context(), fight)
	defer stop()
	var fighting sync.WaitGroup
	var closed struct {
		times   int
		longest time.Duration
	}
	fighting.Go(func() { closed.times, closed.longest = closings(t, ctx, contested.Name) })
	changes, before := 0, operatorWrites.Load()
	fighting.Go(func() {
		_ = wait.PollUntilContextCancel(ctx, fightEvery, true, func(ctx context.Context) (bool, error) {
			// It is beaten to it now and then.
			if err := open(ctx, contested.Name, "argocd-controller"); err == nil {
				changes++
			}
			return false, nil
		})
	})
	var elsewhere []time.Duration
	fighting.Go(func() {
		_ = wait.PollUntilContextCancel(ctx, elsewhereEvery, true, func(context.Context) (bool, error) {
			if err := open(t.Context(), others.Name, fmt.Sprintf("hasty-%d", len(elsewhere))); err != nil {
				return false, err
			}
			took, err := healed(t.Context(), others.Name)
			elsewhere = append(elsewhere, took)
			return false, err
		})
	})

	control := entry(t, contested.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateContested))
	equal(t, "the message", `"argocd-controller" keeps changing spec.ingress of NetworkPolicy/security-baseline-default-deny; it is put right each time, at most once a second. `+
		"Take it out of what Argo CD syncs or, where that cannot be, ignore /spec/ingress of NetworkPolicy security-baseline-default-deny under "+
		"spec.ignoreDifferences[].jsonPointers of the Application, with the sync option RespectIgnoreDifferences=true", control.Message)
	ready(t, baseline, hasCondition(v1alpha1.ConditionDrifted, metav1.ConditionTrue, v1alpha1.ReasonContested))
	ready(t, baseline, hasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonContested))
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	fighting.Wait()
	if _, err := healed(t.Context(), contested.Name); err != nil {
		t.Fatal(err)
	}

	t.Logf("%d changes in %s, put right %d times, open for %s at the longest; %d writes of the operator, other tests' included",
		changes, fight, closed.times, closed.longest, operatorWrites.Load()-before)
	if changes < 300 || closed.times < 30 || closed.times > 61 {
		t.Errorf("%d changes were put right %d times in %s", changes, closed.times, fight)
	}
	if closed.longest > 5*time.Second {
		t.Errorf("it was open for %s", closed.longest)
	}
	slices.Sort(elsewhere)
	t.Logf("elsewhere, %d changes were put right, half of them within %s, all within %s", len(elsewhere), elsewhere[len(elsewhere)/2], elsewhere[len(elsewhere)-1])
	if len(elsewhere) < 20 || elsewhere[len(elsewhere)/2] > 500*time.Millisecond {
		t.Errorf("elsewhere it took %v", elsewhere)
	}

	current := entry(t, contested.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateContested))
	if current.DriftsTotal < int64(closed.times)-1 {
		t.Errorf("%d drifts were counted", current.DriftsTotal)
	}
	drift := evaluated(t, contested.Name, baseline, v1alpha1.StateContested).Drifts
	if len(drift) != 1 || drift[0].Count < int64(closed.times)-1 || len(drift[0].PreviousDetectionTimes) != 2 {
		t.Errorf("%+v", drift)
	}
	for about, want := range map[string]string{contested.Name: control.Message, baseline.Name: "namespace " + contested.Name + ": " + control.Message} {
		events, err := eventsAbout(t.Context(), about)
		must(t, err)
		contests := slices.DeleteFunc(slices.Clone(events), func(event eventsv1.Event) bool { return event.Reason != "Contested" })
		if len(contests) != 1 || contests[0].Series != nil || contests[0].Note != want {
			t.Errorf("about %s: %+v", about, contests)
		}
		drifts := slices.DeleteFunc(events, func(event eventsv1.Event) bool {
			return event.Reason != "Drift" || !strings.Contains(event.Note, "argocd-controller")
		})
		if len(drifts) != 1 || drifts[0].Series != nil {
			t.Errorf("about %s: %d events of one fight: %+v", about, len(drifts), drifts)
		}
	}
}

// closings watches a policy and returns how often it was closed, and how long it
// was open at the longest.
func closings(t *testing.T, ctx context.Context, namespace string) (times int, longest time.Duration) {
	watcher, err := client.NewWithWatch(local.Admin, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	events, err := watcher.Watch(ctx, &networkingv1.NetworkPolicyList{}, client.InNamespace(namespace))
	if err != nil {
		t.Error(err)
		return 0, 0
	}
	var opened time.Time
	for event := range events.ResultChan() {
		deny, ok := event.Object.(*networkingv1.NetworkPolicy)
		switch {
		case !ok || deny.Name != "security-baseline-default-deny":
		case len(deny.Spec.Ingress) > 0 && opened.IsZero():
			opened = time.Now()
		case len(deny.Spec.Ingress) == 0 && !opened.IsZero():
			times++
			longest, opened = max(longest, time.Since(opened)), time.Time{}
		}
	}
	return times, longest
}

// It changes the operator's clock, so it runs alone.
func TestAContestEndsWhenTheOtherStops(t *testing.T) {
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", denyAll())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	for range 3 {
		entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateCompliant))
		must(t, open(t.Context(), namespace.Name, "kustomize-controller"))
		_, err := healed(t.Context(), namespace.Name)
		must(t, err)
	}
	control := entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateContested))
	equal(t, "the message", `"kustomize-controller" keeps changing spec.ingress of NetworkPolicy/security-baseline-default-deny; it is put right each time, at most once a second. `+
		"Take it out of what Flux syncs or, where that cannot be, ignore /spec/ingress of NetworkPolicy security-baseline-default-deny under "+
		"spec.ignore[].paths of the Kustomization (Flux 2.9 or later)", control.Message)

	ahead.Store(int64(4 * time.Minute))
	t.Cleanup(func() { ahead.Store(0) })
	touch(t, namespace.Name)
	entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, inState(v1alpha1.StateContested))
	ahead.Store(int64(6 * time.Minute))
	touch(t, namespace.Name)
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	ready(t, baseline, hasCondition(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonNoDrift))
}

// touch makes the operator evaluate a namespace.
func touch(t *testing.T, namespace string) {
	t.Helper()
	change(t, policy(t, namespace, "default-deny"), func(p *networkingv1.NetworkPolicy) {
		p.Annotations = map[string]string{"touched": time.Now().String()}
	})
}

// What came three times, but not in five minutes, is no contest.
func TestThreeDriftsInALongTimeAreNoContest(t *testing.T) {
	namespace := newNamespace(t, "a", nil)
	baseline := newBaseline(t, "all", denyAll())
	evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	t.Cleanup(func() { ahead.Store(0) })
	for i := range 4 {
		ahead.Store(int64(i) * int64(3*time.Minute))
		must(t, open(t.Context(), namespace.Name, "hasty"))
		_, err := healed(t.Context(), namespace.Name)
		must(t, err)
		current := entry(t, namespace.Name, baseline, v1alpha1.ControlNetwork, func(control *v1alpha1.ControlReport) error {
			if control.DriftsTotal != int64(i+1) {
				return errors.New("not counted yet")
			}
			return nil
		})
		equal(t, "state", v1alpha1.StateCompliant, current.State)
	}
}
