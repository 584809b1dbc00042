package inflight

import (
	"context"
	"sync"
)

// Evaluations knows which evaluations of namespaces are under way.
type Evaluations struct {
	mutex    sync.Mutex
	underWay map[chan struct{}]struct{}
}

// Begin notes that an evaluation begins. The function that it returns notes that
// it has ended.
func (e *Evaluations) Begin() (end func()) {
	ended := make(chan struct{})
	e.mutex.Lock()
	defer e.mutex.Unlock()
	if e.underWay == nil {
		e.underWay = map[chan struct{}]struct{}{}
	}
	e.underWay[ended] = struct{}{}
	return func() {
		e.mutex.Lock()
		defer e.mutex.Unlock()
		delete(e.underWay, ended)
		close(ended)
	}
}

// Wait waits until the evaluations that are under way now have ended. It holds
// up none that begins later. The error is the context's.
func (e *Evaluations) Wait(ctx context.Context) error {
	e.mutex.Lock()
	before := make([]chan struct{}, 0, len(e.underWay))
	for ended := range e.underWay {
		before = append(before, ended)
	}
	e.mutex.Unlock()
	for _, ended := range before {
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}
