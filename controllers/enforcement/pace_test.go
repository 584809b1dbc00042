package enforcement

import (
	"fmt"
	"testing"
	"time"
)

func TestPace(t *testing.T) {
	now := time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)
	var p Pace
	if left := p.Due("a", now); left > 0 {
		t.Errorf("what was never done is due in %s", left)
	}
	p.Done("a", now)
	if left := p.Due("a", now.Add(300*time.Millisecond)); left != 700*time.Millisecond {
		t.Errorf("it is due in %s", left)
	}
	if left := p.Due("b", now); left > 0 {
		t.Errorf("something else is due in %s", left)
	}
	if left := p.Due("a", now.Add(time.Second)); left > 0 {
		t.Errorf("a second later it is due in %s", left)
	}
	// A clock that was set back does not hold anything up for long.
	if left := p.Due("a", now.Add(-time.Hour)); left > time.Second {
		t.Errorf("after the clock was set back it is due in %s", left)
	}
	for i := range 1000 {
		p.Done(fmt.Sprint(i), now.Add(time.Duration(i)*time.Second))
	}
	if len(p.last) > 2*int(remembered/time.Second)+1 {
		t.Errorf("%d are remembered", len(p.last))
	}
}
