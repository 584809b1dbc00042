package report

import (
	"slices"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// addDrift adds a drift to the list of a report, the newest first. A drift that
// repeats within contestWindow is counted in its existing entry, so that frequent
// repetitions do not displace the other drifts.
func addDrift(drifts []v1alpha1.Drift, drift v1alpha1.Drift) []v1alpha1.Drift {
	drifts = slices.Clone(drifts)
	index := slices.IndexFunc(drifts, func(previous v1alpha1.Drift) bool {
		return isSameDrift(&previous, &drift) && drift.DetectionTime.Sub(previous.DetectionTime.Time) < contestWindow
	})
	if index >= 0 {
		drift = mergeDrifts(drifts[index], drift)
		drifts = slices.Delete(drifts, index, index+1)
	}
	drifts = append([]v1alpha1.Drift{drift}, drifts...)
	slices.SortStableFunc(drifts, func(a, b v1alpha1.Drift) int { return b.DetectionTime.Compare(a.DetectionTime.Time) })
	return drifts[:min(len(drifts), maxDrifts)]
}

// mergeDrifts returns the entry for a drift that repeats a previous one.
func mergeDrifts(previous, drift v1alpha1.Drift) v1alpha1.Drift {
	drift.Count = max(previous.Count, 1) + 1
	drift.PreviousDetectionTimes = append([]metav1.Time{previous.DetectionTime}, previous.PreviousDetectionTimes...)
	drift.PreviousDetectionTimes = drift.PreviousDetectionTimes[:min(len(drift.PreviousDetectionTimes), contestThreshold-1)]
	for _, field := range previous.Fields {
		if !slices.ContainsFunc(drift.Fields, hasPathOf(field)) {
			drift.Fields = append(slices.Clone(drift.Fields), field)
		}
	}
	return drift
}

// isSameDrift reports whether two drifts are the same change by the same author: they
// share at least one field, or neither has any.
func isSameDrift(a, b *v1alpha1.Drift) bool {
	return a.Control == b.Control && a.Baseline == b.Baseline && a.Object == b.Object &&
		a.Manager == b.Manager && a.Operation == b.Operation && a.Action == b.Action &&
		(len(a.Fields) == 0 && len(b.Fields) == 0 || slices.ContainsFunc(a.Fields, func(field v1alpha1.FieldDifference) bool {
			return slices.ContainsFunc(b.Fields, hasPathOf(field))
		}))
}

// hasPathOf returns a function that reports whether a difference has the path of field.
func hasPathOf(field v1alpha1.FieldDifference) func(v1alpha1.FieldDifference) bool {
	return func(other v1alpha1.FieldDifference) bool { return other.Path == field.Path }
}

// IsNewDrift reports whether the report lists a drift as a new entry rather than as a
// repetition.
func IsNewDrift(report v1alpha1.BaselineReportData, drift *v1alpha1.Drift) bool {
	return slices.ContainsFunc(report.Drifts, func(recorded v1alpha1.Drift) bool {
		return recorded.Count == 0 && recorded.DetectionTime.Equal(&drift.DetectionTime) && isSameDrift(&recorded, drift)
	})
}

// DropKnownUnreverted returns the outcomes without the unreverted drifts that the prior report
// already reflects, because its inventory no longer lists the object. An evaluation
// that reads an outdated report, which still lists the object, detects them again.
func DropKnownUnreverted(prior v1alpha1.BaselineReportData, outcomes []evaluation.Outcome) []evaluation.Outcome {
	return dropDrifts(outcomes, func(outcome *evaluation.Outcome, drift *v1alpha1.Drift) bool {
		if drift.Action != v1alpha1.DriftReported {
			return false
		}
		control := FindControl(prior, outcome.Control, outcome.Baseline)
		return control == nil || !slices.ContainsFunc(control.Inventory, func(entry v1alpha1.InventoryEntry) bool {
			return entry.Object == drift.Object
		})
	})
}

// DropListed returns the outcomes without the drifts that the prior report already
// lists. This happens if the report was written but the response to the write was
// lost. The detection time in seconds identifies a drift, because the operator reverts
// an object at most once per second.
func DropListed(prior v1alpha1.BaselineReportData, outcomes []evaluation.Outcome) []evaluation.Outcome {
	return dropDrifts(outcomes, func(_ *evaluation.Outcome, drift *v1alpha1.Drift) bool {
		return slices.ContainsFunc(prior.Drifts, func(recorded v1alpha1.Drift) bool {
			times := append([]metav1.Time{recorded.DetectionTime}, recorded.PreviousDetectionTimes...)
			return isSameDrift(&recorded, drift) && slices.ContainsFunc(times, func(t metav1.Time) bool { return t.Unix() == drift.DetectionTime.Unix() })
		})
	})
}

// dropDrifts returns copies of the outcomes without the drifts that shouldDrop selects.
func dropDrifts(outcomes []evaluation.Outcome, shouldDrop func(*evaluation.Outcome, *v1alpha1.Drift) bool) []evaluation.Outcome {
	kept := slices.Clone(outcomes)
	for i := range kept {
		kept[i].Drifts = slices.DeleteFunc(slices.Clone(kept[i].Drifts), func(drift v1alpha1.Drift) bool {
			return shouldDrop(&kept[i], &drift)
		})
	}
	return kept
}
