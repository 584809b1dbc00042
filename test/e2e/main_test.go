// Package e2e tests the operator on a real API server. The operator runs with its own
// ServiceAccount and the permissions of config/, never as an administrator.
//
// All tests share one operator. A test must not be parallel if it stops the operator, moves
// its clock, delays what it sees or counts its writes. The methods of environment that do so
// fail in a parallel test. The testing package runs serial tests one by one, before it
// continues the parallel ones.
package e2e

import (
	"context"
	"errors"
	"fmt"
	"os"
	"testing"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// TestMain runs the tests, or a helper process of the control plane.
func TestMain(m *testing.M) {
	cluster.Main()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

// run runs the tests on a control plane with an operator, and afterwards checks what
// holds for the whole suite. It returns the exit code of the tests.
func run(m *testing.M) (code int, err error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	dir, err := os.MkdirTemp("", "audit-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	audit, flags, err := cluster.NewAudit(dir)
	if err != nil {
		return 0, err
	}
	controlPlane, err := cluster.Start(ctx, flags...)
	if err != nil {
		return 0, err
	}
	defer func() { _ = controlPlane.Stop() }()
	if err := controlPlane.Install(ctx); err != nil {
		return 0, err
	}
	shared, err := testutil.NewEnv(controlPlane)
	if err != nil {
		return 0, err
	}
	env = &environment{Env: shared}
	if env.metricsAddress, err = cluster.FreeAddress(); err != nil {
		return 0, err
	}
	if err := env.start(ctx); err != nil {
		return 0, err
	}
	code = m.Run()
	if err := errors.Join(env.stop(), env.unconditionalWrites()); err != nil {
		return code, err
	}
	if code != 0 || !isWholeSuite() {
		return code, nil
	}
	return 0, checkPermissions(audit)
}
