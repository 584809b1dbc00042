// The SecurityBaseline operator.
package main

import (
	"crypto/tls"
	"flag"
	"fmt"
	"os"
	"strings"

	"go.uber.org/zap/zapcore"
	_ "k8s.io/client-go/plugin/pkg/client/auth" // kubeconfigs of every kind, for make run
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"
	"sigs.k8s.io/controller-runtime/pkg/metrics/filters"
	metricsserver "sigs.k8s.io/controller-runtime/pkg/metrics/server"

	"github.com/securitybaseline/operator/controllers"
)

func main() {
	if err := run(); err != nil {
		ctrl.Log.Error(err, "The operator ends")
		os.Exit(1)
	}
}

func run() error {
	var (
		options           ctrl.Options
		operator          controllers.Options
		metrics           metricsserver.Options
		enableHTTP2       bool
		operatorNamespace = os.Getenv("POD_NAMESPACE")
	)
	flag.StringVar(&metrics.BindAddress, "metrics-bind-address", "0", "The address on which metrics are served over HTTPS, to whoever may get /metrics; 0 switches them off.")
	flag.StringVar(&metrics.CertDir, "metrics-cert-dir", "", "The directory of the metrics server's tls.crt and tls.key; without, it makes a certificate of its own.")
	flag.StringVar(&options.HealthProbeBindAddress, "health-probe-bind-address", ":8081", "The address on which /healthz and /readyz are served.")
	flag.BoolVar(&options.LeaderElection, "leader-elect", false, "Let one of several operators be active at a time.")
	flag.StringVar(&options.LeaderElectionNamespace, "leader-elect-namespace", operatorNamespace, "The namespace of the lease; the operator's own by default.")
	flag.BoolVar(&enableHTTP2, "enable-http2", false, "Serve metrics over HTTP/2 too. Off because of its rapid reset weakness, CVE-2023-44487.")
	flag.Func("protected-namespaces",
		"Names of namespaces, separated by commas, that are never governed, "+
			"in addition to kube-system, kube-public, kube-node-lease and the operator's own.",
		func(value string) error {
			operator.ProtectedNamespaces = append(operator.ProtectedNamespaces, strings.FieldsFunc(value, isSeparator)...)
			return nil
		})
	logging := zap.Options{StacktraceLevel: zapcore.DPanicLevel}
	logging.BindFlags(flag.CommandLine)
	flag.Parse()
	ctrl.SetLogger(zap.New(zap.UseFlagOptions(&logging)))

	if operatorNamespace != "" {
		operator.ProtectedNamespaces = append(operator.ProtectedNamespaces, operatorNamespace)
	}
	metrics.SecureServing = true
	metrics.FilterProvider = filters.WithAuthenticationAndAuthorization
	if !enableHTTP2 {
		metrics.TLSOpts = []func(*tls.Config){func(config *tls.Config) { config.NextProtos = []string{"http/1.1"} }}
	}
	options.Metrics = metrics
	options.Scheme = controllers.Scheme()
	options.Cache = controllers.CacheOptions()
	options.LeaderElectionID = "leader.securitybaseline.io"
	// A standby takes over at once when the leader ends in good order: nothing
	// runs after the manager has stopped.
	options.LeaderElectionReleaseOnCancel = true

	config, err := ctrl.GetConfig()
	if err != nil {
		return fmt.Errorf("finding the API server: %w", err)
	}
	controllers.ConfigureClient(config)
	mgr, err := ctrl.NewManager(config, options)
	if err != nil {
		return fmt.Errorf("making the manager: %w", err)
	}
	if err := controllers.Setup(mgr, operator); err != nil {
		return err
	}
	if err := mgr.AddHealthzCheck("loops", controllers.Live); err != nil {
		return fmt.Errorf("adding /healthz: %w", err)
	}
	if err := mgr.AddReadyzCheck("caches", controllers.Ready(mgr.GetCache())); err != nil {
		return fmt.Errorf("adding /readyz: %w", err)
	}
	return mgr.Start(ctrl.SetupSignalHandler())
}

func isSeparator(r rune) bool { return r == ',' || r == ' ' }
