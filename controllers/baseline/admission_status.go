package baseline

import (
	"context"
	"fmt"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/admissionobjects"
	"github.com/securitybaseline/operator/controllers/policies"
	"github.com/securitybaseline/operator/controllers/precedence"
	"github.com/securitybaseline/operator/controllers/report"
)

// addAdmissionParameters sets status.admission, which the admission policies read as their
// parameters. A finding tells what exceeds the limits of its lists.
func (r *Reconciler) addAdmissionParameters(
	ctx context.Context, baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, findings *report.ClusterFindings, now time.Time,
) error {
	operator, err := r.state.identity.get(ctx, r.Client)
	if err != nil {
		return err
	}
	parameters := &v1alpha1.AdmissionStatus{Operator: operator}
	findings.Admission = parameters
	for i := range baseline.Spec.Exceptions {
		if baseline.Spec.Exceptions[i].IsActive(now) {
			parameters.Exceptions = append(parameters.Exceptions, baseline.Spec.Exceptions[i].Name)
		}
	}
	if baseline.Spec.Guard != nil {
		guarded, omitted := precedence.SelectingLabels(baselines)
		parameters.GuardedLabels = guarded
		if omitted > 0 {
			findings.Findings = append(findings.Findings, fmt.Sprintf("too many labels in namespace selectors: the guard does not protect %d of them", omitted))
		}
	}
	if policies.ShouldLabelNewNamespaces(&baseline.Spec) {
		higher, omitted := precedence.HigherPrecedence(baseline, baselines)
		parameters.HigherPrecedence = higher
		if omitted > 0 {
			findings.Findings = append(findings.Findings, fmt.Sprintf(
				"too many baselines with higher precedence: admission does not know %d of them, so new namespaces that they govern get labels of this baseline at creation", omitted))
		}
		parameters.ProtectedNamespaces = sets.List(r.Protected)
	}
	return nil
}

// checkAdmissionPolicies finds out whether the admission policies and bindings that a baseline
// needs are in place.
func (r *Reconciler) checkAdmissionPolicies(
	ctx context.Context, baseline *v1alpha1.SecurityBaseline, baselines []v1alpha1.SecurityBaseline, findings *report.ClusterFindings,
) error {
	existing, err := admissionobjects.List(ctx, r.Client, r.IsMutatingServed)
	if err != nil {
		return err
	}
	var pending []string
	for _, needed := range policies.Objects(baselines, policies.Cluster{Protected: r.Protected, IsMutatingServed: r.IsMutatingServed}) {
		control := needed.UsedBy(baseline.Name)
		id := admissionobjects.ID(needed.Object)
		if actual := existing[id]; control == "" || actual != nil && admissionobjects.IsUpToDate(actual, needed.Object) {
			continue
		}
		pending = append(pending, id)
		if err := r.PolicyErrors.ApplyError(id); err != nil {
			if control == v1alpha1.ControlRBAC && findings.ClusterAdmin != nil {
				findings.ClusterAdmin.State = v1alpha1.StateFailed
			}
			findings.Violations = append(findings.Violations, v1alpha1.Violation{
				Control: control, State: v1alpha1.StateFailed, Message: fmt.Sprintf("%s: %v", id, err),
			})
		}
	}
	if len(pending) > 0 {
		findings.Pending = "not applied yet: " + strings.Join(pending, ", ")
	}
	findings.NewNamespacesHardened = r.newNamespacesCondition(baseline, findings.Pending)
	return nil
}

// newNamespacesCondition returns the condition NewNamespacesHardened. It returns nil if the
// baseline sets no labels on new namespaces. pending lists the policies that are not in place.
func (r *Reconciler) newNamespacesCondition(baseline *v1alpha1.SecurityBaseline, pending string) *metav1.Condition {
	if !policies.ShouldLabelNewNamespaces(&baseline.Spec) {
		return nil
	}
	if !r.IsMutatingServed {
		message := "the API server does not serve MutatingAdmissionPolicy v1 (Kubernetes 1.36 and later): new namespaces get their labels shortly after creation"
		if baseline.Spec.Network != nil && baseline.Spec.Network.WaitForDefaultDeny {
			message += ", and network.waitForDefaultDeny has no effect"
		}
		return &metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonMutatingAdmissionUnavailable, Message: message}
	}
	if pending != "" {
		return &metav1.Condition{Status: metav1.ConditionFalse, Reason: v1alpha1.ReasonPolicyNotReady, Message: pending}
	}
	return &metav1.Condition{
		Status: metav1.ConditionTrue, Reason: v1alpha1.ReasonPolicyReady, Message: "new namespaces that the baseline selects get their labels at creation",
	}
}
