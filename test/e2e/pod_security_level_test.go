package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	podsecurityapi "k8s.io/pod-security-admission/api"
	"k8s.io/utils/ptr"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// whenCleanSpec declares the level restricted where the running pods meet it.
func whenCleanSpec() v1alpha1.SecurityBaselineSpec {
	return v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted", Rollout: v1alpha1.RolloutWhenClean}}
}

// waitForLevels waits until a namespace has these pod security levels; an empty level
// stands for a missing label.
func waitForLevels(t *testing.T, namespace string, enforce, audit, warn string) {
	t.Helper()
	env.WaitForLabels(t, namespace, map[string]string{
		podsecurityapi.EnforceLevelLabel: enforce, podsecurityapi.AuditLevelLabel: audit, podsecurityapi.WarnLevelLabel: warn,
	})
}

// neverLevel fails the test if the enforced level of a namespace differs from want within a few
// seconds, however shortly.
func neverLevel(t *testing.T, namespace, want string) {
	t.Helper()
	changes, err := env.WatchClient(t).Watch(t.Context(), &corev1.NamespaceList{}, client.MatchingFields{"metadata.name": namespace})
	testutil.Must(t, err)
	defer changes.Stop()
	testutil.Never(t, 5*time.Second, func(context.Context) error {
		for {
			select {
			case change := <-changes.ResultChan():
				current, ok := change.Object.(*corev1.Namespace)
				if !ok {
					return fmt.Errorf("the watch of namespace %s ended: %+v", namespace, change)
				}
				if got := current.Labels[podsecurityapi.EnforceLevelLabel]; got != want {
					return fmt.Errorf("the enforced level of %s: got %q, want %q all the time", namespace, got, want)
				}
			default:
				return nil
			}
		}
	})
}

// reachedLevel checks the level that a control has reached.
func reachedLevel(want string) func(*v1alpha1.ControlReport) error {
	return func(control *v1alpha1.ControlReport) error {
		if control.PodSecurity == nil || control.PodSecurity.Enforced != want {
			return fmt.Errorf("the level that was reached: got %+v, want %q", control.PodSecurity, want)
		}
		return nil
	}
}

// hasPodViolations checks that the three pods of a Deployment, and no others, violate a
// level.
func hasPodViolations(level, reasons string) func(*v1alpha1.ControlReport) error {
	return func(control *v1alpha1.ControlReport) error {
		pods := control.PodSecurity
		if pods == nil || pods.Level != level || len(pods.Violations) != 1 || pods.Incomplete != "" {
			return fmt.Errorf("pods: got %+v, want one violation of %s", pods, level)
		}
		violation := pods.Violations[0]
		if !strings.HasPrefix(violation.Pods, "web-") || !strings.HasSuffix(violation.Pods, "(and 2 other pods)") || violation.Reasons != reasons {
			return fmt.Errorf("violation: got %+v, want three pods web-... with the reasons %q", violation, reasons)
		}
		return nil
	}
}

func TestPodSecurityLevel_RaisedWhenRunningPodsMeetIt(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	clean := env.NewNamespace(t, "clean", nil)
	deployment := createDeployment(t, namespace.Name, privilegedPod())
	createDeployment(t, clean.Name, restrictedPod())
	baseline := env.NewBaseline(t, "all", whenCleanSpec())

	// Running pods can be replaced, but the API server warns of them.
	waitForLevels(t, namespace.Name, "", "restricted", "restricted")
	const reasons = "host namespaces, privileged, allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"
	control := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity,
		testutil.InState(v1alpha1.StateViolating), hasPodViolations("restricted:latest", reasons), reachedLevel(""))
	testutil.Equal(t, "the message", control.Message, fmt.Sprintf("running pods violate restricted:latest: %s: %s; until they are gone, the enforce label stays as it is",
		control.PodSecurity.Violations[0].Pods, control.PodSecurity.Violations[0].Reasons))
	waitForLevels(t, clean.Name, "restricted", "restricted", "restricted")
	env.WaitForStatus(t, baseline, func(status v1alpha1.SecurityBaselineStatus) error {
		want := v1alpha1.NamespaceCounts{Governed: 2, StateCounts: v1alpha1.StateCounts{Compliant: 1, Violating: 1}}
		if status.Namespaces != want || status.ViolatingPodsTotal != 3 {
			return fmt.Errorf("got %+v and %d violating pods, want %+v and 3", status.Namespaces, status.ViolatingPodsTotal, want)
		}
		return testutil.HasCondition(v1alpha1.ConditionCompliant, metav1.ConditionFalse, v1alpha1.ReasonViolationsFound)(status)
	})
	env.WaitForStatus(t, baseline,
		testutil.HasCondition(v1alpha1.ConditionReady, metav1.ConditionTrue, v1alpha1.ReasonEvaluated),
		testutil.HasCondition(v1alpha1.ConditionDrifted, metav1.ConditionFalse, v1alpha1.ReasonNoDrift))

	// The operator raises the level as far as the pods allow.
	updatePodSpec(t, deployment, baselinePod())
	waitForLevels(t, namespace.Name, "baseline", "restricted", "restricted")
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating), reachedLevel("baseline:latest"))

	// The operator keeps the level when a client lowers it.
	update(t, namespace, func(n *corev1.Namespace) { n.Labels[podsecurityapi.EnforceLevelLabel] = "privileged" })
	waitForLevels(t, namespace.Name, "baseline", "restricted", "restricted")

	updatePodSpec(t, deployment, restrictedPod())
	waitForLevels(t, namespace.Name, "restricted", "restricted", "restricted")
	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(1)) // the lowered label
	testutil.Equal(t, "violations", len(current.Controls[0].PodSecurity.Violations), 0)

	// The operator keeps the level when a pod violates it, which was created while a client
	// had removed the label.
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
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity,
		testutil.InState(v1alpha1.StateViolating), reachedLevel("restricted:latest"), func(control *v1alpha1.ControlReport) error {
			if violations := control.PodSecurity.Violations; len(violations) == 0 || violations[0].Pods != "intruder" {
				return fmt.Errorf("violations: got %+v, want the pod intruder", violations)
			}
			return nil
		})

	// The level follows a baseline that declares a lower one.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "baseline" })
	waitForLevels(t, namespace.Name, "baseline", "baseline", "baseline")
}

// TestPodSecurityLevel_NotRaisedDuringDeploymentRollout keeps the new pods of a Deployment
// from being created, by a quota. Until then no pod violates the level.
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
			return fmt.Errorf("creating a pod: got %w, want Forbidden by the quota", err)
		}
		return nil
	})
	updatePodSpec(t, deployment, baselinePod())
	control := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, func(control *v1alpha1.ControlReport) error {
		if control.PodSecurity == nil || len(control.PodSecurity.Violations) > 0 {
			return fmt.Errorf("pods: got %+v, want no violations", control.PodSecurity)
		}
		return nil
	})
	testutil.Equal(t, "the level that was reached", control.PodSecurity.Enforced, "")
	testutil.Equal(t, "the state", control.State, v1alpha1.StateViolating)
	testutil.Equal(t, "the message", control.Message, "it is unknown whether all running pods meet restricted:latest: Deployment/web is being rolled out")
	waitForLevels(t, namespace.Name, "", "restricted", "restricted")
	neverLevel(t, namespace.Name, "")

	testutil.Must(t, env.Admin.Delete(t.Context(), quota))
	waitForLevels(t, namespace.Name, "baseline", "restricted", "restricted")
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))

	// The operator does not wait for a Deployment without replicas.
	update(t, deployment, func(d *appsv1.Deployment) { d.Spec.Replicas = new(int32(0)) })
	waitForLevels(t, namespace.Name, "restricted", "restricted", "restricted")
}

// TestPodSecurityLevel_NotLoweredWhenReportsAreDelayed delays the reports that the
// operator sees.
func TestPodSecurityLevel_NotLoweredWhenReportsAreDelayed(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	deployment := createDeployment(t, namespace.Name, baselinePod())
	baseline := env.NewBaseline(t, "all", whenCleanSpec())
	waitForLevels(t, namespace.Name, "baseline", "restricted", "restricted")
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating))
	env.delayReports(t, 200*time.Millisecond)

	updatePodSpec(t, deployment, restrictedPod())
	waitForLevels(t, namespace.Name, "restricted", "restricted", "restricted")
	neverLevel(t, namespace.Name, "restricted")
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, testutil.HasDrifts(0))
}

func TestPodSecurityLevel_ViolatingPodsAreReported(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	deployment := createDeployment(t, namespace.Name, privilegedPod())
	baseline := env.NewBaseline(t, "all", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	waitForLevels(t, namespace.Name, "baseline", "", "")
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity,
		testutil.InState(v1alpha1.StateViolating), hasPodViolations("baseline:latest", "host namespaces, privileged"))

	// The pods are evaluated again at another version of the level.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Version = "v1.31" })
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity,
		testutil.InState(v1alpha1.StateViolating), hasPodViolations("baseline:v1.31", "host namespaces, privileged"))

	// Violations are reported too if the label existed before the baseline.
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	env.WaitForNotFound(t, namespace.Name, v1alpha1.ReportName, &v1alpha1.BaselineReport{})
	update(t, namespace, func(n *corev1.Namespace) {
		n.Labels[podsecurityapi.EnforceLevelLabel] = "restricted"
		n.Labels[podsecurityapi.EnforceVersionLabel] = "v1.24"
	})
	second := env.NewBaseline(t, "again", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	env.WaitForControl(t, namespace.Name, second, v1alpha1.ControlPodSecurity,
		testutil.InState(v1alpha1.StateViolating), hasPodViolations("baseline:latest", "host namespaces, privileged"))

	testutil.Must(t, env.Admin.Delete(t.Context(), deployment))
	env.WaitForReport(t, namespace.Name, second, v1alpha1.StateCompliant)
}

// TestPodSecurityLevel_ReportsTruncatedAnswer has more pods violate the level than the API
// server names: its answer has at most 4,096 characters.
func TestPodSecurityLevel_ReportsTruncatedAnswer(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	for kind := range 64 {
		// The API server puts pods that violate the level in the same way into one line.
		pod := &corev1.Pod{
			ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: fmt.Sprintf("%02d-%s", kind, strings.Repeat("long", 30))},
			Spec:       violatingPod(kind),
		}
		testutil.WaitFor(t, func(ctx context.Context) error { return env.Admin.Create(ctx, pod) })
	}
	baseline := env.NewBaseline(t, "all", whenCleanSpec())
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateViolating), func(control *v1alpha1.ControlReport) error {
		if named := len(control.PodSecurity.Violations); named < 10 || named >= 64 {
			return fmt.Errorf("violations: got %d, want at least 10 and fewer than 64", named)
		}
		return testutil.CheckEqual("incomplete", control.PodSecurity.Incomplete, "the API server truncated its warnings, so more pods may violate the level")
	})
}

// violatingPod returns one of 64 pods that violate the level restricted, each for other
// reasons.
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

func TestPodSecurityLevel_StricterLevelIsKept(t *testing.T) {
	t.Parallel()
	const (
		enforce = "pod-security.kubernetes.io/enforce"
		version = "pod-security.kubernetes.io/enforce-version"
	)
	namespace := env.NewNamespace(t, "a", map[string]string{enforce: "restricted"})
	baseline := env.NewBaseline(t, "all", v1alpha1.SecurityBaselineSpec{
		PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline", Version: "v1.30"},
	})
	waitForLevel := func(t *testing.T, wantLevel, wantVersion string) {
		t.Helper()
		env.WaitForLabels(t, namespace.Name, map[string]string{enforce: wantLevel, version: wantVersion})
	}

	current := env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	waitForLevel(t, "restricted", "")
	testutil.Equal(t, "findings", current.Controls[0].Findings, []string{"enforce: the namespace keeps restricted, which is stricter than the required level baseline"})

	// Without the owner's level, the baseline's level applies.
	update(t, namespace, func(n *corev1.Namespace) { delete(n.Labels, enforce) })
	waitForLevel(t, "baseline", "v1.30")

	// A stricter level that the operator set is not kept.
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "restricted" })
	waitForLevel(t, "restricted", "v1.30")
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) { b.Spec.PodSecurity.Enforce = "baseline" })
	waitForLevel(t, "baseline", "v1.30")

	// The owner sets a stricter level, and later a weaker one.
	update(t, namespace, func(n *corev1.Namespace) { n.Labels[enforce] = "restricted" })
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant, func(current *v1alpha1.BaselineReport) error {
		if got := len(current.Controls[0].Findings); got != 1 {
			return fmt.Errorf("findings: got %d, want 1: %+v", got, current.BaselineReportData)
		}
		return nil
	})
	waitForLevel(t, "restricted", "v1.30")
	update(t, namespace, func(n *corev1.Namespace) { n.Labels[enforce] = "privileged" })
	waitForLevel(t, "baseline", "v1.30")
}
