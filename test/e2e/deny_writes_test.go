package e2e

import (
	"context"
	"fmt"
	"strings"
	"testing"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	networkingv1 "k8s.io/api/networking/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/testutil"
)

// denialMessage is the message of the policies of denyOperatorWritesAndWait.
const denialMessage = "denied by another policy"

// denyOperatorWritesAndWait has an admission policy deny the operator an operation on
// NetworkPolicies and on other resources in a namespace, until allow is called. It waits
// until the API server denies the operation on NetworkPolicies.
func denyOperatorWritesAndWait(t *testing.T, namespace string, operation admissionregistrationv1.OperationType, resources ...string) (allow func()) {
	t.Helper()
	name := testutil.Name(t)
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
				Expression: "request.namespace != '" + namespace + "' || request.userInfo.username == 'admin'", Message: denialMessage,
			}},
		},
	}
	binding := &admissionregistrationv1.ValidatingAdmissionPolicyBinding{
		ObjectMeta: metav1.ObjectMeta{Name: name},
		Spec: admissionregistrationv1.ValidatingAdmissionPolicyBindingSpec{
			PolicyName: name, ValidationActions: []admissionregistrationv1.ValidationAction{admissionregistrationv1.Deny},
		},
	}
	env.Create(t, policy)
	env.Create(t, binding)
	allow = func() { env.Delete(t, binding); env.Delete(t, policy) }

	// The API server enforces the policy only after a moment.
	restConfig, err := env.Cluster.OperatorConfig(t.Context())
	testutil.Must(t, err)
	operator, err := client.New(restConfig, client.Options{Scheme: controllers.Scheme()})
	testutil.Must(t, err)
	probe := &networkingv1.NetworkPolicy{ObjectMeta: metav1.ObjectMeta{Namespace: namespace, Name: "probe"}}
	testutil.Must(t, env.Admin.Create(t.Context(), probe))
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
	testutil.WaitFor(t, func(ctx context.Context) error {
		if err := attempts[operation](ctx); err == nil || !strings.Contains(err.Error(), denialMessage) {
			return fmt.Errorf("%s as the operator: got %w, want an error with %q", operation, err, denialMessage)
		}
		return nil
	})
	testutil.Must(t, env.Admin.Delete(t.Context(), probe))
	return allow
}
