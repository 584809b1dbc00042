package baseline

import (
	"testing"
	"time"

	clocktesting "k8s.io/utils/clock/testing"
)

func TestThrottle_PausesAsLongAsTheComputationTook(t *testing.T) {
	fake := clocktesting.NewFakePassiveClock(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC))
	advance := func(duration time.Duration) { fake.SetTime(fake.Now().Add(duration)) }
	throttle := throttle{clock: fake}
	if got := throttle.remaining(); got > 0 {
		t.Errorf("before the first computation: remaining() = %s, want none", got)
	}
	pause := throttle.start()
	advance(2 * time.Second)
	pause()
	if got, want := throttle.remaining(), 2*time.Second; got != want {
		t.Errorf("after a computation of 2s: remaining() = %s, want %s", got, want)
	}
	advance(2 * time.Second)
	if got := throttle.remaining(); got > 0 {
		t.Errorf("after the pause: remaining() = %s, want none", got)
	}
}
