package e2e

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"testing"

	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

// labelsAtCreation returns the labels that a namespace has at its creation, without creating
// it.
func labelsAtCreation(t *testing.T, name string, labels map[string]string) map[string]string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: testutil.Labels(t)}}
	maps.Copy(namespace.Labels, labels)
	testutil.Must(t, env.Admin.Create(t.Context(), namespace, client.DryRunAll))
	return namespace.Labels
}

// waitForLabelAtCreation waits until new namespaces have a label at creation.
func waitForLabelAtCreation(t *testing.T, key, value string) {
	t.Helper()
	testutil.WaitFor(t, func(context.Context) error {
		if labels := labelsAtCreation(t, testutil.Name(t)+"-probe", nil); labels[key] != value {
			return fmt.Errorf("labels at creation: got %v, want %s=%s", labels, key, value)
		}
		return nil
	})
}

const (
	enforceLabel   = "pod-security.kubernetes.io/enforce"
	enforceVersion = "pod-security.kubernetes.io/enforce-version"
)

// TestNewNamespaces_DenyPrivilegedPodsFromCreation creates a privileged pod in each new namespace
// as early as possible.
func TestNewNamespaces_DenyPrivilegedPodsFromCreation(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionNewNamespacesHardened, metav1.ConditionTrue, v1alpha1.ReasonPolicyReady))
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	createPodsInNewNamespaces(t, privilegedPod(), "violates PodSecurity")
}

// TestNewNamespaces_DenyPrivilegedPodsWhileOperatorIsStopped checks that the API server alone
// labels new namespaces.
func TestNewNamespaces_DenyPrivilegedPodsWhileOperatorIsStopped(t *testing.T) {
	env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	env.stopOperator(t)
	for i := range 20 {
		namespace := env.NewNamespace(t, fmt.Sprint(i), nil)
		env.WaitForServiceAccount(t, namespace.Name)
		err := env.Admin.Create(t.Context(), newPod(namespace.Name, privilegedPod()))
		testutil.Must(t, testutil.CheckForbidden(err, "violates PodSecurity"))
	}
}

// TestNewNamespaces_DenyPodsBeforeDefaultDenyPolicy has network.waitForDefaultDeny, which
// concerns every pod.
func TestNewNamespaces_DenyPodsBeforeDefaultDenyPolicy(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true}})
	// The labels and the denial are two policies: the API server must have read both.
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionNewNamespacesHardened, metav1.ConditionTrue, v1alpha1.ReasonPolicyReady))
	env.WaitForReady(t, baseline)
	waitForLabelAtCreation(t, v1alpha1.GoverningBaselineLabel(v1alpha1.ControlNetwork), testutil.Name(t)+"-b")
	createPodsInNewNamespaces(t, baselinePod(), "does not have its default-deny NetworkPolicy yet; try again in a few seconds")
}

// createPodsInNewNamespaces creates namespaces, and in each, from a second client, pods until
// one is denied with a message. If that is about the default-deny policy, it creates pods
// until one is admitted: by then the namespace must have the policy.
func createPodsInNewNamespaces(t *testing.T, pod corev1.PodSpec, message string) {
	const times = 200
	attacker, err := client.New(env.Cluster.Admin, client.Options{Scheme: env.Admin.Scheme()})
	testutil.Must(t, err)
	waitsForPolicy := strings.Contains(message, "default-deny")
	denied := 0
	for i := range times {
		name := fmt.Sprintf("%s-%d", testutil.Name(t), i)
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: testutil.Labels(t)}}
		created := make(chan error, 1)
		// Create decodes into the namespace, so nothing may read it before.
		go func() { created <- env.Admin.Create(t.Context(), namespace) }()
		testutil.WaitFor(t, func(ctx context.Context) error {
			err := attacker.Create(ctx, newPod(name, pod))
			switch {
			case err == nil && !waitsForPolicy:
				t.Fatalf("creating a pod in namespace %s: got no error, want Forbidden", name)
			case err == nil:
				key := client.ObjectKey{Namespace: name, Name: "security-baseline-default-deny"}
				testutil.Must(t, env.Admin.Get(ctx, key, &networkingv1.NetworkPolicy{}))
				return nil
			case strings.Contains(err.Error(), message):
				denied++
				if waitsForPolicy {
					return err
				}
				return nil
			case apierrors.IsNotFound(err), strings.Contains(err.Error(), "serviceaccount"):
				// The namespace or its ServiceAccount does not exist yet.
				return err
			}
			t.Fatalf("creating a pod in namespace %s: got %v, want an error with %q", name, err, message)
			return nil
		})
		testutil.Must(t, <-created)
		testutil.Must(t, env.Admin.Delete(t.Context(), namespace))
	}
	t.Logf("%d pods were denied in %d namespaces", denied, times)
	if !waitsForPolicy && denied != times {
		t.Errorf("denied pods: got %d, want %d", denied, times)
	}
}

func TestNewNamespaces_LabelsAtCreation(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{
		PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline", Warn: "restricted", Version: "v1.30"},
		Network:     &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true},
		Images:      &v1alpha1.Images{RequireDigest: true}, Workloads: &v1alpha1.Workloads{RequireLimits: true}, Guard: &v1alpha1.Guard{},
		ExcludeNamespaces: []string{testutil.Name(t) + "-excluded"},
		Exceptions: []v1alpha1.Exception{{
			Name: "images", Namespaces: []string{testutil.Name(t) + "-excepted"}, Controls: []v1alpha1.ControlName{"Images"}, Reason: "bring their own images",
		}},
	})
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	own := map[string]string{
		"podsecurity.securitybaseline.io/baseline": baseline.Name, "network.securitybaseline.io/baseline": baseline.Name,
		"images.securitybaseline.io/baseline": baseline.Name, "workloads.securitybaseline.io/baseline": baseline.Name,
		"guard.securitybaseline.io/baseline": baseline.Name,
		enforceLabel:                         "baseline", enforceVersion: "v1.30",
		"pod-security.kubernetes.io/warn": "restricted", "pod-security.kubernetes.io/warn-version": "v1.30",
	}
	with := func(labels map[string]string, drop ...string) map[string]string {
		all := maps.Clone(own)
		maps.Copy(all, labels)
		for _, key := range drop {
			delete(all, key)
		}
		return all
	}
	for _, test := range []struct {
		name, namespace string
		stated, want    map[string]string
	}{
		{name: "nothing stated", want: own},
		{name: "a weaker level", stated: map[string]string{enforceLabel: "privileged"}, want: own},
		{name: "invalid levels", stated: map[string]string{enforceLabel: "none", enforceVersion: "x"}, want: own},
		{name: "a stricter level stays", stated: map[string]string{enforceLabel: "restricted"},
			want: with(map[string]string{enforceLabel: "restricted"}, enforceVersion)},
		{name: "a stricter level with a newer version stays", stated: map[string]string{enforceLabel: "restricted", enforceVersion: "v1.31"},
			want: with(map[string]string{enforceLabel: "restricted", enforceVersion: "v1.31"})},
		{name: "an older version is replaced", stated: map[string]string{enforceLabel: "restricted", enforceVersion: "v1.4"},
			want: with(map[string]string{enforceLabel: "restricted"})},
		{name: "the label of the default-deny policy is removed", stated: map[string]string{v1alpha1.DefaultDenyReadyLabel: "true"}, want: own},
		{name: "the label of another baseline", stated: map[string]string{"images.securitybaseline.io/baseline": "other"}, want: own},
		{name: "other labels stay", stated: map[string]string{"a/b": "c"}, want: with(map[string]string{"a/b": "c"})},
		{name: "excluded", namespace: "excluded", want: map[string]string{}},
		{name: "excepted", namespace: "excepted", want: with(nil, "images.securitybaseline.io/baseline")},
	} {
		t.Run(test.name, func(t *testing.T) {
			name := "a"
			if test.namespace != "" {
				name = test.namespace
			}
			labels := labelsAtCreationIn(t, baseline, name, test.stated)
			testutil.Equal(t, "labels", labels, test.want)
		})
	}
	t.Run("a protected namespace", func(t *testing.T) {
		namespace := &corev1.Namespace{}
		testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKey{Name: "kube-public"}, namespace))
		namespace.ObjectMeta = metav1.ObjectMeta{Name: "kube-public-2"}
		testutil.Must(t, env.Admin.Create(t.Context(), namespace, client.DryRunAll))
		testutil.Equal(t, "labels", namespace.Labels, map[string]string{corev1.LabelMetadataName: "kube-public-2"})
	})
}

// TestNewNamespaces_LabeledDespiteForgedNameLabel lets the API server generate the name. Until
// then the client chooses the value of the label that holds the name.
func TestNewNamespaces_LabeledDespiteForgedNameLabel(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	update(t, baseline, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{
			{Key: corev1.LabelMetadataName, Operator: metav1.LabelSelectorOpNotIn, Values: []string{testutil.Name(t) + "-not"}},
		}
		b.Spec.ExcludeNamespaces = []string{testutil.Name(t) + "-excluded"}
	})
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	testutil.WaitFor(t, func(context.Context) error {
		if labels := labelsAtCreation(t, testutil.Name(t)+"-not", nil); labels[enforceLabel] != "" {
			return fmt.Errorf("labels at creation of a namespace that is not selected: got %v, want no level", labels)
		}
		return nil
	})
	for _, forged := range []string{"kube-system", testutil.Name(t) + "-not", testutil.Name(t) + "-excluded", ""} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: testutil.Name(t) + "-", Labels: testutil.Labels(t)}}
		namespace.Labels[corev1.LabelMetadataName] = forged
		testutil.Must(t, env.Admin.Create(t.Context(), namespace, client.DryRunAll))
		testutil.Equal(t, "the level with the name label "+forged, namespace.Labels[enforceLabel], "baseline")
	}
	named := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-named", Labels: testutil.Labels(t)}}
	named.Labels[corev1.LabelMetadataName] = "kube-system"
	testutil.Must(t, env.Admin.Create(t.Context(), named, client.DryRunAll))
	testutil.Equal(t, "the level of a named namespace", named.Labels[enforceLabel], "baseline")
}

// TestNewNamespaces_RejectedWhenLabelingIsTooExpensive has more labels than the policy can read
// within its cost limit.
func TestNewNamespaces_RejectedWhenLabelingIsTooExpensive(t *testing.T) {
	t.Parallel()
	env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-a", Labels: testutil.Labels(t)}}
	for i := range 100_000 {
		namespace.Labels[fmt.Sprintf("l%d", i)] = ""
	}
	if err := env.Admin.Create(t.Context(), namespace, client.DryRunAll); err == nil && namespace.Labels[enforceLabel] != "baseline" {
		t.Error("the namespace was created without the level, want it to be denied or labeled")
	}
}

// labelsAtCreationIn returns the labels at creation of a namespace that a baseline of another
// test or subtest selects, without those that it selects by and that of the name.
func labelsAtCreationIn(t *testing.T, baseline *v1alpha1.SecurityBaseline, name string, stated map[string]string) map[string]string {
	t.Helper()
	selected := map[string]string{}
	for key, value := range baseline.Spec.NamespaceSelector.MatchLabels {
		selected[key] = string(value)
	}
	prefix := strings.TrimSuffix(baseline.Name, "-b")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: prefix + "-" + name, Labels: map[string]string{}}}
	maps.Copy(namespace.Labels, selected)
	maps.Copy(namespace.Labels, stated)
	testutil.Must(t, env.Admin.Create(t.Context(), namespace, client.DryRunAll))
	for key := range selected {
		delete(namespace.Labels, key)
	}
	delete(namespace.Labels, corev1.LabelMetadataName)
	return namespace.Labels
}

// TestNewNamespaces_LabeledByGoverningBaseline has two baselines that select a namespace.
func TestNewNamespaces_LabeledByGoverningBaseline(t *testing.T) {
	t.Parallel()
	low := env.NewBaseline(t, "low", v1alpha1.SecurityBaselineSpec{
		PodSecurity: &v1alpha1.PodSecurity{Enforce: "restricted"}, Images: &v1alpha1.Images{RequireDigest: true},
	})
	high := env.NewBaseline(t, "high", v1alpha1.SecurityBaselineSpec{Priority: 1, PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	update(t, high, func(b *v1alpha1.SecurityBaseline) {
		b.Spec.NamespaceSelector.MatchExpressions = []v1alpha1.LabelSelectorRequirement{{Key: "lab", Operator: metav1.LabelSelectorOpNotIn, Values: []string{"no"}}}
	})
	testutil.WaitFor(t, func(context.Context) error {
		both := labelsAtCreation(t, testutil.Name(t)+"-a", nil)
		only := labelsAtCreation(t, testutil.Name(t)+"-a", map[string]string{"lab": "no"})
		if both[enforceLabel] != "baseline" || both["podsecurity.securitybaseline.io/baseline"] != high.Name || both["images.securitybaseline.io/baseline"] != low.Name ||
			only[enforceLabel] != "restricted" || only["podsecurity.securitybaseline.io/baseline"] != low.Name {
			return fmt.Errorf("labels at creation: got %v and %v, want the levels baseline of %s and restricted of %s", both, only, high.Name, low.Name)
		}
		return nil
	})
	testutil.Equal(t, "the level of each of 20 namespaces", func() string {
		for range 20 {
			if level := labelsAtCreation(t, testutil.Name(t)+"-a", nil)[enforceLabel]; level != "baseline" {
				return level
			}
		}
		return "baseline"
	}(), "baseline")
}
