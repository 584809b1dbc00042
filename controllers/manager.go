// Package controllers puts the operator together: the controllers of namespaces, baselines,
// admission policies and openreports.io Reports, each in a package of its own, and the manager that
// runs them.
package controllers

import (
	"fmt"
	"net/http"

	openreportsv1alpha1 "github.com/openreports/reports-api/apis/openreports.io/v1alpha1"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/runtime"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/utils/clock"
	"k8s.io/utils/ptr"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/healthz"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers/admissionpolicy"
	"github.com/securitybaseline/operator/controllers/baseline"
	"github.com/securitybaseline/operator/controllers/enforcement/podsecurity"
	"github.com/securitybaseline/operator/controllers/internal/admissionobjects"
	"github.com/securitybaseline/operator/controllers/internal/cacheoptions"
	"github.com/securitybaseline/operator/controllers/internal/health"
	"github.com/securitybaseline/operator/controllers/internal/inflight"
	"github.com/securitybaseline/operator/controllers/internal/leaderfence"
	"github.com/securitybaseline/operator/controllers/internal/memory"
	"github.com/securitybaseline/operator/controllers/internal/metrics"
	"github.com/securitybaseline/operator/controllers/namespace"
	"github.com/securitybaseline/operator/controllers/openreports"
	"github.com/securitybaseline/operator/controllers/precedence"
)

// maxProtected is how many protected namespaces status.admission can list.
const maxProtected = 256

// Options configure the operator.
type Options struct {
	// Clock tells the time of day. The default is clock.RealClock.
	Clock clock.PassiveClock

	// ProtectedNamespaces are namespaces that no baseline governs, in addition to the cluster's
	// own.
	ProtectedNamespaces []string

	// OpenReports makes the operator write each BaselineReport as an openreports.io Report too. The
	// CRD of Reports must be installed.
	OpenReports bool
}

// Scheme returns a scheme with the kinds that the operator reads and writes.
func Scheme() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	utilruntime.Must(openreportsv1alpha1.Install(scheme))
	return scheme
}

// Ready returns a readiness check that fails until the caches are synced.
func Ready(cache health.CacheSyncer) healthz.Checker { return health.Ready(cache) }

// Live is a liveness check that fails if a reconcile is stuck.
func Live(request *http.Request) error { return health.Live(request) }

// NewManager returns a manager with the operator's controllers. It modifies config, and replaces
// the scheme and the cache in managerOptions.
func NewManager(config *rest.Config, managerOptions ctrl.Options, options Options) (ctrl.Manager, error) {
	// The API server's priority and fairness limits requests better than a client can.
	config.QPS = -1
	// Without the handler, enforcement would see no warnings about pods that violate a level.
	config.WarningHandlerWithContext = podsecurity.Warnings{}
	if managerOptions.LeaderElection {
		config.Wrap(leaderfence.New(ptr.Deref(managerOptions.RenewDeadline, leaderfence.DefaultRenewDeadline)).Wrap)
	}
	managerOptions.Scheme = Scheme()
	managerOptions.Cache = cacheoptions.New(options.OpenReports)
	mgr, err := ctrl.NewManager(config, managerOptions)
	// Report is the only kind in the cache options that may not be installed.
	if options.OpenReports && meta.IsNoMatchError(err) {
		return nil, fmt.Errorf("--openreports needs the CustomResourceDefinition reports.openreports.io in version %s: install it or leave the flag out",
			openreportsv1alpha1.GroupVersion.Version)
	}
	if err != nil {
		return nil, fmt.Errorf("creating the manager: %w", err)
	}
	return mgr, addControllers(mgr, options)
}

// reconciler is what the packages of the controllers have in common.
type reconciler interface {
	SetupWithManager(mgr ctrl.Manager) error
}

// addControllers adds the controllers, and what serves all of them, to a manager.
func addControllers(mgr ctrl.Manager, options Options) error {
	if protected := precedence.ProtectedNamespaces(options.ProtectedNamespaces...).Len(); protected > maxProtected {
		return fmt.Errorf("too many protected namespaces: %d (maximum %d); exclude them by label instead", protected, maxProtected)
	}
	if err := mgr.Add(memory.NewReleaser(mgr)); err != nil {
		return fmt.Errorf("adding to the manager: %w", err)
	}
	controllers, err := newControllers(mgr, options)
	if err != nil {
		return err
	}
	for _, controller := range controllers {
		if err := controller.SetupWithManager(mgr); err != nil {
			return fmt.Errorf("setting up %T: %w", controller, err)
		}
	}
	return metrics.RegisterStatusCollector(mgr.GetCache())
}

// newControllers returns the controllers of the operator.
func newControllers(mgr ctrl.Manager, options Options) ([]reconciler, error) {
	isMutatingServed, err := admissionobjects.IsMutatingServed(mgr.GetRESTMapper())
	if err != nil {
		return nil, err
	}
	if options.Clock == nil {
		options.Clock = clock.RealClock{}
	}
	writer := client.WithFieldOwner(mgr.GetClient(), v1alpha1.FieldManager)
	live := mgr.GetAPIReader()
	recorder := mgr.GetEventRecorder(v1alpha1.FieldManager)
	protected := precedence.ProtectedNamespaces(options.ProtectedNamespaces...)
	inFlight := &inflight.Tracker{}

	policies := admissionpolicy.New(admissionpolicy.Options{
		Client: writer, Live: live, Recorder: recorder, Clock: options.Clock, Protected: protected, IsMutatingServed: isMutatingServed,
	})
	controllers := []reconciler{
		namespace.New(namespace.Options{
			Client: writer, Live: live, Recorder: recorder, Clock: options.Clock, Protected: protected, InFlight: inFlight,
		}),
		baseline.New(baseline.Options{
			Client: writer, Live: live, Recorder: recorder, Clock: options.Clock, Protected: protected, InFlight: inFlight,
			IsMutatingServed: isMutatingServed, PolicyErrors: policies,
		}),
		policies,
	}
	if options.OpenReports {
		controllers = append(controllers, openreports.New(writer))
	}
	return controllers, nil
}
