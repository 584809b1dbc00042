package e2e

import (
	"context"
	"errors"
	"fmt"
	"hash/fnv"
	"maps"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/wait"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/controllers/report"
)

const (
	// patience is how long a test waits for what must come; it comes within a
	// fraction of that.
	patience = 2 * time.Minute
	glance   = 20 * time.Millisecond
)

// eventually waits until check returns nil.
func eventually(t *testing.T, check func(ctx context.Context) error) {
	t.Helper()
	var last error
	err := wait.PollUntilContextTimeout(t.Context(), glance, patience, true, func(ctx context.Context) (bool, error) {
		last = check(ctx)
		return last == nil, nil
	})
	if err != nil {
		t.Fatalf("waited %s in vain: %v", patience, last)
	}
}

// rests waits until the operator has written nothing for two seconds: a status may be
// written once more when the API server enforces what it was given.
func rests(t *testing.T) {
	t.Helper()
	writes, since := operatorWrites.Load(), time.Now()
	eventually(t, func(context.Context) error {
		if now := operatorWrites.Load(); now != writes {
			writes, since = now, time.Now()
		}
		if quiet := time.Since(since); quiet < 2*time.Second {
			return fmt.Errorf("the operator wrote something %s ago", quiet)
		}
		return nil
	})
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

var notInNames = regexp.MustCompile("[^a-z0-9]+")

// suffix makes the name of a test the name of an object, which is short and no
// other test's.
func suffix(t *testing.T) string {
	const readable = 32
	name := notInNames.ReplaceAllString(strings.ToLower(strings.TrimPrefix(t.Name(), "Test")), "-")
	if len(name) <= readable {
		return name
	}
	hash := fnv.New32a()
	_, _ = hash.Write([]byte(name))
	return fmt.Sprintf("%s-%08x", strings.Trim(name[:readable], "-"), hash.Sum32())
}

// forTest is the label by which a test's baselines select a test's namespaces.
func forTest(t *testing.T) map[string]string {
	return map[string]string{"test": suffix(t)}
}

// newNamespace makes a namespace that the test's baselines select.
func newNamespace(t *testing.T, name string, labels map[string]string) *corev1.Namespace {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: suffix(t) + "-" + name, Labels: forTest(t)}}
	maps.Copy(namespace.Labels, labels)
	create(t, namespace)
	return namespace
}

// newBaseline makes a baseline that selects the test's namespaces.
func newBaseline(t *testing.T, name string, spec v1alpha1.SecurityBaselineSpec) *v1alpha1.SecurityBaseline {
	t.Helper()
	spec.NamespaceSelector = selectTest(t)
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: suffix(t) + "-" + name}, Spec: spec}
	create(t, baseline)
	return baseline
}

// create makes an object, when that of an earlier run of the test is gone, and
// deletes it at the end of the test.
func create(t *testing.T, object client.Object) {
	t.Helper()
	eventually(t, func(ctx context.Context) error { return admin.Create(ctx, object) })
	t.Cleanup(func() { remove(t, object) })
}

func selectTest(t *testing.T) v1alpha1.LabelSelector {
	selector := v1alpha1.LabelSelector{MatchLabels: map[string]v1alpha1.LabelValue{}}
	for key, value := range forTest(t) {
		selector.MatchLabels[key] = v1alpha1.LabelValue(value)
	}
	return selector
}

// remove deletes an object at the end of a test.
func remove(t *testing.T, object client.Object) {
	if err := admin.Delete(context.Background(), object); client.IgnoreNotFound(err) != nil {
		t.Error(err)
	}
}

// change applies a change to an object as it is at the API server.
func change[T client.Object](t *testing.T, object T, mutate func(T)) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return err
		}
		mutate(object)
		return admin.Update(ctx, object)
	})
}

// get waits until an object exists.
func get[T client.Object](t *testing.T, namespace, name string, object T) T {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		return admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
	})
	return object
}

func policy(t *testing.T, namespace, name string) *networkingv1.NetworkPolicy {
	t.Helper()
	return get(t, namespace, v1alpha1.ObjectNamePrefix+name, &networkingv1.NetworkPolicy{})
}

// absent waits until an object is gone.
func absent(t *testing.T, namespace, name string, object client.Object) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: name}, object)
		if err == nil {
			return fmt.Errorf("%T %s/%s is still there", object, namespace, name)
		}
		return client.IgnoreNotFound(err)
	})
}

// evaluated waits until the report of a namespace speaks of the baseline at its
// present generation and every control of it is in the state.
func evaluated(t *testing.T, namespace string, baseline *v1alpha1.SecurityBaseline, state v1alpha1.State) *v1alpha1.BaselineReport {
	t.Helper()
	current := &v1alpha1.BaselineReport{}
	eventually(t, func(ctx context.Context) error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil {
			return err
		}
		if err := admin.Get(ctx, client.ObjectKey{Namespace: namespace, Name: v1alpha1.ReportName}, current); err != nil {
			return err
		}
		for _, observed := range current.ObservedBaselines {
			if observed.Name == baseline.Name && observed.Generation == baseline.Generation && current.State == state {
				return nil
			}
		}
		return fmt.Errorf("the report says %+v", current.BaselineReportData)
	})
	return current
}

// ready waits until a baseline's status is summed up and satisfies a check.
func ready(t *testing.T, baseline *v1alpha1.SecurityBaseline, check func(v1alpha1.SecurityBaselineStatus) error) {
	t.Helper()
	eventually(t, func(ctx context.Context) error {
		if err := admin.Get(ctx, client.ObjectKeyFromObject(baseline), baseline); err != nil {
			return err
		}
		if baseline.Status.ObservedGeneration != baseline.Generation {
			return errors.New("the status is about another generation")
		}
		return check(baseline.Status)
	})
}

// hasCondition returns a check of a condition's status and reason.
func hasCondition(conditionType string, want metav1.ConditionStatus, reason string) func(v1alpha1.SecurityBaselineStatus) error {
	return func(status v1alpha1.SecurityBaselineStatus) error {
		for _, condition := range status.Conditions {
			if condition.Type == conditionType && condition.Status == want && condition.Reason == reason {
				return nil
			}
		}
		return fmt.Errorf("no condition %s=%s (%s) in %+v", conditionType, want, reason, status.Conditions)
	}
}

// stateOf returns the state of a control in a report.
func stateOf(current *v1alpha1.BaselineReport, control v1alpha1.ControlName) v1alpha1.State {
	if found := report.FindGoverning(current.BaselineReportData, control); found != nil {
		return found.State
	}
	return ""
}

func equal(t *testing.T, what string, want, got any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

func isGone(err error) error {
	if err == nil {
		return errors.New("still there")
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// refuse makes the API server refuse the operator an operation on policies and
// bindings in a namespace, until the function that it returns is called.
func refuse(t *testing.T, namespace string, operation admissionregistrationv1.OperationType) (lift func()) {
	t.Helper()
	return refuseResources(t, namespace, operation, "rolebindings")
}

// refuseResources makes the API server refuse the operator an operation on
// resources in a namespace, and on policies, by which it is known to heed it.
func refuseResources(t *testing.T, namespace string, operation admissionregistrationv1.OperationType, resources ...string) (lift func()) {
	t.Helper()
	name := suffix(t)
	policy := &admissionregistrationv1.ValidatingAdmissionPolicy{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicySpec{
			MatchConstraints: &admissionregistrationv1.MatchResources{ResourceRules: []admissionregistrationv1.NamedRuleWithOperations{{
				RuleWithOperations: admissionregistrationv1.RuleWithOperations{
					Operations: []admissionregistrationv1.OperationType{operation},
					Rule: admissionregistrationv1.Rule{
						APIGroups: []string{"*"}, APIVersions: []string{"*"}, Resources: append(resources, "networkpolicies"),
					},
				},
			}}},
			Validations: []admissionregistrationv1.Validation{{
				Expression: "request.namespace != '" + namespace + "' || request.userInfo.username == 'admin'", Message: "refused by another policy",
			}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	create(t, policy)
	create(t, binding)
	lift = func() { remove(t, binding); remove(t, policy) }

	// The API server takes a moment to heed it.
	restConfig, err := local.OperatorConfig(t.Context())
	must(t, err)
	operator, err := client.New(restConfig, client.Options{Scheme: controllers.Scheme()})
	must(t, err)
	probe := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "probe"}}
	must(t, admin.Create(t.Context(), probe))
	attempts := map[admissionregistrationv1.OperationType]func(context.Context) error{
		admissionregistrationv1.Create: func(ctx context.Context) error {
			fresh := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "fresh"}}
			return operator.Create(ctx, fresh, client.DryRunAll)
		},
		admissionregistrationv1.Update: func(ctx context.Context) error {
			return operator.Update(ctx, probe.DeepCopy(), client.DryRunAll)
		},
		admissionregistrationv1.Delete: func(ctx context.Context) error {
			return operator.Delete(ctx, probe.DeepCopy(), client.DryRunAll)
		},
	}
	eventually(t, func(ctx context.Context) error {
		if err := attempts[operation](ctx); err == nil {
			return errors.New("not refused yet")
		}
		return nil
	})
	must(t, admin.Delete(t.Context(), probe))
	return lift
}
