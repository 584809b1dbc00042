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

// isRejected reports whether the API server rejected a deletion for good. After a
// timeout or a server error the deletion may still happen. NotFound and Conflict do not
// count: the harness may have deleted or recreated the object concurrently.
func isRejected(err error) bool {
	var status apierrors.APIStatus
	return errors.As(err, &status) && status.Status().Code < http.StatusInternalServerError && !apierrors.IsNotFound(err) && !apierrors.IsConflict(err)
}

// ignoreExpected returns only errors that show a mistake in the harness, such as an
// invalid patch. An edit may fail while the API server is down, while etcd is full, or
// because the object changed meanwhile.
func ignoreExpected(err error) error {
	if apierrors.IsBadRequest(err) || apierrors.IsInvalid(err) || apierrors.IsMethodNotSupported(err) {
		return err
	}
	return nil
}

// retryTimeout limits retry.
const retryTimeout = 2 * time.Minute

// retry calls do until it succeeds or retryTimeout has passed. The error includes the
// last one of do.
func retry(ctx context.Context, do func() error) error {
	var last error
	ctx, cancel := context.WithTimeout(ctx, retryTimeout)
	defer cancel()
	err := wait.PollUntilContextCancel(ctx, 100*time.Millisecond, true, func(context.Context) (bool, error) {
		last = do()
		return last == nil, nil
	})
	if err != nil && last != nil {
		return fmt.Errorf("%w; last error: %w", err, last)
	}
	return err
}

// pause waits for d or until the context is done.
func pause(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}

// repeat calls do until the context is done. It pauses between calls, for interval on
// average.
func repeat(ctx context.Context, interval time.Duration, do func() error) error {
	for ctx.Err() == nil {
		if err := do(); err != nil && ctx.Err() == nil {
			return err
		}
		pause(ctx, rand.N(2*interval))
	}
	return nil
}

// remaining returns the time until the deadline of the context.
func remaining(ctx context.Context) time.Duration {
	end, _ := ctx.Deadline()
	return time.Until(end)
}

// concurrently runs n calls of do at the same time and joins their errors.
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

// ignoreIfOver returns nil if the fault is over, that is, if its context is done. An
// error is expected then.
func ignoreIfOver(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return nil
	}
	return err
}
