package main

import (
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"

	"github.com/go-logr/logr"
	uberzap "go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"k8s.io/apimachinery/pkg/util/validation"
	clientconfig "sigs.k8s.io/controller-runtime/pkg/client/config"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/securitybaseline/operator/controllers"
)

// maxVerbosity is the highest value of -v. Zap has no more levels.
const maxVerbosity = 10

// version is the version of the build. The linker sets it with -X main.version.
var version string

// buildVersion returns the version that the linker set. Without one, it returns the
// version that Go recorded in the executable.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// options are the values of the flags.
type options struct {
	controllers controllers.Options

	metricsAddress       string
	metricsCertDir       string
	enableHTTP2          bool
	healthAddress        string
	pprofAddress         string
	leaderElect          bool
	leaderElectNamespace string
	logEncoding          string
	verbosity            int
	printVersion         bool
}

// parseFlags returns the options that the arguments set. namespace is the namespace
// of the operator's pod; it is empty outside a cluster. Each error names the flag that
// it is about. If the arguments ask for help, parseFlags writes it to help and returns
// flag.ErrHelp.
func parseFlags(args []string, namespace string, help io.Writer) (options, error) {
	var o options
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // the caller prints the error
	clientconfig.RegisterFlags(flags)
	flags.Lookup(clientconfig.KubeconfigFlagName).Usage =
		"The kubeconfig `file` of the cluster. The default is $KUBECONFIG, then the pod's own ServiceAccount, then ~/.kube/config."
	flags.StringVar(&o.metricsAddress, "metrics-bind-address", "0",
		"The `address` that serves metrics over HTTPS. Clients need permission to get /metrics. 0 disables metrics.")
	flags.StringVar(&o.metricsCertDir, "metrics-cert-dir", "",
		"The `directory` with the metrics server's tls.crt and tls.key. The server reloads them when they change. Without this flag, it uses a self-signed certificate.")
	flags.StringVar(&o.healthAddress, "health-probe-bind-address", ":8081", "The `address` that serves /healthz and /readyz. 0 disables them.")
	flags.StringVar(&o.pprofAddress, "pprof-bind-address", "0",
		"The `address` that serves profiles without authentication, for example 127.0.0.1:6060. 0 disables profiling.")
	flags.BoolVar(&o.leaderElect, "leader-elect", false, "Elect a leader, so that only one replica is active at a time.")
	flags.StringVar(&o.leaderElectNamespace, "leader-elect-namespace", namespace,
		"The `namespace` of the leader election lease. In a pod, the default is the operator's own namespace.")
	flags.BoolVar(&o.enableHTTP2, "enable-http2", false, "Serve metrics over HTTP/2 too. The default is off because of the rapid reset attack, CVE-2023-44487.")
	flags.BoolVar(&o.controllers.OpenReports, "openreports", false,
		"Write each BaselineReport as an openreports.io Report too, for viewers such as Policy Reporter. This needs the openreports.io CRD.")
	flags.Func("protected-namespaces",
		"The comma-separated `names` of namespaces that no baseline governs, in addition to kube-system, kube-public, kube-node-lease and the operator's own.",
		func(value string) error {
			o.controllers.ProtectedNamespaces = append(o.controllers.ProtectedNamespaces, strings.FieldsFunc(value, isSeparator)...)
			return nil
		})
	flags.StringVar(&o.logEncoding, "log-encoding", "json", "The `encoding` of the log, either json or console.")
	flags.IntVar(&o.verbosity, "v", 0, "The log `level`. Level 0 logs only changes and errors. Level 1 and above also log what the operator checks.")
	flags.BoolVar(&o.printVersion, "version", false, "Print the version and exit.")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(help)
		flags.PrintDefaults()
		return o, err
	} else if err != nil {
		return o, fmt.Errorf("%w; --help lists the flags", err)
	}
	if err := o.validate(flags.Args()); err != nil {
		return o, err
	}
	if namespace != "" {
		o.controllers.ProtectedNamespaces = append(o.controllers.ProtectedNamespaces, namespace)
	}
	return o, nil
}

// validate returns an error for each invalid option. extraArgs are the arguments that
// are not flags.
func (o *options) validate(extraArgs []string) error {
	var errs []error
	if len(extraArgs) > 0 {
		errs = append(errs, fmt.Errorf("unexpected argument %q: a flag begins with -- and has its value after =, for example --leader-elect=true", extraArgs[0]))
	}
	errs = append(errs,
		validateAddress("--metrics-bind-address", o.metricsAddress),
		validateAddress("--health-probe-bind-address", o.healthAddress),
		validateAddress("--pprof-bind-address", o.pprofAddress))
	if o.metricsCertDir != "" {
		for _, file := range []string{"tls.crt", "tls.key"} {
			if _, err := os.Stat(filepath.Join(o.metricsCertDir, file)); err != nil {
				errs = append(errs, fmt.Errorf("--metrics-cert-dir: %w; mount a Secret of type kubernetes.io/tls there or omit the flag", err))
			}
		}
	}
	for _, name := range o.controllers.ProtectedNamespaces {
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			errs = append(errs, fmt.Errorf("--protected-namespaces: invalid namespace name %q: %s", name, strings.Join(problems, "; ")))
		}
	}
	if problems := validation.IsDNS1123Label(o.leaderElectNamespace); o.leaderElectNamespace != "" && len(problems) > 0 {
		errs = append(errs, fmt.Errorf("--leader-elect-namespace: invalid namespace name %q: %s", o.leaderElectNamespace, strings.Join(problems, "; ")))
	}
	if o.logEncoding != "json" && o.logEncoding != "console" {
		errs = append(errs, fmt.Errorf("--log-encoding: invalid encoding %q: must be json or console", o.logEncoding))
	}
	if o.verbosity < 0 || o.verbosity > maxVerbosity {
		errs = append(errs, fmt.Errorf("--v: invalid level %d: must be between 0 and %d", o.verbosity, maxVerbosity))
	}
	return errors.Join(errs...)
}

// validateAddress returns an error unless the address is 0 or has a port to listen on.
func validateAddress(flagName, address string) error {
	if address == "0" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil && port == "" {
		err = errors.New("the port is missing")
	} else if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("%s: invalid address %q: must be like :8443 or 127.0.0.1:8443, or 0: %w", flagName, address, err)
	}
	return nil
}

// logger returns a logger with the encoding and level of the options.
func (o *options) logger() logr.Logger {
	zapOptions := zap.Options{
		Level:           uberzap.NewAtomicLevelAt(zapcore.Level(-o.verbosity)),
		StacktraceLevel: zapcore.DPanicLevel,
	}
	encodeTime := func(config *zapcore.EncoderConfig) { config.EncodeTime = zapcore.RFC3339NanoTimeEncoder }
	if o.logEncoding == "console" {
		zap.ConsoleEncoder(encodeTime)(&zapOptions)
	} else {
		zap.JSONEncoder(encodeTime)(&zapOptions)
	}
	return zap.New(zap.UseFlagOptions(&zapOptions))
}

func isSeparator(r rune) bool { return r == ',' || r == ' ' }
