package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strconv"
	"sync/atomic"
	"time"

	"k8s.io/client-go/tools/clientcmd"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/cluster"
)

// The operators run from this executable, started again. So the race detector is on in
// them if it is on here, and the harness can set their clock. They differ from cmd in their
// flags and in a short lease, which is lost often.
const (
	operatorEnv   = "SECURITYBASELINE_CHAOS_OPERATOR"
	leaseDuration = 4 * time.Second
	renewDeadline = 3 * time.Second
	retryPeriod   = 500 * time.Millisecond
)

// runAsOperator runs the operator and does not return if this process was started as
// one.
func runAsOperator() {
	dir := os.Getenv(operatorEnv)
	if dir == "" {
		return
	}
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	if err := runOperator(sharedDir(dir)); err != nil {
		fmt.Fprintln(os.Stderr, "operator exited:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// sharedDir is the directory that the operators share with their fleet.
type sharedDir string

func (f sharedDir) kubeconfigPath() string { return filepath.Join(string(f), "kubeconfig") }

// clockOffsetPath is the file with the offset of the clock, in nanoseconds.
func (f sharedDir) clockOffsetPath() string { return filepath.Join(string(f), "clock") }

// leaderPath is the file with the PID of the replica that was elected last.
func (f sharedDir) leaderPath() string { return filepath.Join(string(f), "leader") }

func runOperator(shared sharedDir) error {
	config, err := clientcmd.BuildConfigFromFlags("", shared.kubeconfigPath())
	if err != nil {
		return err
	}
	ctx := ctrl.SetupSignalHandler()
	mgr, err := controllers.NewManager(config, ctrl.Options{
		Metrics:                       metricsserver.Options{BindAddress: "0"},
		LeaderElection:                true,
		LeaderElectionNamespace:       cluster.OperatorNamespace,
		LeaderElectionID:              "leader.securitybaseline.io",
		LeaderElectionReleaseOnCancel: true,
		LeaseDuration:                 new(leaseDuration),
		RenewDeadline:                 new(renewDeadline),
		RetryPeriod:                   new(retryPeriod),
	}, controllers.Options{Clock: cluster.Clock(offsetClock(ctx, shared)), ProtectedNamespaces: []string{cluster.OperatorNamespace}})
	if err != nil {
		return err
	}
	go func() {
		<-mgr.Elected()
		_ = os.WriteFile(shared.leaderPath(), []byte(strconv.Itoa(os.Getpid())), 0o600)
	}()
	return mgr.Start(ctx)
}

// offsetClock returns a clock with the offset in the shared file.
func offsetClock(ctx context.Context, shared sharedDir) func() time.Time {
	var offset atomic.Int64
	read := func() {
		data, err := os.ReadFile(shared.clockOffsetPath())
		if value, parseErr := strconv.ParseInt(string(data), 10, 64); err == nil && parseErr == nil {
			offset.Store(value)
		}
	}
	read()
	go func() {
		for ctx.Err() == nil {
			read()
			pause(ctx, 20*time.Millisecond)
		}
	}()
	return func() time.Time { return time.Now().Add(time.Duration(offset.Load())) }
}
