// Command manager runs the SecurityBaseline operator.
package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // supports every kind of kubeconfig, for make run
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securitybaseline/operator/controllers"
)

// exitUsage is the exit code for invalid flags. Package flag uses the same.
const exitUsage = 2

func main() {
	o, err := parseFlags(os.Args[1:], os.Getenv("POD_NAMESPACE"), os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	}
	if o.printVersion {
		fmt.Println(buildVersion())
		return
	}
	ctrl.SetLogger(o.logger())
	klog.SetLogger(ctrl.Log) // client-go logs through klog
	if err := run(o); err != nil {
		ctrl.Log.Error(err, "Operator exited")
		os.Exit(1)
	}
}

func run(o options) error {
	metrics := metricsserver.Options{
		BindAddress:    o.metricsAddress,
		CertDir:        o.metricsCertDir,
		SecureServing:  true,
		FilterProvider: filters.WithAuthenticationAndAuthorization,
	}
	if !o.enableHTTP2 {
		metrics.TLSOpts = []func(*tls.Config){func(config *tls.Config) { config.NextProtos = []string{"http/1.1"} }}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	mgr, err := controllers.NewManager(config, ctrl.Options{
		Metrics:                 metrics,
		HealthProbeBindAddress:  o.healthAddress,
		PprofBindAddress:        o.pprofAddress,
		LeaderElection:          o.leaderElect,
		LeaderElectionNamespace: o.leaderElectNamespace,
		LeaderElectionID:        "leader.securitybaseline.io",
		// When the leader shuts down, a standby takes over immediately. This is safe
		// because nothing runs after the manager has stopped.
		LeaderElectionReleaseOnCancel: true,
	}, o.controllers)
	if err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("loops", controllers.Live); err != nil {
		return fmt.Errorf("adding /healthz: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", controllers.Ready(mgr.GetCache())); err != nil {
		return fmt.Errorf("adding /readyz: %w", err)
	}
	ctrl.Log.Info("Starting operator", "version", buildVersion(), "protectedNamespaces", o.controllers.ProtectedNamespaces, "openReports", o.controllers.OpenReports)
	return mgr.Start(ctrl.SetupSignalHandler())
}
