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

// The operators are this same executable, started again, so that the race detector
// is on in them if it is on here, and so that their clock can be set. They differ from
// cmd in their flags, and in a lease that is short enough to be lost often.
const (
	operatorEnv   = "SECURITYBASELINE_CHAOS_OPERATOR"
	leaseDuration = 4 * time.Second
	renewDeadline = 3 * time.Second
	retryPeriod   = 500 * time.Millisecond
)

// operatorMain does not return in an operator.
func runAsOperator() {
	dir := os.Getenv(operatorEnv)
	if dir == "" {
		return
	}
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	if err := runOperator(sharedDir(dir)); err != nil {
		fmt.Fprintln(os.Stderr, "the operator ends:", err)
		os.Exit(1)
	}
	os.Exit(0)
}

// files is the directory that the operators share with their fleet.
type sharedDir string

func (f sharedDir) kubeconfigPath() string { return filepath.Join(string(f), "kubeconfig") }

// clock holds how far their clock is ahead, in nanoseconds.
func (f sharedDir) clockOffsetPath() string { return filepath.Join(string(f), "clock") }

// leader holds the process that was last elected.
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
	}, controllers.Options{Now: offsetClock(ctx, shared), ProtectedNamespaces: []string{cluster.OperatorNamespace}})
	if err != nil {
		return err
	}
	go func() {
		<-mgr.Elected()
		_ = os.WriteFile(shared.leaderPath(), []byte(strconv.Itoa(os.Getpid())), 0o600)
	}()
	return mgr.Start(ctx)
}

// clock returns a clock that is as far ahead as the file says.
func offsetClock(ctx context.Context, shared sharedDir) func() time.Time {
	var ahead atomic.Int64
	read := func() {
		data, err := os.ReadFile(shared.clockOffsetPath())
		if value, invalid := strconv.ParseInt(string(data), 10, 64); err == nil && invalid == nil {
			ahead.Store(value)
		}
	}
	read()
	go func() {
		for ctx.Err() == nil {
			read()
			pause(ctx, 20*time.Millisecond)
		}
	}()
	return func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) }
}
