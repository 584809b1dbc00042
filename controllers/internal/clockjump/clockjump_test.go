package clockjump

import (
	"testing"
	"time"
)

func TestReading_DetectsJumpsOfTheWallClock(t *testing.T) {
	monotonic := time.Now()
	wall := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	last := newReading(wall, monotonic)
	for _, step := range []struct {
		name            string
		wall, monotonic time.Duration
		want            bool
	}{
		{name: "both advance", wall: time.Hour, monotonic: time.Hour, want: false},
		{name: "the wall clock is set forward", wall: 2 * time.Hour, monotonic: time.Second, want: true},
		{name: "both advance from there", wall: time.Minute, monotonic: time.Minute, want: false},
		{name: "the wall clock is set back", wall: -time.Hour, monotonic: time.Second, want: true},
		{name: "a correction below the minimum", wall: time.Second + 600*time.Millisecond, monotonic: time.Second, want: false},
		{name: "a second correction that reaches the minimum", wall: time.Second + 600*time.Millisecond, monotonic: time.Second, want: true},
		{name: "a correction back below the minimum", wall: time.Second - 600*time.Millisecond, monotonic: time.Second, want: false},
	} {
		wall = wall.Add(step.wall)
		monotonic = monotonic.Add(step.monotonic)
		if got := last.hasJumped(wall, monotonic); got != step.want {
			t.Errorf("%s: hasJumped() = %t, want %t", step.name, got, step.want)
		}
	}
}
