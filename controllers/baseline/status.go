package baseline

import (
	"context"
	"fmt"
	"time"

	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/internal/metadata"
	"github.com/securitybaseline/operator/controllers/precedence"
	"github.com/securitybaseline/operator/controllers/report"
)

// status computes the status of a baseline from the namespaces, the reports and the cluster as a
// whole.
func (r *Reconciler) status(ctx context.Context, baseline *v1alpha1.SecurityBaseline, now time.Time) (v1alpha1.SecurityBaselineStatus, error) {
	selects, err := precedence.NamespaceMatcher(baseline, r.Protected)
	if err != nil {
		return report.InvalidSelectorStatus(baseline, err, now), nil
	}
	// The lists are only read, so they need no copy.
	namespaces := metadata.NamespaceList()
	if err := r.Client.List(ctx, namespaces, client.UnsafeDisableDeepCopy); err != nil {
		return v1alpha1.SecurityBaselineStatus{}, fmt.Errorf("listing namespaces: %w", err)
	}
	var reports v1alpha1.BaselineReportList
	if err := r.Client.List(ctx, &reports, client.UnsafeDisableDeepCopy); err != nil {
		return v1alpha1.SecurityBaselineStatus{}, fmt.Errorf("listing reports: %w", err)
	}
	var selected []string
	for i := range namespaces.Items {
		if selects(&namespaces.Items[i]) {
			selected = append(selected, namespaces.Items[i].Name)
		}
	}
	byNamespace := make(map[string]*v1alpha1.BaselineReport, len(reports.Items))
	for i := range reports.Items {
		byNamespace[reports.Items[i].Namespace] = &reports.Items[i]
	}
	findings, err := r.clusterFindings(ctx, baseline, selected, now)
	if err != nil {
		return v1alpha1.SecurityBaselineStatus{}, err
	}
	return report.Summarize(baseline, selected, byNamespace, findings, now), nil
}

// clusterFindings returns what a baseline's status says about the cluster as a whole. selected are
// the namespaces that the baseline selects.
func (r *Reconciler) clusterFindings(ctx context.Context, baseline *v1alpha1.SecurityBaseline, selected []string, now time.Time) (report.ClusterFindings, error) {
	var findings report.ClusterFindings
	var baselines v1alpha1.SecurityBaselineList
	if err := r.Client.List(ctx, &baselines, client.UnsafeDisableDeepCopy); err != nil {
		return findings, fmt.Errorf("listing SecurityBaselines: %w", err)
	}
	if err := r.addAdmissionParameters(ctx, baseline, baselines.Items, &findings, now); err != nil {
		return findings, err
	}
	if err := r.checkClusterRBAC(ctx, baseline, baselines.Items, selected, &findings, now); err != nil {
		return findings, err
	}
	return findings, r.checkAdmissionPolicies(ctx, baseline, baselines.Items, &findings)
}
