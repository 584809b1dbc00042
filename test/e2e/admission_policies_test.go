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
	apierrors "k8s.io/apimachinery/pkg/api/errors"
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

// What somebody does to the policies and bindings is put right, and told. It
// takes shared policies away for a moment, so it runs alone.
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
	binding, born := baseline.Name+"."+policy, baseline.Name+".label-new-namespaces.securitybaseline.io"
	for _, test := range []struct {
		name, kind, object string
		into               client.Object
		// spoil changes it; nil deletes it.
		spoil func(client.Object)
	}{
		{"a policy that matches nothing any more", "ValidatingAdmissionPolicy", policy, &vap{}, func(object client.Object) {
			p := object.(*vap)
			p.Spec.MatchConditions = append(p.Spec.MatchConditions, admissionregistrationv1.MatchCondition{Name: "never", Expression: "false"})
		}},
		{"a policy that does not fail", "ValidatingAdmissionPolicy", policy, &vap{}, func(object client.Object) {
			object.(*vap).Spec.FailurePolicy = new(admissionregistrationv1.Ignore)
		}},
		{"a policy that is gone", "ValidatingAdmissionPolicy", policy, &vap{}, nil},
		{"a binding that only audits", "ValidatingAdmissionPolicyBinding", binding, &vapBinding{}, func(object client.Object) {
			object.(*vapBinding).Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit}
		}},
		{"a binding of another parameter", "ValidatingAdmissionPolicyBinding", binding, &vapBinding{}, func(object client.Object) {
			object.(*vapBinding).Spec.ParamRef.Name = "nobody"
		}},
		{"a binding without its labels", "ValidatingAdmissionPolicyBinding", binding, &vapBinding{}, func(object client.Object) {
			object.SetLabels(map[string]string{"example.com/owner": "them"})
		}},
		{"a binding that is gone", "ValidatingAdmissionPolicyBinding", binding, &vapBinding{}, nil},
		{"the policy of new namespaces", "MutatingAdmissionPolicy", "label-new-namespaces.securitybaseline.io", &mapPolicy{}, func(object client.Object) {
			object.(*mapPolicy).Spec.FailurePolicy = new(admissionregistrationv1.Ignore)
		}},
		{"the binding of new namespaces", "MutatingAdmissionPolicyBinding", born, &mapBinding{}, func(object client.Object) {
			object.(*mapBinding).Spec.MatchResources.ObjectSelector = &metav1.LabelSelector{MatchLabels: map[string]string{"nobody": "has"}}
		}},
		{"the authors' policy", "ValidatingAdmissionPolicy", "require-bind-permission.securitybaseline.io", &vap{}, func(object client.Object) {
			object.(*vap).Spec.FailurePolicy = new(admissionregistrationv1.Ignore)
		}},
		{"the authors' binding", "ValidatingAdmissionPolicyBinding", "require-bind-permission.securitybaseline.io", &vapBinding{}, nil},
	} {
		t.Run(test.name, func(t *testing.T) {
			before := waitForObject(t, "", test.object, test.into)
			counted := countedDrifts(t, baseline)
			if test.spoil == nil {
				testutil.Must(t, env.Admin.Delete(t.Context(), before))
			} else {
				update(t, before.DeepCopyObject().(client.Object), test.spoil)
			}
			healed := before.DeepCopyObject().(client.Object)
			testutil.WaitFor(t, func(ctx context.Context) error {
				if err := env.Admin.Get(ctx, client.ObjectKey{Name: test.object}, healed); err != nil {
					return err
				}
				for _, key := range []string{v1alpha1.ManagedByLabel, v1alpha1.BaselineLabel, v1alpha1.ControlLabel} {
					if healed.GetLabels()[key] != before.GetLabels()[key] {
						return fmt.Errorf("labels %v", healed.GetLabels())
					}
				}
				return compareSpecs(before, healed)
			})
			if test.spoil != nil {
				testutil.Equal(t, "the object", before.GetUID(), healed.GetUID())
			}
			if owner := healed.GetLabels()["example.com/owner"]; test.name == "a binding without its labels" && owner != "them" {
				t.Errorf("the others' label is %q", owner)
			}
			note := fmt.Sprintf("%s/%s was changed by \"admin\" (Update); it was put right", test.kind, test.object)
			if test.spoil == nil {
				note = fmt.Sprintf("%s/%s was deleted by somebody, whom Kubernetes does not record; it was made again", test.kind, test.object)
			}
			about := []string{test.object}
			if !strings.HasPrefix(test.object, "authors.") {
				about = append(about, baseline.Name)
				testutil.WaitFor(t, func(context.Context) error {
					if now := countedDrifts(t, baseline); now != counted+1 {
						return fmt.Errorf("%v drifts counted, %v before", now, counted)
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

// told waits for an event with a note about an object.
func waitForDriftEvent(t *testing.T, about, note string) {
	t.Helper()
	testutil.WaitFor(t, func(ctx context.Context) error {
		events, err := env.EventsAbout(ctx, about)
		for _, event := range events {
			if event.Reason == "Drift" && event.Note == note {
				return err
			}
		}
		return errors.Join(err, fmt.Errorf("no event %q about %s in %v", note, about, events))
	})
}

// same returns an error unless the specs of two policies or bindings are equal.
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
		return fmt.Errorf("%s is not %s", specOf(b), specOf(a))
	}
	return nil
}

// driftsOf returns how many drifts were counted for a baseline.
func countedDrifts(t *testing.T, baseline *v1alpha1.SecurityBaseline) float64 {
	t.Helper()
	families, err := scrapeMetrics(t.Context())
	testutil.Must(t, err)
	return findMetric(families, "securitybaseline_drifts_total", map[string]string{"baseline": baseline.Name, "control": "Images"}).GetCounter().GetValue()
}

// Somebody who keeps changing a binding meets one write a second.
func TestAdmissionPolicies_RevertedAtMostOnceASecond(t *testing.T) {
	t.Parallel()
	baseline := env.NewBaseline(t, "b", v1alpha1.SecurityBaselineSpec{Images: &v1alpha1.Images{RequireDigest: true}})
	env.WaitForReady(t, baseline)
	name := baseline.Name + ".images.securitybaseline.io"
	start, healed := time.Now(), 0
	const times = 4
	for healed < times {
		binding := waitForObject(t, "", name, &vapBinding{})
		if binding.Spec.ValidationActions[0] != admissionregistrationv1.Deny {
			continue
		}
		healed++
		binding.Spec.ValidationActions = []admissionregistrationv1.ValidationAction{admissionregistrationv1.Audit}
		if err := env.Admin.Update(t.Context(), binding); apierrors.IsConflict(err) {
			healed--
		} else {
			testutil.Must(t, err)
		}
	}
	testutil.WaitFor(t, func(ctx context.Context) error {
		if binding := waitForObject(t, "", name, &vapBinding{}); binding.Spec.ValidationActions[0] != admissionregistrationv1.Deny {
			return errors.New("not put right yet")
		}
		return nil
	})
	// The first healing comes at once, each other one a second after the one before.
	if took := time.Since(start); took < (times-1)*time.Second {
		t.Errorf("put right %d times in %s", times, took)
	}
}

// The API server finds nothing to warn of in any policy.
func TestAdmissionPolicies_PassTypeChecking(t *testing.T) {
	t.Parallel()
	all := v1alpha1.SecurityBaselineSpec{
		RBAC: &v1alpha1.RBAC{ClusterAdmin: &v1alpha1.ClusterAdmin{Action: v1alpha1.ActionAudit}},
		// Not one of these is to concern another test.
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
					return fmt.Errorf("not checked: %+v", policy.Status)
				}
				if warnings := policy.Status.TypeChecking.ExpressionWarnings; len(warnings) > 0 {
					t.Errorf("%+v", warnings)
				}
				return nil
			})
		})
	}
}

// At admission as elsewhere: the baseline with precedence governs, an exception
// counts in the one that declares it, and another one governs there.
func TestAdmissionPolicies_FollowPrecedenceAndExceptions(t *testing.T) {
	t.Parallel()
	namespace, excepted := env.NewNamespace(t, "a", nil), env.NewNamespace(t, "excepted", nil)
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
	// What only one declares, that one governs.
	waitForForbidden(t, func(ctx context.Context) error {
		return dryRunCreate(ctx, env.Admin, newPodWithImage(namespace.Name, "high.example.com/a"))
	},
		"rule workloads.forbidDefaultServiceAccount of SecurityBaseline "+low.Name)
	excused := env.WaitForControl(t, excepted.Name, high, v1alpha1.ControlImages, testutil.InState(v1alpha1.StateExcepted))
	testutil.Equal(t, "the exception", "vendor", excused.Exception.Name)
	env.WaitForControl(t, excepted.Name, low, v1alpha1.ControlImages, testutil.InState(v1alpha1.StateCompliant))
	env.WaitForStatus(t, low, func(status v1alpha1.SecurityBaselineStatus) error {
		for _, control := range status.Controls {
			if control.Name == v1alpha1.ControlImages && (control.Overridden != 1 || control.Compliant != 1) {
				return fmt.Errorf("%+v", control)
			}
		}
		return nil
	})

	// When the exception goes, the one that declared it governs again.
	update(t, high, func(b *v1alpha1.SecurityBaseline) { b.Spec.Exceptions = nil })
	waitForForbidden(t, pod(excepted.Name, "low.example.com"), "SecurityBaseline "+high.Name)
	// When the baseline goes, so do its rules, and the other one's hold.
	testutil.Must(t, env.Admin.Delete(t.Context(), high))
	waitForForbidden(t, pod(namespace.Name, "high.example.com"), "SecurityBaseline "+low.Name)
}

// In Audit mode nothing is refused, and whoever is warned is warned only where
// the baseline would be in force.
func TestAdmissionPolicies_WarnInAuditMode(t *testing.T) {
	t.Parallel()
	namespace, excepted, excluded := env.NewNamespace(t, "a", nil), env.NewNamespace(t, "excepted", nil), env.NewNamespace(t, "excluded", nil)
	baseline := env.NewBaseline(t, "b", inAuditMode(v1alpha1.SecurityBaselineSpec{
		Images: &v1alpha1.Images{AllowedRegistries: []string{"registry.example.com"}}, Workloads: &v1alpha1.Workloads{RequireLimits: true}, Guard: &v1alpha1.Guard{},
		ExcludeNamespaces: []string{excluded.Name},
		Exceptions: []v1alpha1.Exception{{
			Name: "vendor", Namespaces: []string{excepted.Name}, Controls: []v1alpha1.ControlName{"Images"}, Reason: "the vendor's own registry",
		}},
	}))
	env.WaitForReady(t, baseline)
	said := env.WaitForControl(t, namespace.Name, baseline, v1alpha1.ControlImages, testutil.InState(v1alpha1.StateDrifted))
	testutil.Equal(t, "what the report says", "Enforce would configure Namespace/"+namespace.Name+" (images.securitybaseline.io/baseline="+baseline.Name+")", said.Message)
	const images, workloads, guard = "rule images.allowedRegistries", "rule workloads.requireLimits", "rule guard"
	for name, want := range map[string][]string{namespace.Name: {images, workloads}, excepted.Name: {workloads}, excluded.Name: nil} {
		env.WaitForServiceAccount(t, name)
		said := waitForWarnings(t, len(want) > 0, func(ctx context.Context, writer client.Client) error {
			return dryRunCreate(ctx, writer, newPodWithImage(name, "evil.io/a"))
		})
		for _, rule := range []string{images, workloads} {
			expected := false
			for _, w := range want {
				expected = expected || w == rule
			}
			if strings.Contains(said, rule) != expected {
				t.Errorf("%s: warned of %q", name, said)
			}
		}
	}
	warned := waitForWarnings(t, true, func(ctx context.Context, writer client.Client) error {
		relabelled := &corev1.Namespace{}
		if err := env.Admin.Get(ctx, client.ObjectKeyFromObject(namespace), relabelled); err != nil {
			return err
		}
		delete(relabelled.Labels, "test")
		return writer.Update(ctx, relabelled, client.DryRunAll)
	})
	if !strings.Contains(warned, guard) {
		t.Errorf("warned of %q", warned)
	}
	// Nothing was written into any namespace but the reports.
	for _, name := range []string{namespace.Name, excepted.Name} {
		for key := range waitForObject(t, "", name, &corev1.Namespace{}).Labels {
			if strings.Contains(key, "securitybaseline.io") {
				t.Errorf("namespace %s has the label %s", name, key)
			}
		}
	}
}
