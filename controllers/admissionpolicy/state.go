package admissionpolicy

import (
	"sync"

	"github.com/securitybaseline/operator/controllers/internal/firstevent"
	"github.com/securitybaseline/operator/controllers/internal/ratelimit"
)

// state is all that the controller of admission policies keeps in memory only. Each field says what
// is lost when the operator ends.
type state struct {
	// firstEvent is the time of the first event of a policy or binding that is not handled yet.
	// Lost: the metric of how long a drift existed counts from the restart.
	firstEvent firstevent.Times
	// rateLimit limits how often each object is reverted.
	// Lost: an object may be reverted once more than the limit allows.
	rateLimit ratelimit.Limiter
	// applied are the revisions of the objects that were found or made up to date, by Kind/name. An
	// object that differs from its revision here has drifted.
	// Lost: a change made while no operator runs is reverted, but not reported as drift.
	applied map[string]string
	// applyErrors are why objects could not be applied.
	// Lost: nothing, since applying them fails again.
	applyErrors applyErrors
}

// applyErrors holds errors by Kind/name. The zero value is ready to use.
type applyErrors struct {
	mutex  sync.Mutex
	errors map[string]error
}

// set records an error. It forgets the previous one if err is nil.
func (a *applyErrors) set(id string, err error) {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	if err == nil {
		delete(a.errors, id)
		return
	}
	if a.errors == nil {
		a.errors = map[string]error{}
	}
	a.errors[id] = err
}

func (a *applyErrors) get(id string) error {
	a.mutex.Lock()
	defer a.mutex.Unlock()
	return a.errors[id]
}
