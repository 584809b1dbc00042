package main

import (
	"cmp"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/argoproj/argo-cd/gitops-engine/pkg/diff"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/health"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/sync/common"
	"github.com/argoproj/argo-cd/gitops-engine/pkg/utils/kube"
	"github.com/go-logr/logr"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"

	"github.com/securitybaseline/operator/test/gitops/internal/cli"
)

// report is the state after the sync.
type report struct {
	Resources []resource `json:"resources"`
	// Diffs are merge patches from the live objects that are OutOfSync to the result of
	// a sync, by group/kind/namespace/name.
	Diffs map[string]json.RawMessage `json:"diffs"`
}

type resource struct {
	Group     string `json:"group"`
	Kind      string `json:"kind"`
	Namespace string `json:"namespace"`
	Name      string `json:"name"`
	// Sync is Synced or OutOfSync. It is empty for deleted objects.
	Sync          string                  `json:"sync"`
	Health        health.HealthStatusCode `json:"health"`
	HealthMessage string                  `json:"healthMessage"`
	// Result is the result of the sync, and Message its message.
	Result  common.ResultCode `json:"result"`
	Message string            `json:"message"`
}

// report compares the live objects with the targets, and adds the results of a sync.
func (a *application) result(results []common.ResourceSyncResult) (*report, error) {
	reconciled, err := a.reconcile()
	if err != nil {
		return nil, err
	}
	diffs, err := a.diff(reconciled)
	if err != nil {
		return nil, fmt.Errorf("comparing: %w", err)
	}
	result := &report{Resources: []resource{}, Diffs: map[string]json.RawMessage{}}
	for i, target := range reconciled.Target {
		live := reconciled.Live[i]
		if !isOwned(target, live) {
			continue
		}
		key, entry := a.resourceEntry(target, live, diffs.Diffs[i].Modified)
		if target != nil && live != nil && diffs.Diffs[i].Modified {
			if result.Diffs[key.String()], err = cli.MergePatch(diffs.Diffs[i].NormalizedLive, diffs.Diffs[i].PredictedLive); err != nil {
				return nil, err
			}
		}
		result.Resources = append(result.Resources, entry)
	}
	for _, synced := range results {
		result.add(a.withoutNamespaceIfClusterScoped(synced.ResourceKey), synced)
	}
	slices.SortFunc(result.Resources, func(a, b resource) int {
		return cmp.Or(cmp.Compare(a.Kind, b.Kind), cmp.Compare(a.Namespace, b.Namespace), cmp.Compare(a.Name, b.Name))
	})
	return result, nil
}

// diff compares with the defaults of Argo CD. Since version 3.6, the diff is server-side
// if the sync is.
func (a *application) diff(reconciled sync.ReconciliationResult) (*diff.DiffResultList, error) {
	settings := []diff.Option{
		diff.WithNormalizer(a.ignoreDifferences), diff.WithManager(fieldManager),
		diff.WithGVKParser(a.cluster.GetGVKParser()), diff.WithLogr(logr.Discard()),
	}
	if a.serverSide {
		applier, cleanup, err := a.kubectl.ManageServerSideDiffDryRuns(a.config)
		if err != nil {
			return nil, fmt.Errorf("preparing dry runs: %w", err)
		}
		defer cleanup()
		settings = append(settings, diff.WithServerSideDiff(true), diff.WithServerSideDryRunner(diff.NewK8sServerSideDryRunner(applier)))
	}
	return diff.DiffArray(reconciled.Target, reconciled.Live, settings...)
}

func (a *application) resourceEntry(target, live *unstructured.Unstructured, modified bool) (kube.ResourceKey, resource) {
	object := live
	if object == nil {
		object = target
	}
	key := kube.GetResourceKey(object)
	entry := resource{Group: key.Group, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name, Sync: "Synced"}
	if modified || target == nil || live == nil {
		entry.Sync = "OutOfSync"
	}
	if live == nil {
		entry.Health = health.HealthStatusMissing
		return key, entry
	}
	// The status includes the error.
	if status, _ := health.GetResourceHealth(live, a.health); status != nil {
		entry.Health, entry.HealthMessage = status.Status, status.Message
	}
	return key, entry
}

// withoutNamespaceIfClusterScoped removes the namespace from the key of a cluster-scoped
// object. A sync sets the namespace of the destination in all keys.
func (a *application) withoutNamespaceIfClusterScoped(key kube.ResourceKey) kube.ResourceKey {
	if !kube.IsNamespacedOrUnknown(a.cluster, key.GroupKind()) {
		key.Namespace = ""
	}
	return key
}

// add adds the result of the sync, including for deleted objects.
func (r *report) add(key kube.ResourceKey, result common.ResourceSyncResult) {
	i := slices.IndexFunc(r.Resources, func(e resource) bool {
		return kube.NewResourceKey(e.Group, e.Kind, e.Namespace, e.Name) == key
	})
	if i < 0 {
		i = len(r.Resources)
		r.Resources = append(r.Resources, resource{Group: key.Group, Kind: key.Kind, Namespace: key.Namespace, Name: key.Name})
	}
	r.Resources[i].Result, r.Resources[i].Message = result.Status, result.Message
}
