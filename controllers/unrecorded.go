package controllers

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/enforce"
)

// unrecorded holds, by the UID of the namespace, the outcomes of the drifts that
// were put right while the report could not be written. They are recorded with
// the next report; an operator that ends before has them in its log only.
type unrecorded struct {
	mutex    sync.Mutex
	outcomes map[types.UID][]enforce.Outcome
}

// maxUnrecorded is how many drifts are held for a control of a namespace.
const maxUnrecorded = 20

// keep holds what could not be recorded. What was not put right is found again.
func (u *unrecorded) keep(namespace types.UID, outcomes []enforce.Outcome) {
	var held []enforce.Outcome
	for _, outcome := range outcomes {
		healed := slices.DeleteFunc(slices.Clone(outcome.Drifts), func(drift v1alpha1.Drift) bool {
			return drift.Action == v1alpha1.DriftReported
		})
		if len(healed) > 0 {
			held = append(held, enforce.Outcome{
				Control: outcome.Control, Baseline: outcome.Baseline, Drifts: healed[max(0, len(healed)-maxUnrecorded):],
			})
		}
	}
	if len(held) == 0 {
		return
	}
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.outcomes == nil {
		u.outcomes = map[types.UID][]enforce.Outcome{}
	}
	u.outcomes[namespace] = held
}

// take returns what is held for a namespace, and holds it no more.
func (u *unrecorded) take(namespace types.UID) []enforce.Outcome {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	held := u.outcomes[namespace]
	delete(u.outcomes, namespace)
	return held
}

// joined returns the outcomes with the drifts that were held.
func joined(held, outcomes []enforce.Outcome) []enforce.Outcome {
	joined := slices.Clone(outcomes)
	for i := range joined {
		for _, outcome := range held {
			if outcome.Control == joined[i].Control && outcome.Baseline == joined[i].Baseline {
				joined[i].Drifts = slices.Concat(outcome.Drifts, joined[i].Drifts)
			}
		}
	}
	return joined
}
