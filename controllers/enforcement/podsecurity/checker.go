// Package podsecurity finds out how the pods that run in a namespace compare to a
// pod-security level, and which level may be enforced.
//
// When the enforce label of a namespace changes, the API server's own Pod Security
// admission evaluates the running pods and warns about those that violate the new level.
// A dry run of such a change asks the API server, which has all pods in memory, which of
// them violate the level.
// https://github.com/kubernetes/kubernetes/blob/v1.36.3/staging/src/k8s.io/pod-security-admission/admission/admission.go
package podsecurity

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/sets"
	podsecurityapi "k8s.io/pod-security-admission/api"
	podsecuritypolicy "k8s.io/pod-security-admission/policy"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/controls"
	"github.com/securitybaseline/operator/controllers/internal/kube"
	"github.com/securitybaseline/operator/controllers/internal/ttlmap"
)

// checkInterval is the minimum time between two checks of the same level in a
// namespace.
const checkInterval = 3 * time.Second

// Checker asks the API server which running pods violate a level.
type Checker struct {
	// Client reads from the cache and writes dry runs; its warnings go to Warnings.
	Client client.Client

	// Live reads from the API server.
	Live client.Reader

	Clock clock.PassiveClock

	// Results are those of the last moments.
	Results *Results
}

// Results are the answers of the API server about running pods, by the UID of the namespace
// and the level. The zero value is ready to use.
type Results struct{ answers ttlmap.Map[cachedResult] }

// Input is what an assessment of the pods in a namespace depends on.
type Input struct {
	Namespace *metav1.PartialObjectMetadata
	// OwnedLabels are the keys of the namespace's labels that only the operator owns.
	OwnedLabels sets.Set[string]
	// Spec is the spec of the baseline that declares the control, and Level the level that
	// it enforces in the end.
	Spec  *v1alpha1.SecurityBaselineSpec
	Level podsecurityapi.LevelVersion
	// Previous is what the report says; nil if nothing.
	Previous *v1alpha1.PodSecurityReport
}

// Assess compares the running pods to the level that a baseline expects. It asks the API
// server only what the report does not say, what may have changed since, and what the due
// change of the labels will not show. The assessment is valid even if an error says that
// the API server did not answer.
func (c *Checker) Assess(ctx context.Context, in Input) (Assessment, error) {
	current := EnforcedLevel(in.Namespace.Labels)
	reached := reachedLevel(in, current)
	assessment := Assessment{
		level: in.Level, reached: reached, Enforced: reached, isProtected: !controls.IsBelow(current, in.Level),
	}
	if previous := in.Previous; previous != nil && previous.Level == in.Level.String() {
		assessment.isKnown = true
		assessment.isProvisional = previous.Provisional
		assessment.checkResult = checkResult{violations: previous.Violations, incomplete: previous.Incomplete}
	}
	levels := controls.RolloutLevels(in.Spec, reached)
	assessment.isRollout = len(levels) > 0
	assessment.canRaiseLevel = assessment.isRollout && !in.Spec.IsAudit()
	cached, isCached := c.recentResult(in.Namespace, in.Level)
	if isCached {
		// The report may not show yet what the API server said a moment ago.
		assessment.isKnown = true
		assessment.checkResult = cached.decisive(assessment.canRaiseLevel)
	}
	switch {
	case in.Level.Level == podsecurityapi.LevelPrivileged:
		assessment.isKnown = true
		return assessment, nil
	case assessment.isRollout:
		return c.findCleanLevel(ctx, in.Namespace, assessment, levels)
	case isCached, assessment.IsSettled():
		return assessment, nil
	case !in.Spec.IsAudit() && controls.IsBelow(current, in.Level):
		// The response to the change of the labels will show it.
		return assessment, nil
	}
	return c.findCleanLevel(ctx, in.Namespace, assessment, []podsecurityapi.LevelVersion{in.Level})
}

// findCleanLevel asks about levels, the highest first, until the running pods meet one. It
// does not ask again what the API server answered a moment ago. It looks for a rollout
// first: if that ends in between, its pods exist and are evaluated.
func (c *Checker) findCleanLevel(
	ctx context.Context, namespace *metav1.PartialObjectMetadata, assessment Assessment, levels []podsecurityapi.LevelVersion,
) (Assessment, error) {
	rollout := sync.OnceValues(func() (string, error) { return c.rolloutInProgress(ctx, namespace.Name) })
	for _, level := range levels {
		result, isCached := c.recentResult(namespace, level)
		if !isCached {
			var err error
			if result.rollout, err = rollout(); err == nil {
				result.checkResult, err = c.check(ctx, namespace, level)
			}
			if err != nil {
				return assessment, fmt.Errorf("checking which running pods violate %s: %w", level, err)
			}
			c.Results.answers.Set(resultKey(namespace, level), result, c.Clock.Now())
			if level == assessment.level {
				assessment.isKnown = true
				assessment.isProvisional = false
				assessment.checkResult = result.decisive(assessment.canRaiseLevel)
			}
		}
		if result.decisive(assessment.canRaiseLevel).isClean() {
			assessment.Enforced = level
			return assessment, nil
		}
	}
	return assessment, nil
}

// check asks the API server which running pods violate a level.
func (c *Checker) check(ctx context.Context, namespace *metav1.PartialObjectMetadata, level podsecurityapi.LevelVersion) (checkResult, error) {
	if !isCheckTriggered(EnforcedLevel(namespace.Labels), level) {
		level.Version = equivalentVersion(level.Version)
	}
	patch := kube.MergePatch(namespace, map[string]any{"labels": map[string]string{
		podsecurityapi.EnforceLevelLabel: string(level.Level), podsecurityapi.EnforceVersionLabel: level.Version.String(),
	}}, nil)
	ctx, warnings := CollectWarnings(ctx)
	err := c.Client.Patch(ctx, namespace.DeepCopy(), patch, client.DryRunAll)
	return parseWarnings(warnings.all()), err
}

// RecordLabels returns the assessment after a successful change of the namespace's labels,
// in response to which the API server warned about running pods.
func (c *Checker) RecordLabels(
	assessment Assessment, namespace *metav1.PartialObjectMetadata, change map[string]string, warnings *CollectedWarnings,
) Assessment {
	if !assessment.isCheckedBy(namespace.Labels, change) {
		return assessment
	}
	assessment.isKnown = true
	assessment.checkResult = parseWarnings(warnings.all())
	c.Results.answers.Set(resultKey(namespace, assessment.level), cachedResult{checkResult: assessment.checkResult}, c.Clock.Now())
	return assessment
}

// recentResult returns the result of a check less than checkInterval ago.
func (c *Checker) recentResult(namespace *metav1.PartialObjectMetadata, level podsecurityapi.LevelVersion) (cachedResult, bool) {
	result, age, ok := c.Results.answers.Get(resultKey(namespace, level), c.Clock.Now())
	return result, ok && age < checkInterval
}

func resultKey(namespace *metav1.PartialObjectMetadata, level podsecurityapi.LevelVersion) string {
	return string(namespace.UID) + "/" + level.String()
}

// reachedLevel returns the level whose enforcement was reached: the higher of what the
// report and the operator's own label say, because either may be old. Where another author
// owns the label of the version, the expected version was reached.
func reachedLevel(in Input, current podsecurityapi.LevelVersion) podsecurityapi.LevelVersion {
	reached := controls.PrivilegedLevel
	if in.OwnedLabels.Has(podsecurityapi.EnforceLevelLabel) {
		reached = current
		if !in.OwnedLabels.Has(podsecurityapi.EnforceVersionLabel) {
			reached.Version = in.Level.Version
		}
	}
	if in.Previous == nil {
		return reached
	}
	level, version, _ := strings.Cut(in.Previous.Enforced, ":")
	parsed, err := podsecurityapi.ParseVersion(version)
	recorded := podsecurityapi.LevelVersion{Level: podsecurityapi.Level(level), Version: parsed}
	if err == nil && controls.IsBelow(reached, recorded) {
		return recorded
	}
	return reached
}

// EnforcedLevel returns the level that a namespace's labels enforce. Where they say
// nothing, the API server may enforce a default of its own configuration, which it does
// not disclose.
func EnforcedLevel(labels map[string]string) podsecurityapi.LevelVersion {
	defaults := podsecurityapi.Policy{Enforce: controls.PrivilegedLevel, Audit: controls.PrivilegedLevel, Warn: controls.PrivilegedLevel}
	policy, _ := podsecurityapi.PolicyToEvaluate(labels, defaults)
	return policy.Enforce
}

// isCheckTriggered reports whether the API server evaluates the running pods when the label
// changes from one level to another.
func isCheckTriggered(from, to podsecurityapi.LevelVersion) bool {
	return to.Level != podsecurityapi.LevelPrivileged &&
		(from.Version != to.Version || podsecurityapi.CompareLevels(to.Level, from.Level) > 0)
}

// unknownMinor is a minor version that no API server knows. The API server treats it as its
// latest version.
const unknownMinor = 1000

// equivalentVersion returns another version of the standards with the same checks, to ask
// about where the label would not change otherwise. Where no other version has the same
// checks, it returns the next one, which has more.
func equivalentVersion(version podsecurityapi.Version) podsecurityapi.Version {
	if version.Latest() {
		return podsecurityapi.MajorMinorVersion(1, unknownMinor)
	}
	firstMinors := sets.New[int]()
	for _, check := range podsecuritypolicy.DefaultChecks() {
		for _, revision := range check.Versions {
			firstMinors.Insert(revision.MinimumVersion.Minor())
		}
	}
	if !firstMinors.Has(version.Minor()) {
		return podsecurityapi.MajorMinorVersion(1, version.Minor()-1)
	}
	return podsecurityapi.MajorMinorVersion(1, version.Minor()+1)
}
