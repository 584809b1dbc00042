package clockjump

import (
	"testing"
	"time"
)

func TestAClockThatWasSetIsNoticed(t *testing.T) {
	timers := time.Now()
	clock := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	o := newOffset(clock, timers)
	for _, step := range []struct {
		what          string
		clock, timers time.Duration
		changed       bool
	}{
		{"both go on", time.Hour, time.Hour, false},
		{"it is set ahead", 2 * time.Hour, time.Second, true},
		{"both go on from there", time.Minute, time.Minute, false},
		{"it is set back", -time.Hour, time.Second, true},
		{"it is corrected a little", time.Second + 600*time.Millisecond, time.Second, false},
		{"it is corrected a little again", time.Second + 600*time.Millisecond, time.Second, true},
		{"it is corrected a little back", time.Second - 600*time.Millisecond, time.Second, false},
	} {
		clock, timers = clock.Add(step.clock), timers.Add(step.timers)
		if o.changed(clock, timers) != step.changed {
			t.Errorf("%s: changed is %t", step.what, !step.changed)
		}
	}
}
