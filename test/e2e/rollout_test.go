package e2e

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	podsecurityapi "k8s.io/pod-security-admission/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

// whenClean asks for restricted where the pods meet it.
func whenClean() v1alpha1.SecurityBaselineSpec {
	return v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted", Rollout: v1alpha1.RolloutWhenClean}}
}

// levels waits until a namespace's labels say so: enforce, audit, warn.
func levels(t *testing.T, namespace string, enforce, audit, warn string) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		current := &corev1.Namespace{}
		if err := admin.Get(ctx, client.ObjectKey{Name: namespace}, current); err != nil {
			return err
		}
		got := [3]string{
			current.Labels[podsecurityapi.EnforceLevelLabel], current.Labels[podsecurityapi.AuditLevelLabel], current.Labels[podsecurityapi.WarnLevelLabel],
		}
		if got != [3]string{enforce, audit, warn} {
			return fmt.Errorf("%v", got)
		}
		return nil
	})
}

func TestALevelIsRaisedWhenTheRunningPodsMeetIt(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	clean := newNamespace(t, "clean", nil)
	deployment := deploy(t, namespace.Name, privilegedPod())
	deploy(t, clean.Name, restrictedPod())
	baseline := newBaseline(t, "all", whenClean())

	// Nothing that runs is refused its successor, but everybody is warned.
	levels(t, namespace.Name, "", "restricted", "restricted")
	control := entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))
	violating(t, control.PodSecurity, "restricted:latest", "host namespaces, privileged, allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile")
	equal(t, "the level that was reached", "", control.PodSecurity.Enforced)
	equal(t, "the message", fmt.Sprintf("running pods violate restricted:latest: %s: %s; until they are gone, the enforce label is left as it is",
		control.PodSecurity.Violations[0].Pods, control.PodSecurity.Violations[0].Reasons), control.Message)
	levels(t, clean.Name, "restricted", "restricted", "restricted")
	ready(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Compliant: 1, Violating: 1}}
		if status.Namespaces != want || status.ViolatingPodsTotal != 3 {
			return fmt.Errorf("%+v", status)
		}
		return hasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonViolationsFound)(status)
	})
	ready(t, baseline, hasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	ready(t, baseline, hasCondition(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonNoDrift))

	// It moves up by itself, as far as the pods allow.
	redeploy(t, deployment, baselinePod())
	levels(t, namespace.Name, "baseline", "restricted", "restricted")
	control = entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))
	equal(t, "the level that was reached", "baseline:latest", control.PodSecurity.Enforced)

	// And never down: not when somebody lowers it.
	change(t, namespace, func(n *corev1.Namespace) { n.Labels[podsecurityapi.EnforceLevelLabel] = "privileged" })
	levels(t, namespace.Name, "baseline", "restricted", "restricted")

	redeploy(t, deployment, restrictedPod())
	levels(t, namespace.Name, "restricted", "restricted", "restricted")
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "violations", 0, len(current.Controls[0].PodSecurity.Violations))
	equal(t, "drifts", int64(1), current.Summary.DriftsTotal) // the one above

	// Nor when pods come that should not have: somebody took the label away for
	// the moment it takes.
	eventually(t, func(ctx context.Context) error {
		open := &corev1.Namespace{}
		if err := admin.Get(ctx, client.ObjectKeyFromObject(namespace), open); err != nil {
			return err
		}
		delete(open.Labels, podsecurityapi.EnforceLevelLabel)
		if err := admin.Update(ctx, open); err != nil {
			return err
		}
		return admin.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "intruder"}, Spec: privilegedPod()})
	})
	levels(t, namespace.Name, "restricted", "restricted", "restricted")
	control = entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))
	equal(t, "the pod", "intruder", control.PodSecurity.Violations[0].Pods)
	equal(t, "the level that was reached", "restricted:latest", control.PodSecurity.Enforced)

	// A baseline that asks for less gets less.
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "baseline" })
	levels(t, namespace.Name, "baseline", "baseline", "baseline")
}

// Between the pods that were and those that are to be there may be none, as long as
// making them takes: a quota stands for what delays it.
func TestALevelIsNotRaisedInTheMiddleOfADeploymentsRollout(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	deployment := deploy(t, namespace.Name, privilegedPod())
	baseline := newBaseline(t, "all", whenClean())
	levels(t, namespace.Name, "", "restricted", "restricted")
	entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))

	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: list("pods", "0")},
	}
	must(t, admin.Create(t.Context(), quota))
	eventually(t, func(ctx context.Context) error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "another"}, Spec: baselinePod()}
		if err := admin.Create(ctx, pod, client.DryRunAll); !apierrors.IsForbidden(err) {
			return fmt.Errorf("the quota is not in force: %w", err)
		}
		return nil
	})
	redeploy(t, deployment, baselinePod())
	control := entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, func(control *v1alpha1.ControlReport) error {
		if control.PodSecurity == nil || len(control.PodSecurity.Violations) > 0 {
			return errors.New("the pods have not gone")
		}
		return nil
	})
	equal(t, "the level that was reached", "", control.PodSecurity.Enforced)
	equal(t, "the state", v1alpha1.StateViolating, control.State)
	equal(t, "the message", "whether all running pods meet restricted:latest is not known: Deployment/web is being rolled out", control.Message)
	levels(t, namespace.Name, "", "restricted", "restricted")

	must(t, admin.Delete(t.Context(), quota))
	levels(t, namespace.Name, "baseline", "restricted", "restricted")
	entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))

	// What wants no pods is not waited for.
	change(t, deployment, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) })
	levels(t, namespace.Name, "restricted", "restricted", "restricted")
}

// It makes the operator see old reports, so it runs alone.
func TestAnOldReportLowersNothing(t *testing.T) {
	namespace := newNamespace(t, "a", nil)
	deployment := deploy(t, namespace.Name, baselinePod())
	baseline := newBaseline(t, "all", whenClean())
	levels(t, namespace.Name, "baseline", "restricted", "restricted")
	entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))
	reportLag.Store(int64(200 * time.Millisecond))
	t.Cleanup(func() { reportLag.Store(0) })

	redeploy(t, deployment, restrictedPod())
	levels(t, namespace.Name, "restricted", "restricted", "restricted")
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 5*time.Second, true, func(ctx context.Context) (bool, error) {
		current := &corev1.Namespace{}
		err := admin.Get(ctx, client.ObjectKeyFromObject(namespace), current)
		return current.Labels[podsecurityapi.EnforceLevelLabel] != "restricted", err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it was lowered again (%v)", err)
	}
	current := evaluated(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	equal(t, "drifts", int64(0), current.Summary.DriftsTotal)
}

func TestRunningPodsThatALevelWouldRejectAreReported(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	deployment := deploy(t, namespace.Name, privilegedPod())
	baseline := newBaseline(t, "all", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	levels(t, namespace.Name, "baseline", "", "")
	control := entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))
	violating(t, control.PodSecurity, "baseline:latest", "host namespaces, privileged")

	// Another version of the same level is another question.
	change(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Version = "v1.31" })
	control = entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))
	violating(t, control.PodSecurity, "baseline:v1.31", "host namespaces, privileged")

	// So it is where the label was there before.
	must(t, admin.Delete(t.Context(), baseline))
	absent(t, namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
	change(t, namespace, func(n *corev1.Namespace) {
		n.Labels[podsecurityapi.EnforceLevelLabel], n.Labels[podsecurityapi.EnforceVersionLabel] = "restricted", "v1.24"
	})
	again := newBaseline(t, "again", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	control = entry(t, namespace.Name, again, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))
	violating(t, control.PodSecurity, "baseline:latest", "host namespaces, privileged")

	must(t, admin.Delete(t.Context(), deployment))
	evaluated(t, namespace.Name, again, v1alpha1.StateCompliant)
}

// The API server's answers hold 4,096 characters.
func TestItIsSaidWhereTheAnswerWasCut(t *testing.T) {
	t.Parallel()
	namespace := newNamespace(t, "a", nil)
	for kind := range 64 {
		// Pods that violate the level in the same way are one line of the answer.
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: fmt.Sprintf("%02d-%s", kind, strings.Repeat("long", 30))},
			Spec:       violatingPod(kind),
		}
		eventually(t, func(ctx context.Context) error { return admin.Create(ctx, pod) })
	}
	baseline := newBaseline(t, "all", whenClean())
	control := entry(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, inState(v1alpha1.StateViolating))
	equal(t, "what is said of the rest", "the API server's answer was too long and is cut", control.PodSecurity.Incomplete)
	if named := len(control.PodSecurity.Violations); named < 10 || named >= 64 {
		t.Errorf("%d violations", named)
	}
}

// violatingPod makes one of 64 kinds of pods that violate the level restricted,
// each for other reasons.
func violatingPod(kind int) corev1.PodSpec {
	pod := baselinePod()
	container := &pod.Containers[0]
	container.SecurityContext = &corev1.SecurityContext{}
	for bit, violate := range []func(){
		func() { pod.HostNetwork = true },
		func() { container.SecurityContext.RunAsUser = ptr.To[int64](0) },
		func() { container.SecurityContext.Privileged = new(true) },
		func() {
			pod.Volumes = []corev1.Volume{{Name: "v", VolumeSource: corev1.VolumeSource{HostPath: &corev1.HostPathVolumeSource{Path: "/"}}}}
		},
		func() { container.Ports = []corev1.ContainerPort{{ContainerPort: 80, HostPort: 80}} },
		func() {
			pod.SecurityContext = &corev1.PodSecurityContext{SELinuxOptions: &corev1.SELinuxOptions{User: "system_u"}}
		},
	} {
		if kind&(1<<bit) != 0 {
			violate()
		}
	}
	return pod
}
