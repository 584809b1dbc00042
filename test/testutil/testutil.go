// Package testutil holds what the tests on a control plane share: how they wait,
// how they create objects, and how they read what the operator writes.
//
// A function named WaitFor... polls until what it waits for holds, and fails the
// test after Timeout. Never checks that something does not happen. No test sleeps
// for a fixed time.
package testutil

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/util/wait"
)

const (
	// Timeout is how long a test waits for a condition. On an idle machine a
	// condition holds within a fraction of it; a busy machine takes longer.
	Timeout = 3 * time.Minute
	// PollInterval is the time between two checks of a condition.
	PollInterval = 20 * time.Millisecond
)

// WaitFor polls until check returns nil. The error of check says what differs.
func WaitFor(t *testing.T, check func(ctx context.Context) error) {
	t.Helper()
	if err := poll(t.Context(), Timeout, check); err != nil {
		t.Fatal(err)
	}
}

func poll(ctx context.Context, timeout time.Duration, check func(ctx context.Context) error) error {
	var last error
	err := wait.PollUntilContextTimeout(ctx, PollInterval, timeout, true, func(ctx context.Context) (bool, error) {
		// A check that the timeout interrupts says nothing.
		if err := check(ctx); err == nil || ctx.Err() == nil || last == nil {
			last = err
		}
		return last == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waited %s: %w", timeout, last)
	}
	return nil
}

// Never fails the test if check returns an error within the duration. The error
// says what happened.
func Never(t *testing.T, duration time.Duration, check func(ctx context.Context) error) {
	t.Helper()
	if err := never(t.Context(), duration, check); err != nil {
		t.Error(err)
	}
}

func never(ctx context.Context, duration time.Duration, check func(ctx context.Context) error) error {
	start := time.Now()
	err := wait.PollUntilContextTimeout(ctx, PollInterval, duration, true, func(context.Context) (bool, error) {
		// The duration does not interrupt a check.
		return false, check(ctx)
	})
	if errors.Is(err, context.DeadlineExceeded) && ctx.Err() == nil {
		return nil
	}
	return fmt.Errorf("after %s: %w", time.Since(start).Round(time.Millisecond), err)
}

// Must fails the test if err is not nil.
func Must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// Equal fails the test, and continues it, if got differs from want.
func Equal(t *testing.T, what string, got, want any) {
	t.Helper()
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
}

// CheckEqual returns an error that shows the difference if got differs from want.
func CheckEqual(what string, got, want any) error {
	if diff := cmp.Diff(want, got); diff != "" {
		return fmt.Errorf("%s differs (-want +got):\n%s", what, diff)
	}
	return nil
}

// CheckForbidden returns an error unless err is a Forbidden error that contains
// each of the words.
func CheckForbidden(err error, words ...string) error {
	if err == nil {
		return errors.New("got no error, want Forbidden")
	}
	if !apierrors.IsForbidden(err) {
		return fmt.Errorf("got another error, want Forbidden: %w", err)
	}
	for _, word := range words {
		if !strings.Contains(err.Error(), word) {
			return fmt.Errorf("got another message, want %q: %w", word, err)
		}
	}
	return nil
}

// CheckNotFound returns an error unless err is a NotFound error.
func CheckNotFound(err error) error {
	if err == nil {
		return errors.New("the object still exists, want NotFound")
	}
	if apierrors.IsNotFound(err) {
		return nil
	}
	return err
}

// IsTransient reports whether the API server asks the client to send the request
// again. For a moment after a CRD or a policy changes, the API server cannot read
// the parameters of its policies yet; docs/upgrade.md describes this.
func IsTransient(err error) bool {
	return apierrors.IsTooManyRequests(err) || apierrors.IsServerTimeout(err) ||
		err != nil && strings.Contains(err.Error(), "not yet synced to use for admission")
}
