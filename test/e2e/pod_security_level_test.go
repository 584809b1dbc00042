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
	"github.com/securitybaseline/operator/test/testutil"
)

// whenClean asks for restricted where the pods meet it.
func whenCleanSpec() v1alpha1.SecurityBaselineSpec {
	return v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted", Rollout: v1alpha1.RolloutWhenClean}}
}

// levels waits until a namespace's labels say so: enforce, audit, warn.
func waitForLevels(t *testing.T, namespace string, enforce, audit, warn string) {
	t.Helper()
	testutil.WaitFor(t, func(ctx context.Context) error {
		current := &corev1.Namespace{}
		if err := env.Admin.Get(ctx, client.ObjectKey{Name: namespace}, current); err != nil {
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

func TestPodSecurityLevel_RaisedWhenRunningPodsMeetIt(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	clean := env.NewNamespace(t, "clean", nil)
	deployment := createDeployment(t, namespace.Name, privilegedPod())
	createDeployment(t, clean.Name, restrictedPod())
	baseline := env.NewBaseline(t, "all", whenCleanSpec())

	// Nothing that runs is refused its successor, but everybody is warned.
	waitForLevels(t, namespace.Name, "", "restricted", "restricted")
	control := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))
	requirePodViolations(t, control.PodSecurity, "restricted:latest", "host namespaces, privileged, allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile")
	testutil.Equal(t, "the level that was reached", "", control.PodSecurity.Enforced)
	testutil.Equal(t, "the message", fmt.Sprintf("running pods violate restricted:latest: %s: %s; until they are gone, the enforce label is left as it is",
		control.PodSecurity.Violations[0].Pods, control.PodSecurity.Violations[0].Reasons), control.Message)
	waitForLevels(t, clean.Name, "restricted", "restricted", "restricted")
	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Compliant: 1, Violating: 1}}
		if status.Namespaces != want || status.ViolatingPodsTotal != 3 {
			return fmt.Errorf("%+v", status)
		}
		return testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonViolationsFound)(status)
	})
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated))
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonNoDrift))

	// It moves up by itself, as far as the pods allow.
	updatePodSpec(t, deployment, baselinePod())
	waitForLevels(t, namespace.Name, "baseline", "restricted", "restricted")
	control = env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))
	testutil.Equal(t, "the level that was reached", "baseline:latest", control.PodSecurity.Enforced)

	// And never down: not when somebody lowers it.
	update(t, namespace, func(n *corev1.Namespace) { n.Labels[podsecurityapi.EnforceLevelLabel] = "privileged" })
	waitForLevels(t, namespace.Name, "baseline", "restricted", "restricted")

	updatePodSpec(t, deployment, restrictedPod())
	waitForLevels(t, namespace.Name, "restricted", "restricted", "restricted")
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "violations", 0, len(current.Controls[0].PodSecurity.Violations))
	testutil.Equal(t, "drifts", int64(1), current.Summary.DriftsTotal) // the one above

	// Nor when pods come that should not have: somebody took the label away for
	// the moment it takes.
	testutil.WaitFor(t, func(ctx context.Context) error {
		open := &corev1.Namespace{}
		if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), open); err != nil {
			return err
		}
		delete(open.Labels, podsecurityapi.EnforceLevelLabel)
		if err := env.Admin.Update(ctx, open); err != nil {
			return err
		}
		return env.Admin.Create(ctx, &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "intruder"}, Spec: privilegedPod()})
	})
	waitForLevels(t, namespace.Name, "restricted", "restricted", "restricted")
	control = env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))
	testutil.Equal(t, "the pod", "intruder", control.PodSecurity.Violations[0].Pods)
	testutil.Equal(t, "the level that was reached", "restricted:latest", control.PodSecurity.Enforced)

	// A baseline that asks for less gets less.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "baseline" })
	waitForLevels(t, namespace.Name, "baseline", "baseline", "baseline")
}

// Between the pods that were and those that are to be there may be none, as long as
// making them takes: a quota stands for what delays it.
func TestPodSecurityLevel_NotRaisedDuringDeploymentRollout(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	deployment := createDeployment(t, namespace.Name, privilegedPod())
	baseline := env.NewBaseline(t, "all", whenCleanSpec())
	waitForLevels(t, namespace.Name, "", "restricted", "restricted")
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))

	quota := &corev1.ResourceQuota{
		ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "none"},
		Spec:       corev1.ResourceQuotaSpec{Hard: resourceList("pods", "0")},
	}
	testutil.Must(t, env.Admin.Create(t.Context(), quota))
	testutil.WaitFor(t, func(ctx context.Context) error {
		pod := &corev1.Pod{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "another"}, Spec: baselinePod()}
		if err := env.Admin.Create(ctx, pod, client.DryRunAll); !apierrors.IsForbidden(err) {
			return fmt.Errorf("the quota is not in force: %w", err)
		}
		return nil
	})
	updatePodSpec(t, deployment, baselinePod())
	control := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, func(control *v1alpha1.ControlReport) error {
		if control.PodSecurity == nil || len(control.PodSecurity.Violations) > 0 {
			return errors.New("the pods have not gone")
		}
		return nil
	})
	testutil.Equal(t, "the level that was reached", "", control.PodSecurity.Enforced)
	testutil.Equal(t, "the state", v1alpha1.StateViolating, control.State)
	testutil.Equal(t, "the message", "whether all running pods meet restricted:latest is not known: Deployment/web is being rolled out", control.Message)
	waitForLevels(t, namespace.Name, "", "restricted", "restricted")

	testutil.Must(t, env.Admin.Delete(t.Context(), quota))
	waitForLevels(t, namespace.Name, "baseline", "restricted", "restricted")
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))

	// What wants no pods is not waited for.
	update(t, deployment, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) })
	waitForLevels(t, namespace.Name, "restricted", "restricted", "restricted")
}

// It makes the operator see old reports, so it runs alone.
func TestPodSecurityLevel_NotLoweredWhenReportsAreDelayed(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	deployment := createDeployment(t, namespace.Name, baselinePod())
	baseline := env.NewBaseline(t, "all", whenCleanSpec())
	waitForLevels(t, namespace.Name, "baseline", "restricted", "restricted")
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))
	env.delayReports(t, 200*time.Millisecond)

	updatePodSpec(t, deployment, restrictedPod())
	waitForLevels(t, namespace.Name, "restricted", "restricted", "restricted")
	err := wait.PollUntilContextTimeout(t.Context(), time.Millisecond, 5*time.Second, true, func(ctx context.Context) (bool, error) {
		current := &corev1.Namespace{}
		err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), current)
		return current.Labels[podsecurityapi.EnforceLevelLabel] != "restricted", err
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("it was lowered again (%v)", err)
	}
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.Equal(t, "drifts", int64(0), current.Summary.DriftsTotal)
}

func TestPodSecurityLevel_ViolatingPodsAreReported(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	deployment := createDeployment(t, namespace.Name, privilegedPod())
	baseline := env.NewBaseline(t, "all", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	waitForLevels(t, namespace.Name, "baseline", "", "")
	control := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))
	requirePodViolations(t, control.PodSecurity, "baseline:latest", "host namespaces, privileged")

	// Another version of the same level is another question.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Version = "v1.31" })
	control = env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))
	requirePodViolations(t, control.PodSecurity, "baseline:v1.31", "host namespaces, privileged")

	// So it is where the label was there before.
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
	update(t, namespace, func(n *corev1.Namespace) {
		n.Labels[podsecurityapi.EnforceLevelLabel], n.Labels[podsecurityapi.EnforceVersionLabel] = "restricted", "v1.24"
	})
	again := env.NewBaseline(t, "again", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	control = env.WaitForControl(t, namespace.Name, again, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))
	requirePodViolations(t, control.PodSecurity, "baseline:latest", "host namespaces, privileged")

	testutil.Must(t, env.Admin.Delete(t.Context(), deployment))
	env.WaitForReport(t, namespace.Name, again, v1alpha1.StateCompliant)
}

// The API server's answers hold 4,096 characters.
func TestPodSecurityLevel_ReportsTruncatedAnswer(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	for kind := range 64 {
		// Pods that violate the level in the same way are one line of the answer.
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: fmt.Sprintf("%02d-%s", kind, strings.Repeat("long", 30))},
			Spec:       violatingPod(kind),
		}
		testutil.WaitFor(t, func(ctx context.Context) error { return env.Admin.Create(ctx, pod) })
	}
	baseline := env.NewBaseline(t, "all", whenCleanSpec())
	control := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))
	testutil.Equal(t, "what is said of the rest", "the API server's answer was too long and is cut", control.PodSecurity.Incomplete)
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
