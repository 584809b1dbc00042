// Package inflight lets one controller wait for the reconciles of another that have already
// started. A baseline that is being deleted must not lose its finalizer while a namespace is still
// reconciled with the baseline as it was before: that reconcile could create an object that is
// never removed. controller-runtime has no way to ask which reconciles are running, and there is no
// upstream issue for it.
package inflight

import (
	"context"
	"sync"
)

// Tracker holds the reconciles that are running. The zero value is ready to use. Lost when the
// operator ends: nothing, because its reconciles end with it.
type Tracker struct {
	mutex   sync.Mutex
	running map[chan struct{}]struct{}
}

// Begin records that a reconcile starts. The caller must call end when it has ended.
func (t *Tracker) Begin() (end func()) {
	ended := make(chan struct{})
	t.mutex.Lock()
	defer t.mutex.Unlock()
	if t.running == nil {
		t.running = map[chan struct{}]struct{}{}
	}
	t.running[ended] = struct{}{}
	return func() {
		t.mutex.Lock()
		defer t.mutex.Unlock()
		delete(t.running, ended)
		close(ended)
	}
}

// Wait waits until the reconciles that are running now have ended. It does not delay, or wait for,
// reconciles that start later. It returns the error of ctx if that is done first.
func (t *Tracker) Wait(ctx context.Context) error {
	for _, ended := range t.started() {
		select {
		case <-ended:
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return nil
}

// started returns the channels that close when the reconciles that are running now end.
func (t *Tracker) started() []chan struct{} {
	t.mutex.Lock()
	defer t.mutex.Unlock()
	started := make([]chan struct{}, 0, len(t.running))
	for ended := range t.running {
		started = append(started, ended)
	}
	return started
}
