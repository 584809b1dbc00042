package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

// refused says whether the API server did not delete what it was asked to: without an
// answer, or when etcd did not answer it in time, it may do so yet. What is gone already
// may be so by the harness's own other hand.
func isRejected(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err)
}

// tolerated passes only the errors that the harness's own mistakes lead to: while the
// API server is down, while etcd is full and where things changed meanwhile, an edit
// comes to nothing.
func ignoreExpected(err error) error {
	if apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsMethodNotSupported(err) {
		return err
	}
	return nil
}

// patience is how long something is tried that must succeed in the end.
const retryTimeout = 2 * time.Minute

// retried does something until it succeeds.
func retry(ctx context.Context, do func() error) error {
	var last error
	ctx, cancel := context.WithTimeout(ctx, retryTimeout)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(context.Context) (bool, error) {
		last = do()
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w; at last: %w", err, last)
	}
	return err
}

// pause waits so long or until the context is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// times repeats something until the context is done.
func repeat(ctx context.Context, every time.Duration, do func() error) error {
	for ctx.Err() == nil {
		if err := do(); err != nil && ctx.Err() == nil {
			return err
		}
		pause(ctx, rand.N(2*every))
	}
	return nil
}

// left returns how long a fault has still to work.
func remaining(ctx context.Context) time.Duration {
	end, _ := ctx.Deadline()
	return time.Until(end)
}

// several does something so often at the same time.
func concurrently(n int, do func() error) error {
	failed := make(chan error, n)
	for range n {
		go func() { failed <- do() }()
	}
	errs := make([]error, 0, n)
	for range n {
		errs = append(errs, <-failed)
	}
	return errors.Join(errs...)
}

// unlessOver returns an error unless it came because the fault was over.
func ignoreIfOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
