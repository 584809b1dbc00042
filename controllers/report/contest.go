package report

import (
	"fmt"
	"slices"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforcement"
)

const (
	// contestTimes is how often somebody must change the same back, within
	// contestWindow, to contest it.
	contestTimes  = 3
	contestWindow = 5 * time.Minute
)

// record adds a drift to those that a report lists, newest first. One that came
// before, and not long ago, is counted in the same entry, so that a fight does
// not drive all others out.
func record(drifts []v1alpha1.Drift, drift v1alpha1.Drift) []v1alpha1.Drift {
	drifts = slices.Clone(drifts)
	again := slices.IndexFunc(drifts, func(before v1alpha1.Drift) bool {
		return sameDrift(&before, &drift) && drift.DetectionTime.Sub(before.DetectionTime.Time) < contestWindow
	})
	if again >= 0 {
		before := drifts[again]
		drift.Count = max(before.Count, 1) + 1
		drift.PreviousDetectionTimes = append([]metav1.Time{before.DetectionTime}, before.PreviousDetectionTimes...)
		drift.PreviousDetectionTimes = drift.PreviousDetectionTimes[:min(len(drift.PreviousDetectionTimes), contestTimes-1)]
		for _, field := range before.Fields {
			if !slices.ContainsFunc(drift.Fields, samePath(field)) {
				drift.Fields = append(slices.Clone(drift.Fields), field)
			}
		}
		drifts = slices.Delete(drifts, again, again+1)
	}
	drifts = append([]v1alpha1.Drift{drift}, drifts...)
	slices.SortStableFunc(drifts, func(a, b v1alpha1.Drift) int { return b.DetectionTime.Compare(a.DetectionTime.Time) })
	return drifts[:min(len(drifts), maxDrifts)]
}

// sameDrift says whether the same was done to the same field, among others
// perhaps, in the same way.
func sameDrift(a, b *v1alpha1.Drift) bool {
	return a.Control == b.Control && a.Baseline == b.Baseline && a.Object == b.Object &&
		a.Manager == b.Manager && a.Operation == b.Operation && a.Action == b.Action &&
		(len(a.Fields) == 0 && len(b.Fields) == 0 || slices.ContainsFunc(a.Fields, func(field v1alpha1.FieldDifference) bool {
			return slices.ContainsFunc(b.Fields, samePath(field))
		}))
}

func samePath(field v1alpha1.FieldDifference) func(v1alpha1.FieldDifference) bool {
	return func(other v1alpha1.FieldDifference) bool { return other.Path == field.Path }
}

// New says whether a drift that was recorded is not one that came before.
func IsNewDrift(report v1alpha1.BaselineReportData, drift *v1alpha1.Drift) bool {
	return slices.ContainsFunc(report.Drifts, func(recorded v1alpha1.Drift) bool {
		return recorded.Count == 0 && recorded.DetectionTime.Equal(&drift.DetectionTime) && sameDrift(&recorded, drift)
	})
}

// ContestEnds returns when it is over that the fields of a drift are contested,
// if nothing more happens: zero if they are not.
func ContestEndTime(drift *v1alpha1.Drift) time.Time {
	if drift.Action == v1alpha1.DriftReported || len(drift.PreviousDetectionTimes) < contestTimes-1 {
		return time.Time{}
	}
	if drift.DetectionTime.Sub(drift.PreviousDetectionTimes[contestTimes-2].Time) >= contestWindow {
		return time.Time{}
	}
	return drift.DetectionTime.Add(contestWindow)
}

// ContestedBy returns the newest drift by which a control is contested now, or
// nil.
func FindContestingDrift(drifts []v1alpha1.Drift, control *v1alpha1.ControlReport, now time.Time) *v1alpha1.Drift {
	for i := range drifts {
		if drifts[i].Control == control.Name && drifts[i].Baseline == control.Baseline && now.Before(ContestEndTime(&drifts[i])) {
			return &drifts[i]
		}
	}
	return nil
}

// contestMessage names who contests what, and what to do about it. It says
// nothing that changes while the fight goes on.
func contestMessage(drift *v1alpha1.Drift) string {
	kind, name, _ := strings.Cut(drift.Object, "/")
	fields, pointers := "", ""
	if len(drift.Fields) > 0 {
		paths, ignored := make([]string, 0, len(drift.Fields)), make([]string, 0, len(drift.Fields))
		for _, field := range drift.Fields {
			paths = append(paths, field.Path)
			ignored = append(ignored, jsonPointer(field.Path))
		}
		fields, pointers = strings.Join(paths, ", ")+" of ", strings.Join(ignored, ", ")
	}
	who, does := "somebody, whom Kubernetes does not record,", "changing"
	if drift.Manager != "" {
		who = fmt.Sprintf("%q", drift.Manager)
	}
	if drift.Operation == enforcement.OperationDelete {
		does = "deleting"
	}
	return fmt.Sprintf("%s keeps %s %s%s; it is put right each time, at most once a second. %s", who, does, fields, drift.Object, remedy(drift.Manager, kind, name, pointers))
}

// remedy says how to make a manager stop.
func remedy(manager, kind, name, pointers string) string {
	switch {
	case strings.HasPrefix(manager, "argocd"):
		return fmt.Sprintf("Take it out of what Argo CD syncs or, where that cannot be, ignore %s of %s %s under "+
			"spec.ignoreDifferences[].jsonPointers of the Application, with the sync option RespectIgnoreDifferences=true", pointers, kind, name)
	case manager == "kustomize-controller":
		return fmt.Sprintf("Take it out of what Flux syncs or, where that cannot be, ignore %s of %s %s under "+
			"spec.ignore[].paths of the Kustomization (Flux 2.9 or later)", pointers, kind, name)
	case manager == "helm-controller":
		return fmt.Sprintf("Take it out of the Helm chart or, where that cannot be, ignore %s of %s %s under "+
			"spec.driftDetection.ignore[].paths of the Flux HelmRelease", pointers, kind, name)
	}
	return "Find what does it and make it stop, or change the baseline, or declare an exception"
}

// jsonPointer returns a path as a JSON pointer, RFC 6901.
func jsonPointer(path string) string {
	if key, ok := strings.CutPrefix(path, "metadata.labels."); ok {
		return "/metadata/labels/" + strings.ReplaceAll(strings.ReplaceAll(key, "~", "~0"), "/", "~1")
	}
	return "/" + strings.ReplaceAll(path, ".", "/")
}
