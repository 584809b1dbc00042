package firstevent

import (
	"testing"
	"time"
)

func TestTimes_KeepsTheFirstEvent(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var times Times
	if got := times.Take("a", now); !got.Equal(now) {
		t.Errorf("without an event: got %s, want %s", got, now)
	}
	times.Mark("a", now)
	times.Mark("a", now.Add(time.Second))
	if got := times.Take("a", now.Add(time.Minute)); !got.Equal(now) {
		t.Errorf("after two events: got %s, want the first, %s", got, now)
	}
	// A reconcile that did not finish marks the earlier event again.
	times.Mark("a", now.Add(2*time.Second))
	times.Mark("a", now)
	if got := times.Take("a", now.Add(time.Minute)); !got.Equal(now) {
		t.Errorf("after an unfinished reconcile: got %s, want %s", got, now)
	}
	times.Mark("a", now)
	times.Forget("a")
	if len(times.times) > 0 {
		t.Errorf("after Forget: got %v, want none", times.times)
	}
}
