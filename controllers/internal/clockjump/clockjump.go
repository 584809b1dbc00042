// Package clockjump tells a controller that the wall clock was set, or that the machine was
// suspended. The operator waits for times of day, such as the expiration of an exception, with
// timers that measure elapsed time: they do not notice either. Timers that keep counting while the
// machine is suspended are proposed in https://github.com/golang/go/issues/36141. They would not
// notice a clock that was set, for which there is no upstream issue.
package clockjump

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"k8s.io/utils/clock"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	// checkInterval is how often the two clocks are compared.
	checkInterval = time.Second
	// minJump is the smallest difference that counts as a jump.
	minJump = time.Second
)

// NewSource returns a source that sends onJump a generic event without an object each time the wall
// clock jumps relative to the monotonic clock.
func NewSource(wallClock clock.PassiveClock, onJump handler.EventHandler) source.Source {
	return source.Func(func(ctx context.Context, queue workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		last := newReading(wallClock.Now(), time.Now())
		go wait.UntilWithContext(ctx, func(ctx context.Context) {
			if last.hasJumped(wallClock.Now(), time.Now()) {
				onJump.Generic(ctx, event.GenericEvent{}, queue)
			}
		}, checkInterval)
		return nil
	})
}

// reading is one reading of both clocks at the same moment.
type reading struct{ wall, monotonic time.Time }

// newReading drops the monotonic part of wall, so that only the time of day is compared.
func newReading(wall, monotonic time.Time) *reading {
	return &reading{wall: wall.Round(0), monotonic: monotonic}
}

// hasJumped reports whether the wall clock jumped since the last reading. If so, it replaces that
// reading.
func (r *reading) hasJumped(wall, monotonic time.Time) bool {
	jump := wall.Round(0).Sub(r.wall) - monotonic.Sub(r.monotonic)
	if jump.Abs() < minJump {
		return false
	}
	*r = *newReading(wall, monotonic)
	return true
}
