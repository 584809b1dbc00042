// The SecurityBaseline operator.
package main

import (
	"crypto/tls"
	"errors"
	"flag"
	"fmt"
	"os"

	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubeconfigs of every kind, for make run
	"k8s.io/klog/v2"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securitybaseline/operator/controllers"
)

// misconfigured is the exit code of an operator whose flags are wrong, as of
// package flag.
const exitUsage = 2

func main() {
	settings, err := parseFlags(os.Args[1:], os.Getenv("POD_NAMESPACE"), os.Stdout)
	if errors.Is(err, flag.ErrHelp) {
		return
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(exitUsage)
	}
	if settings.printVersion {
		fmt.Println(buildVersion())
		return
	}
	ctrl.SetLogger(settings.logger())
	klog.SetLogger(ctrl.Log) // client-go's
	if err := run(settings); err != nil {
		ctrl.Log.Error(err, "The operator ends")
		os.Exit(1)
	}
}

func run(settings options) error {
	metrics := metricsserver.Options{
		BindAddress:    settings.metricsAddress,
		CertDir:        settings.metricsCertDir,
		SecureServing:  true,
		FilterProvider: filters.WithAuthenticationAndAuthorization,
	}
	if !settings.enableHTTP2 {
		metrics.TLSOpts = []func(*tls.Config){func(config *tls.Config) { config.NextProtos = []string{"http/1.1"} }}
	}
	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	mgr, err := controllers.NewManager(config, ctrl.Options{
		Metrics:                 metrics,
		HealthProbeBindAddress:  settings.healthAddress,
		PprofBindAddress:        settings.pprofAddress,
		LeaderElection:          settings.leaderElect,
		LeaderElectionNamespace: settings.leaderElectNamespace,
		LeaderElectionID:        "leader.securitybaseline.io",
		// A standby takes over at once when the leader ends in good order: nothing
		// runs after the manager has stopped.
		LeaderElectionReleaseOnCancel: true,
	}, settings.controllers)
	if err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("loops", controllers.Live); err != nil {
		return fmt.Errorf("adding /healthz: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", controllers.Ready(mgr.GetCache())); err != nil {
		return fmt.Errorf("adding /readyz: %w", err)
	}
	ctrl.Log.Info("The operator starts", "version", buildVersion(), "protectedNamespaces", settings.controllers.ProtectedNamespaces, "openReports", settings.controllers.OpenReports)
	return mgr.Start(ctrl.SetupSignalHandler())
}
