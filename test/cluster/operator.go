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

// OperatorOptions configures an operator that runs in this process.
type OperatorOptions struct {
	// ConfigureClient changes the client configuration of the operator.
	ConfigureClient func(*rest.Config)
	// Now is the clock of the operator. The default is time.Now.
	Now func() time.Time
	// MetricsAddress is the address of the metrics endpoint, which uses HTTP. The
	// default is no endpoint.
	MetricsAddress string
	// OpenReports makes the operator write openreports.io Reports too.
	OpenReports bool
}

// StartOperator starts the operator in this process, with its own ServiceAccount. The
// returned function stops it and waits until it has stopped.
func (c *Cluster) StartOperator(ctx context.Context, options OperatorOptions) (stop func() error, err error) {
	restConfig, err := c.OperatorConfig(ctx)
	if err != nil {
		return nil, err
	}
	if options.ConfigureClient != nil {
		options.ConfigureClient(restConfig)
	}
	if options.MetricsAddress == "" {
		options.MetricsAddress = "0" // none
	}
	mgr, err := controllers.NewManager(restConfig, ctrl.Options{
		Metrics: metricsserver.Options{BindAddress: options.MetricsAddress},
		// Tests run several operators in one process, one after the other.
		Controller: config.Controller{SkipNameValidation: new(true)},
	}, controllers.Options{Clock: Clock(options.Now), ProtectedNamespaces: []string{OperatorNamespace}, OpenReports: options.OpenReports})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(ctx)
	stopped := make(chan error, 1)
	go func() { stopped <- mgr.Start(ctx) }()
	return func() error {
		cancel()
		return <-stopped
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
