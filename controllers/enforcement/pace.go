package enforcement

import (
	"maps"
	"sync"
	"time"
)

// remembered is how long a memory holds what it was told, at least.
const remembered = time.Minute

// memory holds what was last, and when, for a while.
type memory[T any] struct {
	mutex  sync.Mutex
	last   map[string]moment[T]
	forgot time.Time
}

type moment[T any] struct {
	value T
	at    time.Time
}

// ago returns what was last and how long ago. It remembers nothing of what lies
// ahead, after the clock was set back.
func (m *memory[T]) ago(what string, now time.Time) (value T, ago time.Duration, ok bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	last, ok := m.last[what]
	return last.value, now.Sub(last.at), ok && !now.Before(last.at)
}

// set holds what is now. What was long ago is forgotten.
func (m *memory[T]) set(what string, value T, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.last == nil {
		m.last = map[string]moment[T]{}
	}
	if now.Sub(m.forgot) > remembered {
		maps.DeleteFunc(m.last, func(_ string, last moment[T]) bool { return now.Sub(last.at) > remembered })
		m.forgot = now
	}
	m.last[what] = moment[T]{value, now}
}

// healEvery is how often an object that was changed is put right, at most.
const healEvery = time.Second

// Pace spaces out what would otherwise be done as often as somebody gives cause.
// It never spaces out further: whoever is persistent gains nothing.
type Pace struct{ memory[struct{}] }

// Due returns how long is left until something may be done again; zero or less
// if it may be done now.
func (p *Pace) Due(what string, now time.Time) time.Duration {
	_, ago, ok := p.ago(what, now)
	if !ok {
		return 0
	}
	return healEvery - ago
}

// Done notes that something was done.
func (p *Pace) Done(what string, now time.Time) { p.set(what, struct{}{}, now) }
