// Package firstevent remembers when the first event arrived that no reconcile has finished
// handling, so that controllers can measure how long a drift existed. controller-runtime passes no
// time to a reconcile, and there is no upstream issue that asks for it.
package firstevent

import (
	"sync"
	"time"
)

// Times holds the time of the first unhandled event by key. The zero value is ready to use.
type Times struct {
	mutex sync.Mutex
	times map[string]time.Time
}

// Mark records an event unless an earlier one is recorded.
func (t *Times) Mark(key string, at time.Time) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.times == nil {
		t.times = map[string]time.Time{}
	}
	if first, ok := t.times[key]; ok && first.Before(at) {
		return
	}
	t.times[key] = at
}

// Take returns and forgets the time of the first event. It returns now if there was none.
func (t *Times) Take(key string, now time.Time) time.Time {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	first, ok := t.times[key]
	delete(t.times, key)
	if !ok {
		return now
	}
	return first
}

// Forget forgets a key.
func (t *Times) Forget(key string) {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	delete(t.times, key)
}
