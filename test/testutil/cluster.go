package testutil

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/securitybaseline/operator/test/cluster"
)

// TimeoutFlag has kubectl wait as long as a test does.
var TimeoutFlag = "--timeout=" + Timeout.String()

// StartCluster starts a control plane for one test. The API server has these additional
// flags.
func StartCluster(t *testing.T, flags ...string) *cluster.Cluster {
	t.Helper()
	local, err := cluster.Start(t.Context(), flags...)
	Must(t, err)
	t.Cleanup(func() { _ = local.Stop() })
	return local
}

// InstallCluster starts a control plane for one test and installs config/default.
func InstallCluster(t *testing.T, flags ...string) *cluster.Cluster {
	t.Helper()
	local := StartCluster(t, flags...)
	Must(t, local.Install(t.Context()))
	return local
}

// StartOperator starts the operator in this process, as its own ServiceAccount. The
// function that it returns stops the operator.
func StartOperator(t *testing.T, local *cluster.Cluster, options cluster.OperatorOptions) (stop func()) {
	t.Helper()
	end, err := local.StartOperator(t.Context(), options)
	Must(t, err)
	return func() {
		if err := end(); err != nil {
			t.Error(fmt.Errorf("stopping the operator: %w", err))
		}
	}
}

// Kubectl runs kubectl as the administrator and returns its output. It fails the test
// if the command fails.
func Kubectl(t *testing.T, local *cluster.Cluster, input string, args ...string) string {
	t.Helper()
	out, err := TryKubectl(t.Context(), local, input, args...)
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return out
}

// TryKubectl runs kubectl as the administrator and returns its output.
func TryKubectl(ctx context.Context, local *cluster.Cluster, input string, args ...string) (string, error) {
	command := local.Kubectl(ctx, args...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	return string(out), err
}

// WaitForKubectl waits until a command of kubectl that changes nothing succeeds.
func WaitForKubectl(t *testing.T, local *cluster.Cluster, args ...string) {
	t.Helper()
	WaitFor(t, func(ctx context.Context) error {
		if out, err := TryKubectl(ctx, local, "", args...); err != nil {
			return fmt.Errorf("kubectl %v: %w\n%s", args, err, out)
		}
		return nil
	})
}

// WaitForKubectlError waits until a command of kubectl that changes nothing fails
// with an output that contains a message.
func WaitForKubectlError(t *testing.T, local *cluster.Cluster, message string, args ...string) {
	t.Helper()
	WaitFor(t, func(ctx context.Context) error {
		out, err := TryKubectl(ctx, local, "", args...)
		if err == nil {
			return errors.New("kubectl " + strings.Join(args, " ") + " succeeded, want an error with " + message)
		}
		if !strings.Contains(out, message) {
			return fmt.Errorf("kubectl %v: got another error, want %q: %w\n%s", args, message, err, out)
		}
		return nil
	})
}
