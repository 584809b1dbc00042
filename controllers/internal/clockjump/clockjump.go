package clockjump

import (
	"context"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/util/workqueue"
	"sigs.k8s.io/controller-runtime/pkg/event"
	"sigs.k8s.io/controller-runtime/pkg/handler"
	"sigs.k8s.io/controller-runtime/pkg/reconcile"
	"sigs.k8s.io/controller-runtime/pkg/source"
)

const (
	// clockCheck is how often it is looked whether the clock was set.
	clockCheck = time.Second
	// clockStep is the least that counts as setting it.
	clockStep = time.Second
)

// ClockSet is a source that gives a handler an event without an object when the clock
// was set. What is to be done at a time of day, such as the end of an exception, waits
// for so long as it was until then: no timer hears of a clock that was set, nor of
// a machine that slept.
func ClockSet(now func() time.Time, then handler.EventHandler) source.Source {
	return source.Func(func(ctx context.Context, q workqueue.TypedRateLimitingInterface[reconcile.Request]) error {
		since := newOffset(now(), time.Now())
		go wait.UntilWithContext(ctx, func(ctx context.Context) {
			if since.changed(now(), time.Now()) {
				then.Generic(ctx, event.GenericEvent{}, q)
			}
		}, clockCheck)
		return nil
	})
}

// offset is how far the clock is ahead of the timers.
type offset struct{ clock, timers time.Time }

// newOffset takes the time of day and one that has a monotonic reading.
func newOffset(clock, timers time.Time) *offset {
	return &offset{clock.Round(0), timers}
}

// changed says whether the offset is another than it was, and holds the new one if so.
func (o *offset) changed(clock, timers time.Time) bool {
	by := clock.Round(0).Sub(o.clock) - timers.Sub(o.timers)
	if by.Abs() < clockStep {
		return false
	}
	*o = *newOffset(clock, timers)
	return true
}
