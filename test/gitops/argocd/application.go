package main

import (
	"context"
	"fmt"
	"time"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/cache"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/common"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/tracing"
	"github.com/go-logr/logr"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/client-go/rest"

	"github.com/securitybaseline/operator/test/gitops/internal/cli"
)

const (
	// fieldManager is the field manager of Argo CD, for all kinds of apply.
	fieldManager = "argocd-controller"
	// syncTimeout limits a sync. Argo CD itself has no limit.
	syncTimeout = 5 * time.Minute
)

// application is an Application with its targets and a cache of the cluster.
type application struct {
	options
	config  *rest.Config
	kubectl *kube.KubectlCmd
	cluster cache.ClusterCache
	// targets are the desired objects, with the tracking ID of the Application.
	targets []*unstructured.Unstructured
}

func newApplication(o options) (*application, error) {
	config, err := cli.Kubeconfig(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	kubectl := &kube.KubectlCmd{Log: logr.Discard(), Tracer: tracing.NopTracer{}}
	app := &application{
		options: o, config: config, kubectl: kubectl,
		cluster: cache.NewClusterCache(config,
			cache.SetKubectl(kubectl),
			cache.SetLogr(logr.Discard()),
			cache.SetPopulateResourceInfoHandler(cacheTracked)),
	}
	if err := app.refresh(); err != nil {
		return nil, err
	}
	manifests, err := cli.Manifests(o.manifests)
	if err != nil {
		return nil, err
	}
	app.targets, err = kube.SplitYAML(manifests)
	if err != nil {
		return nil, fmt.Errorf("parsing the manifests: %w", err)
	}
	for _, target := range app.targets {
		app.prepareTarget(target)
	}
	return app, nil
}

// refresh reads the cluster again instead of waiting for the cache to receive the
// changes.
func (a *application) refresh() error {
	a.cluster.Invalidate()
	if err := a.cluster.EnsureSynced(); err != nil {
		return fmt.Errorf("reading the cluster: %w", err)
	}
	return nil
}

// prepareTarget sets the namespace and the tracking ID of a target.
func (a *application) prepareTarget(target *unstructured.Unstructured) {
	switch namespaced := kube.IsNamespacedOrUnknown(a.cluster, target.GroupVersionKind().GroupKind()); {
	case !namespaced:
		target.SetNamespace("")
	case target.GetNamespace() == "":
		target.SetNamespace(a.namespace)
	}
	setTrackingID(target, a.name, a.namespace)
}

// cacheTracked keeps objects in the cluster cache that may belong to an Application,
// with the name of the Application.
func cacheTracked(object *unstructured.Unstructured, isRoot bool) (info any, keep bool) {
	app, _ := parseTrackingID(object)
	if !isRoot {
		app = ""
	}
	// CustomResourceDefinitions have no tracking ID but are compared.
	return app, app != "" || kube.IsCRD(object)
}

// reconcile pairs the targets with the live objects of the Application.
func (a *application) reconcile() (sync.ReconciliationResult, error) {
	live, err := a.cluster.GetManagedLiveObjs(a.targets, func(r *cache.Resource) bool { return r.Info == a.name })
	if err != nil {
		return sync.ReconciliationResult{}, fmt.Errorf("reading the live objects: %w", err)
	}
	return sync.Reconcile(a.targets, live, a.namespace, a.cluster), nil
}

// sync syncs once, even if nothing differs, like the Sync button.
func (a *application) sync() (results []common.ResourceSyncResult, err error) {
	started := metav1.Now()
	phase := common.OperationRunning
	var message string
	err = wait.PollUntilContextTimeout(context.Background(), time.Second, syncTimeout, true, func(context.Context) (bool, error) {
		var err error
		phase, message, results, err = a.step(sync.WithInitialState(phase, message, results, started))
		return phase.Completed(), err
	})
	if wait.Interrupted(err) {
		return results, fmt.Errorf("not completed after %v, in phase %s: %s: %w", syncTimeout, phase, message, err)
	}
	if err != nil {
		return results, err
	}
	if !phase.Successful() {
		return results, fmt.Errorf("%s: %s", phase, message)
	}
	return results, nil
}

// step runs the sync from the live state until it must wait.
func (a *application) step(state sync.SyncOpt) (common.OperationPhase, string, []common.ResourceSyncResult, error) {
	reconciled, err := a.reconcile()
	if err != nil {
		return common.OperationError, "", nil, err
	}
	if a.respectIgnored {
		for i, target := range reconciled.Target {
			reconciled.Target[i] = a.ignoreDifferences.keepIgnored(target, reconciled.Live[i])
		}
	}
	propagation := metav1.DeletePropagationForeground
	operation, cleanup, err := sync.NewSyncContext("", reconciled, a.config, a.config, a.kubectl, a.namespace,
		state,
		sync.WithLogr(logr.Discard()),
		sync.WithHealthOverride(a.health),
		sync.WithPrune(a.prune),
		sync.WithPrunePropagationPolicy(&propagation),
		sync.WithResourcesFilter(func(_ kube.ResourceKey, target, live *unstructured.Unstructured) bool { return isOwned(target, live) }),
		sync.WithServerSideApply(a.serverSide),
		sync.WithServerSideApplyManager(fieldManager),
	)
	if err != nil {
		return common.OperationError, "", nil, fmt.Errorf("preparing the sync: %w", err)
	}
	defer cleanup()
	operation.Sync()
	phase, message, results := operation.GetState()
	return phase, message, results, nil
}
