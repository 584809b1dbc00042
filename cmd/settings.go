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

// maxVerbosity is the most that -v can be: zap has no more levels.
const maxVerbosity = 10

// release is the version that was built, which the linker sets.
var version string

// version returns what was built.
func buildVersion() string {
	if version != "" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		return info.Main.Version
	}
	return "unknown"
}

// settings are what the flags say.
type options struct {
	controllers controllers.Options

	metricsAddress, metricsCertDir string
	enableHTTP2                          bool
	healthAddress, pprofAddress    string
	leaderElect                    bool
	leaderElectNamespace           string
	logEncoding                    string
	verbosity                      int
	printVersion                        bool
}

// parse reads the flags of an operator that runs in that namespace, if in any. Its
// errors are sentences that name the flag; where they ask for help, it writes that and
// returns flag.ErrHelp.
func parseFlags(args []string, namespace string, help io.Writer) (options, error) {
	var s options
	flags := flag.NewFlagSet("manager", flag.ContinueOnError)
	flags.SetOutput(io.Discard) // one sentence instead
	clientconfig.RegisterFlags(flags)
	flags.Lookup(clientconfig.KubeconfigFlagName).Usage = "The `file` that says how to reach the cluster; without, $KUBECONFIG, the pod's own ServiceAccount or ~/.kube/config does."
	flags.StringVar(&s.metricsAddress, "metrics-bind-address", "0",
		"The `address` on which metrics are served over HTTPS, to whoever may get /metrics; 0 switches them off.")
	flags.StringVar(&s.metricsCertDir, "metrics-cert-dir", "",
		"The `directory` of the metrics server's tls.crt and tls.key, which are read again when they change; without, it makes a certificate of its own.")
	flags.StringVar(&s.healthAddress, "health-probe-bind-address", ":8081", "The `address` on which /healthz and /readyz are served; 0 switches them off.")
	flags.StringVar(&s.pprofAddress, "pprof-bind-address", "0", "The `address` on which profiles are served to whoever asks, such as 127.0.0.1:6060; 0 switches them off.")
	flags.BoolVar(&s.leaderElect, "leader-elect", false, "Let one of several operators be active at a time.")
	flags.StringVar(&s.leaderElectNamespace, "leader-elect-namespace", namespace, "The `namespace` of the lease; in a pod, the operator's own by default.")
	flags.BoolVar(&s.enableHTTP2, "enable-http2", false, "Serve metrics over HTTP/2 too, which is off because of its rapid reset weakness, CVE-2023-44487.")
	flags.BoolVar(&s.controllers.OpenReports, "openreports", false,
		"Write each BaselineReport as an openreports.io Report too, for viewers such as Policy Reporter; needs the CRD of openreports.io.")
	flags.Func("protected-namespaces",
		"The `names` of namespaces, separated by commas, that are never governed, in addition to kube-system, kube-public, kube-node-lease and the operator's own.",
		func(value string) error {
			s.controllers.ProtectedNamespaces = append(s.controllers.ProtectedNamespaces, strings.FieldsFunc(value, isSeparator)...)
			return nil
		})
	flags.StringVar(&s.logEncoding, "log-encoding", "json", "The `encoding` of the log: json, for machines, or console, for people.")
	flags.IntVar(&s.verbosity, "v", 0, "How much is logged: at `level` 0 what happened and nothing when nothing did, at 1 and above what is looked at too.")
	flags.BoolVar(&s.printVersion, "version", false, "Print the version and end.")
	if err := flags.Parse(args); errors.Is(err, flag.ErrHelp) {
		flags.SetOutput(help)
		flags.PrintDefaults()
		return s, err
	} else if err != nil {
		return s, fmt.Errorf("%w; --help lists the flags", err)
	}
	if err := s.validate(flags.Args()); err != nil {
		return s, err
	}
	if namespace != "" {
		s.controllers.ProtectedNamespaces = append(s.controllers.ProtectedNamespaces, namespace)
	}
	return s, nil
}

// validate says what is wrong with the flags; rest are the arguments that are none.
func (s *options) validate(rest []string) error {
	var errs []error
	if len(rest) > 0 {
		errs = append(errs, fmt.Errorf("%q is no flag: flags begin with -- and take their value after =, as in --leader-elect=true", rest[0]))
	}
	errs = append(errs, validateAddress("--metrics-bind-address", s.metricsAddress), validateAddress("--health-probe-bind-address", s.healthAddress),
		validateAddress("--pprof-bind-address", s.pprofAddress))
	if s.metricsCertDir != "" {
		for _, file := range []string{"tls.crt", "tls.key"} {
			if _, err := os.Stat(filepath.Join(s.metricsCertDir, file)); err != nil {
				errs = append(errs, fmt.Errorf("--metrics-cert-dir: %w; mount a Secret of type kubernetes.io/tls there or leave the flag out", err))
			}
		}
	}
	for _, name := range s.controllers.ProtectedNamespaces {
		if problems := validation.IsDNS1123Label(name); len(problems) > 0 {
			errs = append(errs, fmt.Errorf("--protected-namespaces: %q is no name of a namespace: %s", name, strings.Join(problems, "; ")))
		}
	}
	if problems := validation.IsDNS1123Label(s.leaderElectNamespace); s.leaderElectNamespace != "" && len(problems) > 0 {
		errs = append(errs, fmt.Errorf("--leader-elect-namespace: %q is no name of a namespace: %s", s.leaderElectNamespace, strings.Join(problems, "; ")))
	}
	if s.logEncoding != "json" && s.logEncoding != "console" {
		errs = append(errs, fmt.Errorf("--log-encoding: %q is neither json nor console", s.logEncoding))
	}
	if s.verbosity < 0 || s.verbosity > maxVerbosity {
		errs = append(errs, fmt.Errorf("--v: %d is not between 0 and %d", s.verbosity, maxVerbosity))
	}
	return errors.Join(errs...)
}

// validAddress returns an error unless an address can be listened on, or is 0.
func validateAddress(name, address string) error {
	if address == "0" {
		return nil
	}
	_, port, err := net.SplitHostPort(address)
	if err == nil && port == "" {
		err = errors.New("no port")
	} else if err == nil {
		_, err = net.LookupPort("tcp", port)
	}
	if err != nil {
		return fmt.Errorf("%s: %q is no address such as :8443 or 127.0.0.1:8443, nor 0: %w", name, address, err)
	}
	return nil
}

// logger returns the logger that the flags ask for.
func (s *options) logger() logr.Logger {
	options := zap.Options{
		Level:           uberzap.NewAtomicLevelAt(zapcore.Level(-s.verbosity)),
		StacktraceLevel: zapcore.DPanicLevel,
	}
	times := func(config *zapcore.EncoderConfig) { config.EncodeTime = zapcore.RFC3339NanoTimeEncoder }
	if s.logEncoding == "console" {
		zap.ConsoleEncoder(times)(&options)
	} else {
		zap.JSONEncoder(times)(&options)
	}
	return zap.New(zap.UseFlagOptions(&options))
}

func isSeparator(r rune) bool { return r == ',' || r == ' ' }
