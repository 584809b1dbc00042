package ttlmap

import (
	"fmt"
	"testing"
	"time"
)

func TestMap_ForgetsOldEntries(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var remembered Map[int]
	for i := range 1000 {
		remembered.Set(fmt.Sprint(i), i, now.Add(time.Duration(i)*time.Second))
	}
	if got, limit := len(remembered.entries), 2*int(TTL/time.Second)+1; got > limit {
		t.Errorf("got %d entries, want at most %d", got, limit)
	}
}
