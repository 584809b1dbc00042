// Package ttlmap remembers values for a while, by key. It is needed where an answer of
// the API server, or the operator's own last write, matters for some moments. The Expiring
// cache of apimachinery does not return the age of a value, and its LRU cache drops values
// by count. No upstream issue asks for this.
package ttlmap

import (
	"maps"
	"sync"
	"time"
)

// TTL is how long a map remembers a value, at least.
const TTL = time.Minute

// Map remembers values and when they were set. The zero value is ready to use.
type Map[T any] struct {
	mutex     sync.Mutex
	entries   map[string]entry[T]
	lastSweep time.Time
}

type entry[T any] struct {
	value T
	setAt time.Time
}

// Get returns the value of a key and its age. An entry that lies in the future, because
// the clock was set back, is not found.
func (m *Map[T]) Get(key string, now time.Time) (value T, age time.Duration, ok bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	found, ok := m.entries[key]
	return found.value, now.Sub(found.setAt), ok && !now.Before(found.setAt)
}

// Set sets the value of a key and drops entries older than TTL.
func (m *Map[T]) Set(key string, value T, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.entries == nil {
		m.entries = map[string]entry[T]{}
	}
	if now.Sub(m.lastSweep) > TTL {
		maps.DeleteFunc(m.entries, func(_ string, e entry[T]) bool { return now.Sub(e.setAt) > TTL })
		m.lastSweep = now
	}
	m.entries[key] = entry[T]{value: value, setAt: now}
}
