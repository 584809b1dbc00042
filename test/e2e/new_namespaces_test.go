package e2e

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforcement"
	"github.com/securitybaseline/operator/test/testutil"
)

// bornWith returns the labels of a namespace as it is created, without creating
// it.
func labelsAtCreation(t *testing.T, name string, labels map[string]string) map[string]string {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: testutil.Labels(t)}}
	maps.Copy(namespace.Labels, labels)
	testutil.Must(t, env.Admin.Create(t.Context(), namespace, client.DryRunAll))
	return namespace.Labels
}

// bearing waits until new namespaces are born with a label.
func waitForLabelAtCreation(t *testing.T, key, value string) {
	t.Helper()
	testutil.WaitFor(t, func(context.Context) error {
		if labels := labelsAtCreation(t, testutil.Name(t)+"-probe", nil); labels[key] != value {
			return fmt.Errorf("born with %v", labels)
		}
		return nil
	})
}

const (
	enforceLabel   = "pod-security.kubernetes.io/enforce"
	enforceVersion = "pod-security.kubernetes.io/enforce-version"
)

// Two hundred namespaces, and in each at once, from another client, a privileged
// pod: not one is admitted.
func TestNewNamespaces_DenyPrivilegedPodsFromCreation(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	env.WaitForStatus(t, baseline, testutil.HasCondition(v1alpha1.ConditionNewNamespacesHardened, metav1.ConditionTrue, v1alpha1.ReasonPolicyReady))
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	createPodsInNewNamespaces(t, privilegedPod(), "violates PodSecurity")
}

// It is the API server that does it: with the operator stopped, it is no other.
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

// The same for pods of any kind where the network comes first.
func TestNewNamespaces_DenyPodsBeforeDefaultDenyPolicy(t *testing.T) {
	t.Parallel()
	env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true}})
	waitForLabelAtCreation(t, v1alpha1.GoverningBaselineLabel(v1alpha1.ControlNetwork), testutil.Name(t)+"-b")
	createPodsInNewNamespaces(t, baselinePod(), "does not have its default-deny NetworkPolicy yet; try again in a moment")
}

// attack creates namespaces, and in each from a second client a pod, again and
// again, until it is admitted or the namespace has its policy. Pods are never
// admitted before that.
func createPodsInNewNamespaces(t *testing.T, pod corev1.PodSpec, refusal string) {
	const times = 200
	attacker, err := client.New(env.Cluster.Admin, client.Options{Scheme: env.Admin.Scheme()})
	testutil.Must(t, err)
	refusals, gated := 0, strings.Contains(refusal, "default-deny")
	for i := range times {
		name := fmt.Sprintf("%s-%d", testutil.Name(t), i)
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: name, Labels: testutil.Labels(t)}}
		created := make(chan error, 1)
		// It is decoded into, so nothing reads it before it is made.
		go func() { created <- env.Admin.Create(t.Context(), namespace) }()
		testutil.WaitFor(t, func(ctx context.Context) error {
			err := attacker.Create(ctx, newPod(name, pod))
			switch {
			case err == nil && !gated:
				t.Fatalf("admitted into namespace %s", name)
			case err == nil:
				key := client.ObjectKey{Namespace: name, Name: "security-baseline-default-deny"}
				testutil.Must(t, env.Admin.Get(ctx, key, &networkingv1.NetworkPolicy{}))
				return nil
			case strings.Contains(err.Error(), refusal):
				refusals++
				if gated {
					return err
				}
				return nil
			case apierrors.IsNotFound(err), strings.Contains(err.Error(), "serviceaccount"):
				// There is no namespace yet, or no ServiceAccount: Kubernetes comes
				// before any policy here.
				return err
			}
			t.Fatalf("refused for another reason: %v", err)
			return nil
		})
		testutil.Must(t, <-created)
		testutil.Must(t, env.Admin.Delete(t.Context(), namespace))
	}
	t.Logf("%d refusals in %d namespaces", refusals, times)
	if !gated && refusals != times {
		t.Errorf("%d of %d refused", refusals, times)
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
		{name: "no level at all", stated: map[string]string{enforceLabel: "none", enforceVersion: "x"}, want: own},
		{name: "a stricter level stays", stated: map[string]string{enforceLabel: "restricted"},
			want: with(map[string]string{enforceLabel: "restricted"}, enforceVersion)},
		{name: "and so does its newer version", stated: map[string]string{enforceLabel: "restricted", enforceVersion: "v1.31"},
			want: with(map[string]string{enforceLabel: "restricted", enforceVersion: "v1.31"})},
		{name: "but not an older one", stated: map[string]string{enforceLabel: "restricted", enforceVersion: "v1.4"},
			want: with(map[string]string{enforceLabel: "restricted"})},
		{name: "the gate cannot be opened in advance", stated: map[string]string{v1alpha1.DefaultDenyReadyLabel: "true"}, want: own},
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
			testutil.Equal(t, "labels", test.want, labels)
		})
	}
	t.Run("a protected namespace", func(t *testing.T) {
		namespace := &corev1.Namespace{}
		testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKey{Name: "kube-public"}, namespace))
		namespace.ObjectMeta = metav1.ObjectMeta{Name: "kube-public-2"}
		testutil.Must(t, env.Admin.Create(t.Context(), namespace, client.DryRunAll))
		testutil.Equal(t, "labels", map[string]string{corev1.LabelMetadataName: "kube-public-2"}, namespace.Labels)
	})
}

// Of a namespace whose name the API server generates, the label that bears the name
// is the creator's to choose while labels are given: it chooses nothing.
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
			return fmt.Errorf("not selected, but born with %v", labels)
		}
		return nil
	})
	for _, forged := range []string{"kube-system", testutil.Name(t) + "-not", testutil.Name(t) + "-excluded", ""} {
		namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{GenerateName: testutil.Name(t) + "-", Labels: testutil.Labels(t)}}
		namespace.Labels[corev1.LabelMetadataName] = forged
		testutil.Must(t, env.Admin.Create(t.Context(), namespace, client.DryRunAll))
		testutil.Equal(t, "the level of one that says it is "+forged, "baseline", namespace.Labels[enforceLabel])
	}
	named := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-named", Labels: testutil.Labels(t)}}
	named.Labels[corev1.LabelMetadataName] = "kube-system"
	testutil.Must(t, env.Admin.Create(t.Context(), named, client.DryRunAll))
	testutil.Equal(t, "the level of one with a name", "baseline", named.Labels[enforceLabel])
}

// Whoever says that their stricter level was given at birth keeps it all the same.
func TestNamespaceLabels_StricterLevelStaysWithItsOwner(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{
		Name: testutil.Name(t) + "-a", Labels: testutil.Labels(t), Annotations: map[string]string{v1alpha1.CreationLabelsAnnotation: enforceLabel},
	}}
	namespace.Labels[enforceLabel] = "restricted"
	env.Create(t, namespace)
	for range 2 {
		env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
		testutil.WaitFor(t, func(ctx context.Context) error {
			if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
				return err
			}
			if _, ok := namespace.Annotations[v1alpha1.CreationLabelsAnnotation]; ok {
				return errors.New("not looked at yet")
			}
			return nil
		})
		testutil.Equal(t, "the level", "restricted", namespace.Labels[enforceLabel])
		if enforcement.OwnLabels(namespace.ManagedFields).Has(enforceLabel) {
			t.Error("the level was taken over")
		}
		// And at any time later.
		update(t, namespace, func(n *corev1.Namespace) {
			metav1.SetMetaDataAnnotation(&n.ObjectMeta, v1alpha1.CreationLabelsAnnotation, enforceLabel)
		})
	}
}

// Anybody who may write a namespace can write the annotation. Where the labels cannot be
// taken over, everything else goes on.
func TestNamespaceLabels_OtherControlsAppliedWhenTakeoverIsDenied(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	spec := denyAllSpec()
	spec.PodSecurity = &v1alpha1.PodSecurity{Enforce: "baseline"}
	baseline := env.NewBaseline(t, "b", spec)
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	denyOperatorWritesTo(t, namespace.Name, admissionregistrationv1.Update, "namespaces")
	update(t, namespace, func(n *corev1.Namespace) {
		metav1.SetMetaDataAnnotation(&n.ObjectMeta, v1alpha1.CreationLabelsAnnotation, enforceLabel)
	})
	control := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlPodSecurity, testutil.InState(v1alpha1.StateFailed))
	if !strings.Contains(control.Message, "taking the labels over: ") || !strings.Contains(control.Message, "refused by another policy") {
		t.Errorf("the message: %s", control.Message)
	}
	testutil.Must(t, env.Admin.Delete(t.Context(), env.WaitForPolicy(t, namespace.Name, "default-deny")))
	env.WaitForPolicy(t, namespace.Name, "default-deny")
	env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlNetwork, testutil.InState(v1alpha1.StateCompliant))
}

// Labels beyond what the API server computes with are no way around.
func TestNewNamespaces_RejectedWhenLabelingIsTooExpensive(t *testing.T) {
	t.Parallel()
	env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{PodSecurity: &v1alpha1.PodSecurity{Enforce: "baseline"}})
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: testutil.Name(t) + "-a", Labels: testutil.Labels(t)}}
	for i := range 100_000 {
		namespace.Labels[fmt.Sprintf("l%d", i)] = ""
	}
	if err := env.Admin.Create(t.Context(), namespace, client.DryRunAll); err == nil && namespace.Labels[enforceLabel] != "baseline" {
		t.Error("it was born without the level")
	}
}

// bornIn returns the labels with which a namespace of the test of a baseline is
// born, without those that are always there.
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

// At birth as later: of several baselines that select a namespace, the one with
// precedence governs each control.
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
		both, only := labelsAtCreation(t, testutil.Name(t)+"-a", nil), labelsAtCreation(t, testutil.Name(t)+"-a", map[string]string{"lab": "no"})
		if both[enforceLabel] != "baseline" || both["podsecurity.securitybaseline.io/baseline"] != high.Name || both["images.securitybaseline.io/baseline"] != low.Name ||
			only[enforceLabel] != "restricted" || only["podsecurity.securitybaseline.io/baseline"] != low.Name {
			return fmt.Errorf("born with %v and %v", both, only)
		}
		return nil
	})
	testutil.Equal(t, "the same, again and again", "baseline", func() string {
		for range 20 {
			if level := labelsAtCreation(t, testutil.Name(t)+"-a", nil)[enforceLabel]; level != "baseline" {
				return level
			}
		}
		return "baseline"
	}())
}

// What a namespace was born with is the operator's, as if it had set it: it goes
// with the baseline, and what the creator stated stays.
func TestNamespaceLabels_SetAtCreationRemovedWithBaseline(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{
		DeletionPolicy: v1alpha1.DeletionRemove,
		PodSecurity:    &v1alpha1.PodSecurity{Enforce: "baseline", Warn: "baseline"}, Images: &v1alpha1.Images{RequireDigest: true},
	})
	waitForLabelAtCreation(t, enforceLabel, "baseline")
	namespace := env.NewNamespace(t, "a", map[string]string{"pod-security.kubernetes.io/warn": "restricted", "team": "a"})
	env.WaitForReport(t, namespace.Name, baseline, v1alpha1.StateCompliant)
	testutil.WaitFor(t, func(ctx context.Context) error {
		if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
			return err
		}
		if _, ok := namespace.Annotations[v1alpha1.CreationLabelsAnnotation]; ok {
			return fmt.Errorf("not taken over: %v", namespace.Annotations)
		}
		return nil
	})
	own := enforcement.OwnLabels(namespace.ManagedFields)
	for _, key := range []string{enforceLabel, enforceVersion, "podsecurity.securitybaseline.io/baseline", "images.securitybaseline.io/baseline"} {
		if !own.Has(key) {
			t.Errorf("%s is not the operator's alone: %v", key, own)
		}
	}
	if !slices.ContainsFunc(namespace.ManagedFields, func(entry metav1.ManagedFieldsEntry) bool {
		return entry.Manager == "admin" && strings.Contains(entry.FieldsV1.String(), "f:team")
	}) {
		t.Errorf("the creator's labels are not theirs any more: %v", namespace.ManagedFields)
	}
	testutil.Must(t, env.Admin.Delete(t.Context(), baseline))
	testutil.WaitFor(t, func(ctx context.Context) error {
		return testutil.CheckNotFound(env.Admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline))
	})
	testutil.Must(t, env.Admin.Get(t.Context(), client.ObjectKeyFromObject(namespace), namespace))
	testutil.Equal(t, "labels", map[string]string{
		"test": testutil.Name(t), corev1.LabelMetadataName: namespace.Name, "pod-security.kubernetes.io/warn": "restricted", "team": "a",
	}, namespace.Labels)
}

// With the gate on, a namespace that was there before keeps running: it never
// waits for its policy.
func TestWaitForDefaultDeny_NeverDeniesPodsInExistingNamespace(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	env.WaitForServiceAccount(t, namespace.Name)
	ctx, cancel := context.WithCancel(t.Context())
	refused, name := make(chan error, 1), namespace.Name
	go func() {
		defer close(refused)
		for ctx.Err() == nil {
			if err := dryRunCreate(ctx, env.Admin, newPod(name, baselinePod())); err != nil && ctx.Err() == nil {
				refused <- err
				return
			}
		}
	}()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true}})
	env.WaitForReady(t, baseline)
	testutil.WaitFor(t, func(ctx context.Context) error {
		if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), namespace); err != nil {
			return err
		}
		if namespace.Labels[v1alpha1.DefaultDenyReadyLabel] != "true" {
			return fmt.Errorf("labels %v", namespace.Labels)
		}
		return nil
	})
	cancel()
	if err := <-refused; err != nil {
		t.Error(err)
	}
}
