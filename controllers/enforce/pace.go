package enforce

import (
	"maps"
	"sync"
	"time"
)

// pace spaces out what would otherwise be done as often as somebody gives cause.
// It never spaces out further than asked: whoever is persistent gains nothing.
type pace struct {
	mutex  sync.Mutex
	last   map[string]time.Time
	forgot time.Time
}

// remembered is how long it is remembered at least when something was last done.
const remembered = time.Minute

// due returns how long is left until something may be done again that may be
// done once in a while; zero or less if it may be done now.
func (p *pace) due(what string, once time.Duration, now time.Time) time.Duration {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	last, ok := p.last[what]
	if !ok || now.Before(last) { // the clock was set back
		return 0
	}
	return once - now.Sub(last)
}

// done notes that something was done. What was done long ago is forgotten.
func (p *pace) done(what string, now time.Time) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if p.last == nil {
		p.last = map[string]time.Time{}
	}
	if now.Sub(p.forgot) > remembered {
		maps.DeleteFunc(p.last, func(_ string, last time.Time) bool { return now.Sub(last) > remembered })
		p.forgot = now
	}
	p.last[what] = now
}
