package ratelimit

import (
	"testing"
	"time"
)

func TestLimiter_OneRepairPerInterval(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var limiter Limiter
	limiter.Record("a", now)
	for _, test := range []struct {
		name string
		key  string
		at   time.Time
		want time.Duration
	}{
		{name: "soon after a repair", key: "a", at: now.Add(300 * time.Millisecond), want: 700 * time.Millisecond},
		{name: "after the interval", key: "a", at: now.Add(time.Second), want: 0},
		{name: "another object", key: "b", at: now, want: 0},
		{name: "after the clock was set back", key: "a", at: now.Add(-time.Hour), want: 0},
	} {
		t.Run(test.name, func(t *testing.T) {
			if got := limiter.Remaining(test.key, test.at); got != test.want {
				t.Errorf("got %s remaining, want %s", got, test.want)
			}
		})
	}
}
