package inflight

import (
	"context"
	"errors"
	"testing"
)

func TestTracker_WaitsForReconcilesThatStartedBefore(t *testing.T) {
	var tracker Tracker
	if err := tracker.Wait(t.Context()); err != nil {
		t.Errorf("Wait without a running reconcile: got %v, want no error", err)
	}

	endFirst := tracker.Begin()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := tracker.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("Wait with a canceled context: got %v, want %v", err, context.Canceled)
	}

	waited := make(chan error)
	go func() { waited <- tracker.Wait(t.Context()) }()
	endFirst()
	if err := <-waited; err != nil {
		t.Errorf("Wait after the reconcile ended: got %v, want no error", err)
	}
	// A reconcile that starts later can run, and the tracker forgets it when it ends.
	tracker.Begin()()
	if err := tracker.Wait(t.Context()); err != nil || len(tracker.running) != 0 {
		t.Errorf("Wait at the end: got %v with %d running, want no error with 0 running", err, len(tracker.running))
	}
}
