package cluster

import (
	"context"
	"time"

	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/config"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securitybaseline/operator/controllers"
)

// OperatorOptions configure an operator that runs in this process.
type OperatorOptions struct {
	// Configure changes the configuration of its client.
	Configure func(*rest.Config)
	// Now is the time; time.Now unless stated.
	Now func() time.Time
	// MetricsAddress is where it serves its metrics, over HTTP; nowhere unless
	// stated.
	MetricsAddress string
	// OpenReports says that it writes openreports.io Reports too.
	OpenReports bool
}

// StartOperator starts the operator in this process, as its own ServiceAccount.
// The function that it returns stops it and waits until it has ended.
func (c *Cluster) StartOperator(ctx context.Context, options OperatorOptions) (stop func() error, err error) {
	restConfig, err := c.Operator(ctx)
	if err != nil {
		return nil, err
	}
	if options.Configure != nil {
		options.Configure(restConfig)
	}
	if options.MetricsAddress == "" {
		options.MetricsAddress = "0" // none
	}
	mgr, err := controllers.NewManager(restConfig, ctrl.Options{
		Metrics: metricsserver.Options{BindAddress: options.MetricsAddress},
		// Several operators run one after the other in one process.
		Controller: config.Controller{SkipNameValidation: new(true)},
	}, controllers.Options{Clock: Clock(options.Now), ProtectedNamespaces: []string{OperatorNamespace}, OpenReports: options.OpenReports})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	ended := make(chan error, 1)
	go func() { ended <- mgr.Start(ctx) }()
	return func() error {
		cancel()
		return <-ended
	}, nil
}

// Clock returns a clock that tells the time that now returns, or nil if now is nil.
func Clock(now func() time.Time) clock.PassiveClock {
	if now == nil {
		return nil
	}
	return passiveClock(now)
}

type passiveClock func() time.Time

func (c passiveClock) Now() time.Time { return c() }

func (c passiveClock) Since(past time.Time) time.Duration { return c().Sub(past) }
