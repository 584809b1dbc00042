package e2e

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	eventsv1 "k8s.io/api/events/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/testutil"
)

type (
	vap        = admissionregistrationv1.ValidatingAdmissionPolicy
	vapBinding = admissionregistrationv1.ValidatingAdmissionPolicyBinding
	mapPolicy  = admissionregistrationv1.MutatingAdmissionPolicy
	mapBinding = admissionregistrationv1.MutatingAdmissionPolicyBinding
)

// TestAdmissionPolicies_RevertedWhenChangedOrDeleted changes policies that other tests need.
func TestAdmissionPolicies_RevertedWhenChangedOrDeleted(t *testing.T) {
	namespace := env.NewNamespace(t, "a", nil)
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Images: &v1alpha1.Images{AllowedRegistries: []string{"registry.example.com"}}})
	env.WaitForReady(t, baseline)
	env.WaitForServiceAccount(t, namespace.Name)
	bad := func(ctx context.Context) error {
		return dryRunCreate(ctx, env.Admin, newPodWithImage(namespace.Name, "evil.io/a"))
	}
	waitForForbidden(t, bad)

	const policy = "images.securitybaseline.io"
	binding := baseline.Name + "." + policy
	newNamespaces := baseline.Name + ".label-new-namespaces.securitybaseline.io"
	for _, test := range []struct {
		name, kind, object string
		into               client.Object
		// tamper changes the object; nil deletes it.
		tamper func(client.Object)
	}{
		{"a policy that matches nothing", "ValidatingAdmissionPolicy", policy, &vap{}, func(object client.Object) {
			p := object.(*vap)
			p.Spec.MatchConditions = append(p.Spec.MatchConditions, admissionregistrationv1.MatchCondition{Name: "never", Expression: "false"})
		}},
		{"a policy with failurePolicy Ignore", "ValidatingAdmissionPolicy", policy, &vap{}, func(object client.Object) {
			object.(*vap).Spec.FailurePolicy = new(admissionregistrationv1.Ignore)
		}},
		{"a deleted policy", "ValidatingAdmissionPolicy", policy, &vap{}, nil},
		{"a binding that only audits", "ValidatingAdmissionPolicyBinding", binding, &vapBinding{}, func(object client.Object) {
			object.(*vapBinding).Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit}
		}},
		{"a binding with another parameter", "ValidatingAdmissionPolicyBinding", binding, &vapBinding{}, func(object client.Object) {
			object.(*vapBinding).Spec.ParamRef.Name = "other"
		}},
		{"a binding without its labels", "ValidatingAdmissionPolicyBinding", binding, &vapBinding{}, func(object client.Object) {
			object.SetLabels(map[string]string{"example.com/owner": "them"})
		}},
		{"a deleted binding", "ValidatingAdmissionPolicyBinding", binding, &vapBinding{}, nil},
		{"the policy for new namespaces", "MutatingAdmissionPolicy", "label-new-namespaces.securitybaseline.io", &mapPolicy{}, func(object client.Object) {
			object.(*mapPolicy).Spec.FailurePolicy = new(admissionregistrationv1.Ignore)
		}},
		{"the binding for new namespaces", "MutatingAdmissionPolicyBinding", newNamespaces, &mapBinding{}, func(object client.Object) {
			object.(*mapBinding).Spec.MatchResources.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"no-namespace": "has-it"}}
		}},
		{"the policy that requires the permission to bind", "ValidatingAdmissionPolicy", "require-bind-permission.securitybaseline.io", &vap{}, func(object client.Object) {
			object.(*vap).Spec.FailurePolicy = new(admissionregistrationv1.Ignore)
		}},
		{"the binding of the policy that requires the permission to bind", "ValidatingAdmissionPolicyBinding", "require-bind-permission.securitybaseline.io", &vapBinding{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := waitForObject(t, "", test.object, test.into)
			counted := countedDrifts(t, baseline)
			if test.tamper == nil {
				testutil.Must(t, env.Admin.Delete(t.Context(), before))
			} else {
				update(t, before.DeepCopyObject().(client.Object), test.tamper)
			}
			reverted := before.DeepCopyObject().(client.Object)
			testutil.WaitFor(t, func(ctx context.Context) error {
				if err := env.Admin.Get(ctx, client.ObjectKey{Name: test.object}, reverted); err != nil {
					return err
				}
				for _, key := range []string{v1alpha1.ManagedByLabel, v1alpha1.BaselineLabel, v1alpha1.ControlLabel} {
					if reverted.GetLabels()[key] != before.GetLabels()[key] {
						return fmt.Errorf("labels: got %v, want %v", reverted.GetLabels(), before.GetLabels())
					}
				}
				return compareSpecs(before, reverted)
			})
			if test.tamper != nil {
				testutil.Equal(t, "the object", reverted.GetUID(), before.GetUID())
			}
			if owner := reverted.GetLabels()["example.com/owner"]; test.name == "a binding without its labels" && owner != "them" {
				t.Errorf("label example.com/owner: got %q, want them", owner)
			}
			note := fmt.Sprintf("%s/%s was changed by \"admin\" (Update); reverted", test.kind, test.object)
			if test.tamper == nil {
				note = fmt.Sprintf("%s/%s was deleted by an unknown author; recreated", test.kind, test.object)
			}
			about := []string{test.object}
			if !strings.HasPrefix(test.object, "require-bind-permission.") {
				about = append(about, baseline.Name)
				testutil.WaitFor(t, func(context.Context) error {
					if now := countedDrifts(t, baseline); now != counted+1 {
						return fmt.Errorf("counted drifts: got %v, want %v", now, counted+1)
					}
					return nil
				})
			}
			for _, name := range about {
				waitForDriftEvent(t, name, note)
			}
		})
	}
	waitForForbidden(t, bad)
}

// waitForDriftEvent waits for an event Drift with a note about an object.
func waitForDriftEvent(t *testing.T, about, note string) {
	t.Helper()
	env.WaitForEvent(t, about, "Drift", func(event eventsv1.Event) bool { return event.Note == note })
}

// compareSpecs returns an error unless the specs of two policies or bindings are equal.
func compareSpecs(a, b client.Object) error {
	specOf := func(object client.Object) string {
		switch object := object.(type) {
		case *vap:
			return fmt.Sprint(&object.Spec)
		case *vapBinding:
			return fmt.Sprint(&object.Spec)
		case *mapBinding:
			return fmt.Sprint(&object.Spec)
		case *mapPolicy:
			return fmt.Sprint(&object.Spec)
		}
		return ""
	}
	if specOf(a) != specOf(b) {
		return fmt.Errorf("spec: got %s, want %s", specOf(b), specOf(a))
	}
	return nil
}

// countedDrifts returns how many drifts of Images the metrics count for a baseline.
func countedDrifts(t *testing.T, baseline *v1alpha1.SecurityBaseline) float64 {
	t.Helper()
	families, err := scrapeMetrics(t.Context())
	testutil.Must(t, err)
	return findMetric(families, "securitybaseline_drifts_total", map[string]string{"baseline": baseline.Name, "control": "Images"}).GetCounter().GetValue()
}

// TestAdmissionPolicies_RevertedAtMostOnceASecond changes a binding as soon as the operator
// has reverted it.
func TestAdmissionPolicies_RevertedAtMostOnceASecond(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Images: &v1alpha1.Images{RequireDigest: true}})
	env.WaitForReady(t, baseline)
	name := baseline.Name + ".images.securitybaseline.io"
	denies := func(binding *vapBinding) error {
		if got := binding.Spec.ValidationActions[0]; got != admissionregistrationv1.Deny {
			return fmt.Errorf("validationActions: got %s, want Deny", got)
		}
		return nil
	}
	const times = 4
	start := time.Now()
	for range times {
		binding := waitForObject(t, "", name, &vapBinding{}, denies)
		update(t, binding, func(b *vapBinding) {
			b.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit}
		})
	}
	waitForObject(t, "", name, &vapBinding{}, denies)
	// The operator reverts the first change immediately, and each other one a second after
	// the one before.
	if took := time.Since(start); took < (times-1)*time.Second {
		t.Errorf("%d reverts took %s, want at least %s", times, took, (times-1)*time.Second)
	}
}

// TestAdmissionPolicies_PassTypeChecking requires no warnings of the API server.
func TestAdmissionPolicies_PassTypeChecking(t *testing.T) {
	t.Parallel()
	all := v1alpha1.SecurityBaselineSpec{
		RBAC: &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{Action: v1alpha1.ActionAudit}},
		// It selects no namespace of another test.
		Priority: -1000, Images: &v1alpha1.Images{RequireDigest: true}, Workloads: &v1alpha1.Workloads{RequireLimits: true}, Guard: &v1alpha1.Guard{},
		Network: &v1alpha1.Network{DefaultDeny: []v1alpha1.Direction{"Ingress"}, WaitForDefaultDeny: true},
	}
	env.NewBaseline(t, "enforced", all)
	env.NewBaseline(t, "audited", inAuditMode(all))
	for _, name := range []string{
		"require-bind-permission", "images", "workloads", "wait-for-default-deny", "protect-managed-objects", "protect-namespace-labels", "restrict-cluster-admin",
		"audit.images", "audit.workloads", "audit.protect-managed-objects", "audit.protect-namespace-labels", "audit.restrict-cluster-admin",
	} {
		t.Run(name, func(t *testing.T) {
			testutil.WaitFor(t, func(ctx context.Context) error {
				policy := &vap{}
				if err := env.Admin.Get(ctx, client.ObjectKey{Name: name + ".securitybaseline.io"}, policy); err != nil {
					return err
				}
				if policy.Status.ObservedGeneration != policy.Generation || policy.Status.TypeChecking == nil {
					return fmt.Errorf("status: got %+v, want a type check of generation %d", policy.Status, policy.Generation)
				}
				if warnings := policy.Status.TypeChecking.ExpressionWarnings; len(warnings) > 0 {
					t.Errorf("warnings: got %+v, want none", warnings)
				}
				return nil
			})
		})
	}
}

// TestAdmissionPolicies_FollowPrecedenceAndExceptions checks that an exception applies to the
// baseline that declares it, and that another baseline governs there instead.
func TestAdmissionPolicies_FollowPrecedenceAndExceptions(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	excepted := env.NewNamespace(t, "excepted", nil)
	from := func(registry string) *v1alpha1.Images {
		return &v1alpha1.Images{AllowedRegistries: []string{registry}}
	}
	low := env.NewBaseline(t, "low", v1alpha1.SecurityBaselineSpec{Images: from("low.example.com"), Workloads: &v1alpha1.Workloads{ForbidDefaultServiceAccount: true}})
	high := env.NewBaseline(t, "high", v1alpha1.SecurityBaselineSpec{Priority: 10, Images: from("high.example.com"), Exceptions: []v1alpha1.Exception{{
		Name: "vendor", Namespaces: []string{excepted.Name}, Controls: []v1alpha1.ControlName{v1alpha1.ControlImages}, Reason: "the vendor's own registry",
	}}})
	for _, baseline := range []*v1alpha1.SecurityBaseline{low, high} {
		env.WaitForReady(t, baseline)
	}
	for _, namespace := range []*corev1.Namespace{namespace, excepted} {
		env.WaitForServiceAccount(t, namespace.Name)
		testutil.Must(t, env.Admin.Create(t.Context(), &corev1.ServiceAccount{ObjectMeta: metav1.ObjectMeta{Namespace: namespace.Name, Name: "app"}}))
	}
	pod := func(namespace, registry string) func(context.Context) error {
		return func(ctx context.Context) error {
			pod := newPodWithImage(namespace, registry+"/a")
			pod.Spec.ServiceAccountName = "app"
			return dryRunCreate(ctx, env.Admin, pod)
		}
	}
	waitForForbidden(t, pod(namespace.Name, "low.example.com"), "SecurityBaseline "+high.Name)
	testutil.WaitFor(t, pod(namespace.Name, "high.example.com"))
	waitForForbidden(t, pod(excepted.Name, "high.example.com"), "SecurityBaseline "+low.Name)
	testutil.WaitFor(t, pod(excepted.Name, "low.example.com"))
	// A control that one baseline declares is governed by it.
	waitForForbidden(t, func(ctx context.Context) error {
		return dryRunCreate(ctx, env.Admin, newPodWithImage(namespace.Name, "high.example.com/a"))
	},
		"rule workloads.forbidDefaultServiceAccount of SecurityBaseline "+low.Name)
	exceptedControl := env.WaitForControl(t, excepted.Name, high, v1alpha1.ControlImages, testutil.InState(v1alpha1.StateExcepted))
	testutil.Equal(t, "the exception", exceptedControl.Exception.Name, "vendor")
	env.WaitForControl(t, excepted.Name, low, v1alpha1.ControlImages, testutil.InState(v1alpha1.StateCompliant))
	env.WaitForStatus(t, low, func(status v1alpha1.SecurityBaselineStatus) error {
		for _, control := range status.Controls {
			if control.Name == v1alpha1.ControlImages && (control.Overridden != 1 || control.Compliant != 1) {
				return fmt.Errorf("control Images: got %+v, want 1 overridden and 1 compliant", control)
			}
		}
		return nil
	})

	// Without the exception, the baseline that declared it governs again.
	update(t, high, func(b *v1alpha1.SecurityBaseline) { b.Spec.Exceptions = nil })
	waitForForbidden(t, pod(excepted.Name, "low.example.com"), "SecurityBaseline "+high.Name)
	// After the baseline's deletion, the rules of the other one are in force.
	testutil.Must(t, env.Admin.Delete(t.Context(), high))
	waitForForbidden(t, pod(namespace.Name, "high.example.com"), "SecurityBaseline "+low.Name)
}

// TestAdmissionPolicies_WarnInAuditMode checks that the API server denies nothing, and warns
// only in namespaces where the baseline would govern.
func TestAdmissionPolicies_WarnInAuditMode(t *testing.T) {
	t.Parallel()
	namespace := env.NewNamespace(t, "a", nil)
	excepted := env.NewNamespace(t, "excepted", nil)
	excluded := env.NewNamespace(t, "excluded", nil)
	baseline := env.NewBaseline(t, "b", inAuditMode(v1alpha1.SecurityBaselineSpec{
		Images: &v1alpha1.Images{AllowedRegistries: []string{"registry.example.com"}}, Workloads: &v1alpha1.Workloads{RequireLimits: true}, Guard: &v1alpha1.Guard{},
		ExcludeNamespaces: []string{excluded.Name},
		Exceptions: []v1alpha1.Exception{{
			Name: "vendor", Namespaces: []string{excepted.Name}, Controls: []v1alpha1.ControlName{"Images"}, Reason: "the vendor's own registry",
		}},
	}))
	env.WaitForReady(t, baseline)
	control := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlImages, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "the message", control.Message, "Enforce would configure Namespace/"+namespace.Name+" (images.securitybaseline.io/baseline="+baseline.Name+")")
	const (
		images    = "rule images.allowedRegistries"
		workloads = "rule workloads.requireLimits"
		guard     = "rule guard"
	)
	for name, want := range map[string][]string{namespace.Name: {images, workloads}, excepted.Name: {workloads}, excluded.Name: nil} {
		env.WaitForServiceAccount(t, name)
		got := waitForWarnings(t, want, func(ctx context.Context, writer client.Client) error {
			return dryRunCreate(ctx, writer, newPodWithImage(name, "evil.io/a"))
		})
		for _, rule := range []string{images, workloads} {
			if !slices.Contains(want, rule) && strings.Contains(got, rule) {
				t.Errorf("warnings in %s: got %q, want none of %s", name, got, rule)
			}
		}
	}
	waitForWarnings(t, []string{guard}, func(ctx context.Context, writer client.Client) error {
		relabelled := &corev1.Namespace{}
		if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), relabelled); err != nil {
			return err
		}
		delete(relabelled.Labels, "test")
		return writer.Update(ctx, relabelled, client.DryRunAll)
	})
	// The operator wrote nothing but the reports.
	for _, name := range []string{namespace.Name, excepted.Name} {
		for key := range waitForObject(t, "", name, &corev1.Namespace{}).Labels {
			if strings.Contains(key, "securitybaseline.io") {
				t.Errorf("labels of namespace %s: got %s, want none of the operator", name, key)
			}
		}
	}
}
