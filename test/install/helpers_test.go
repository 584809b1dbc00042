package install

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/securitybaseline/operator/test/cluster"
)

// patience is how long a test waits for what must come.
const patience = 2 * time.Minute

func TestMain(m *testing.M) {
	cluster.Main()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	os.Exit(m.Run())
}

// started starts a control plane of the test's own, whose API server has these
// further flags.
func started(t *testing.T, flags ...string) *cluster.Cluster {
	t.Helper()
	local, err := cluster.Start(t.Context(), flags...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = local.Stop() })
	return local
}

// installed starts one and installs config/default.
func installed(t *testing.T, flags ...string) *cluster.Cluster {
	t.Helper()
	local := started(t, flags...)
	if err := local.Install(t.Context()); err != nil {
		t.Fatal(err)
	}
	return local
}

// kubectl runs it as admin and returns what it says.
func kubectl(t *testing.T, local *cluster.Cluster, input string, args ...string) (string, error) {
	t.Helper()
	command := local.Kubectl(t.Context(), args...)
	command.Stdin = strings.NewReader(input)
	out, err := command.CombinedOutput()
	return string(out), err
}

// must runs it and fails if it does.
func must(t *testing.T, local *cluster.Cluster, input string, args ...string) string {
	t.Helper()
	out, err := kubectl(t, local, input, args...)
	if err != nil {
		t.Fatalf("kubectl %v: %v\n%s", args, err, out)
	}
	return out
}

// eventually waits until what kubectl is asked, which changes nothing, is refused
// with these words or, if there are none, is not refused.
func eventually(t *testing.T, local *cluster.Cluster, refusal string, args ...string) {
	t.Helper()
	var out string
	err := wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(context.Context) (bool, error) {
		var err error
		out, err = kubectl(t, local, "", args...)
		return (err != nil) == (refusal != "") && strings.Contains(out, refusal), nil
	})
	if err != nil {
		t.Errorf("kubectl %v was to be refused with %q: %s", args, refusal, out)
	}
}

// became says whether something holds before patience ends.
func became(t *testing.T, holds func() bool) bool {
	t.Helper()
	return wait.PollUntilContextTimeout(t.Context(), 100*time.Millisecond, patience, true, func(context.Context) (bool, error) { return holds(), nil }) == nil
}

// startOperator starts the operator as its own ServiceAccount, and returns what
// stops it.
func startOperator(t *testing.T, local *cluster.Cluster) func() {
	t.Helper()
	stop, err := local.StartOperator(t.Context(), cluster.OperatorOptions{})
	if err != nil {
		t.Fatal(err)
	}
	return func() {
		if err := stop(); err != nil {
			t.Error(fmt.Errorf("stopping the operator: %w", err))
		}
	}
}
