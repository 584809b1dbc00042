package inflight

import (
	"context"
	"errors"
	"testing"
)

func TestEvaluationsAreWaitedForThatBeganBefore(t *testing.T) {
	var e Evaluations
	if err := e.Wait(t.Context()); err != nil {
		t.Errorf("with none under way: %v", err)
	}

	endFirst := e.Begin()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := e.Wait(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("with one under way: %v", err)
	}

	waited := make(chan error)
	go func() { waited <- e.Wait(t.Context()) }()
	endFirst()
	if err := <-waited; err != nil {
		t.Errorf("when it has ended: %v", err)
	}
	// Another that begins is not held up, and one that has ended is forgotten.
	e.Begin()()
	if err := e.Wait(t.Context()); err != nil || len(e.underWay) != 0 {
		t.Errorf("%v, %d under way", err, len(e.underWay))
	}
}
