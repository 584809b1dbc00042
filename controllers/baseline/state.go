package baseline

import (
	"context"
	"fmt"
	"sync"
	"time"

	authenticationv1 "k8s.io/api/authentication/v1"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// state is all that the controller of baselines keeps in memory only. Each field says what is lost
// when the operator ends.
type state struct {
	// throttle limits how often statuses are computed.
	// Lost: at most one pause.
	throttle throttle
	// identity is the operator's user name.
	// Lost: nothing, the operator asks the API server again.
	identity identity
}

func newState() state {
	// Not the operator's clock: a pause must not depend on a wall clock that may be set.
	return state{throttle: throttle{clock: clock.RealClock{}}}
}

// throttle limits the computation of statuses to about half a CPU, by a pause after each that is as
// long as the computation. While a cluster converges, every report that changes affects a status.
// It needs no lock because the controller has one worker.
type throttle struct {
	clock clock.PassiveClock
	end   time.Time
}

// remaining returns how long the pause still lasts. It is not positive if there is none.
func (t *throttle) remaining() time.Duration { return t.end.Sub(t.clock.Now()) }

// start starts a computation. The caller must call pause when it has ended.
func (t *throttle) start() (pause func()) {
	started := t.clock.Now()
	return func() {
		now := t.clock.Now()
		t.end = now.Add(now.Sub(started))
	}
}

// identity asks the API server once who the operator is. The zero value is ready to use.
type identity struct {
	mutex sync.Mutex
	name  string
}

// get returns the operator's user name.
func (i *identity) get(ctx context.Context, writer client.Client) (string, error) {
	i.mutex.Lock()
	defer i.mutex.Unlock()
	if i.name != "" {
		return i.name, nil
	}
	review := &authenticationv1.SelfSubjectReview{}
	if err := writer.Create(ctx, review); err != nil {
		return "", fmt.Errorf("reading the operator's user name: %w", err)
	}
	i.name = review.Status.UserInfo.Username
	return i.name, nil
}
