package report

import (
	"fmt"
	"strings"
	"time"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

const (
	// contestThreshold is how often an author must repeat a change within
	// contestWindow to contest it.
	contestThreshold = 3
	contestWindow    = 5 * time.Minute
)

// ContestEndTime returns when a drift stops being contested if it does not repeat. It
// returns the zero time if the drift is not contested.
func ContestEndTime(drift *v1alpha1.Drift) time.Time {
	if drift.Action == v1alpha1.DriftReported || len(drift.PreviousDetectionTimes) < contestThreshold-1 {
		return time.Time{}
	}
	if drift.DetectionTime.Sub(drift.PreviousDetectionTimes[contestThreshold-2].Time) >= contestWindow {
		return time.Time{}
	}
	return drift.DetectionTime.Add(contestWindow)
}

// FindContestingDrift returns the newest drift that contests a control at the time
// now, or nil.
func FindContestingDrift(drifts []v1alpha1.Drift, control *v1alpha1.ControlReport, now time.Time) *v1alpha1.Drift {
	for i := range drifts {
		if drifts[i].Control == control.Name && drifts[i].Baseline == control.Baseline && now.Before(ContestEndTime(&drifts[i])) {
			return &drifts[i]
		}
	}
	return nil
}

// contestMessage says who changes which fields and how to stop it. It contains nothing
// that changes while the contest lasts, because each new message would be a write of
// the report.
func contestMessage(drift *v1alpha1.Drift) string {
	author := "an unknown author"
	if drift.Manager != "" {
		author = fmt.Sprintf("%q", drift.Manager)
	}
	verb := "modifies"
	if drift.Operation == evaluation.OperationDelete {
		verb = "deletes"
	}
	subject := drift.Object
	paths := make([]string, 0, len(drift.Fields))
	pointers := make([]string, 0, len(drift.Fields))
	for _, field := range drift.Fields {
		paths = append(paths, field.Path)
		pointers = append(pointers, jsonPointer(field.Path))
	}
	if len(paths) > 0 {
		subject = strings.Join(paths, ", ") + " of " + drift.Object
	}
	return fmt.Sprintf("%s repeatedly %s %s; the operator reverts it at most once per second. %s",
		author, verb, subject, remediation(drift, strings.Join(pointers, ", ")))
}

// remediation says how to stop the author of a drift. pointers are the changed fields
// as JSON pointers.
func remediation(drift *v1alpha1.Drift, pointers string) string {
	kind, name, _ := strings.Cut(drift.Object, "/")
	switch {
	case strings.HasPrefix(drift.Manager, "argocd"):
		return fmt.Sprintf("Remove it from the source that Argo CD syncs. If you cannot, ignore %s of %s %s in "+
			"spec.ignoreDifferences[].jsonPointers of the Application, with the sync option RespectIgnoreDifferences=true", pointers, kind, name)
	case drift.Manager == "kustomize-controller":
		return fmt.Sprintf("Remove it from the source that Flux syncs. If you cannot, ignore %s of %s %s in "+
			"spec.ignore[].paths of the Kustomization (Flux 2.9 or later)", pointers, kind, name)
	case drift.Manager == "helm-controller":
		return fmt.Sprintf("Remove it from the Helm chart. If you cannot, ignore %s of %s %s in "+
			"spec.driftDetection.ignore[].paths of the Flux HelmRelease", pointers, kind, name)
	}
	return "Find and stop the author, change the baseline, or declare an exception"
}

// jsonPointer converts a path to a JSON pointer (RFC 6901).
func jsonPointer(path string) string {
	if key, ok := strings.CutPrefix(path, "metadata.labels."); ok {
		return "/metadata/labels/" + strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
	}
	return "/" + strings.ReplaceAll(path, ".", "/")
}
