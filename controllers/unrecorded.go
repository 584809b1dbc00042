package controllers

import (
	"slices"
	"sync"

	"k8s.io/apimachinery/pkg/types"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/evaluation"
)

// unrecorded holds, by the name of the namespace, the outcomes of the drifts that
// were put right while the report could not be written. They are recorded with
// the next report; an operator that ends before has them in its log only.
type unrecorded struct {
	mutex sync.Mutex
	held  map[string]held
}

// held is what is held for one namespace, and for none after it of the same name.
type held struct {
	namespace types.UID
	outcomes  []evaluation.Outcome
}

// maxUnrecorded is how many drifts are held for a control of a namespace.
const maxUnrecorded = 20

// keep holds what could not be recorded. What was not put right is found again.
func (u *unrecorded) keep(namespace client.Object, outcomes []evaluation.Outcome) {
	var kept []evaluation.Outcome
	for _, outcome := range outcomes {
		healed := slices.DeleteFunc(slices.Clone(outcome.Drifts), func(drift v1alpha1.Drift) bool {
			return drift.Action == v1alpha1.DriftReported
		})
		if len(healed) > 0 {
			kept = append(kept, evaluation.Outcome{
				Control: outcome.Control, Baseline: outcome.Baseline, Drifts: healed[max(0, len(healed)-maxUnrecorded):], HasOnlyDrifts: true,
			})
		}
	}
	if len(kept) == 0 {
		return
	}
	u.mutex.Lock()
	defer u.mutex.Unlock()
	if u.held == nil {
		u.held = map[string]held{}
	}
	u.held[namespace.GetName()] = held{namespace.GetUID(), kept}
}

// take returns what is held for a namespace, and holds it no more.
func (u *unrecorded) take(namespace client.Object) []evaluation.Outcome {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	held := u.held[namespace.GetName()]
	delete(u.held, namespace.GetName())
	if held.namespace != namespace.GetUID() {
		return nil
	}
	return held.outcomes
}

// forget forgets a namespace that is gone.
func (u *unrecorded) forget(namespace string) {
	u.mutex.Lock()
	defer u.mutex.Unlock()
	delete(u.held, namespace)
}

// joined returns the outcomes with the drifts that were held. Those of a baseline
// that does not govern the control any more are outcomes by themselves.
func joined(held, outcomes []evaluation.Outcome) []evaluation.Outcome {
	joined := slices.Clone(outcomes)
	for _, before := range held {
		i := slices.IndexFunc(joined, func(outcome evaluation.Outcome) bool {
			return outcome.Control == before.Control && outcome.Baseline == before.Baseline
		})
		if i < 0 {
			joined = append(joined, before)
			continue
		}
		joined[i].Drifts = slices.Concat(before.Drifts, joined[i].Drifts)
	}
	return joined
}
