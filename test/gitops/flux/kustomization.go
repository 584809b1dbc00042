package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/polling"
	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/clusterreader"
	"github.com/fluxcd/cli-utils/pkg/kstatus/polling/engine"
	"github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/normalize"
	ssautils "github.com/fluxcd/pkg/ssa/utils"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/apiutil"

	"github.com/securitybaseline/operator/test/gitops/internal/cli"
)

const (
	controller = "kustomize-controller"
	group      = "kustomize.toolkit.fluxcd.io"
	disabled   = "disabled"
	namespace  = "flux-system"
	// concurrency is the default of --concurrent-ssa.
	concurrency = 4
	// pollInterval is the interval of the health checks. The controller checks every
	// five seconds, which is too long for a test.
	pollInterval = time.Second
)

type kustomization struct {
	options
	client  client.Client
	manager *ssa.ResourceManager
	objects []*unstructured.Unstructured
}

func newKustomization(o options) (*kustomization, error) {
	config, err := cli.Kubeconfig(o.kubeconfig)
	if err != nil {
		return nil, err
	}
	manifests, err := cli.Manifests(o.manifests)
	if err != nil {
		return nil, err
	}
	objects, err := ssautils.ReadObjects(bytes.NewReader(manifests))
	if err != nil {
		return nil, fmt.Errorf("parsing the manifests: %w", err)
	}
	if err := normalize.UnstructuredList(objects); err != nil {
		return nil, fmt.Errorf("normalizing the manifests: %w", err)
	}
	k := &kustomization{options: o, objects: objects}
	return k, k.connect(config)
}

func (k *kustomization) connect(config *rest.Config) error {
	httpClient, err := rest.HTTPClientFor(config)
	if err != nil {
		return fmt.Errorf("creating an HTTP client: %w", err)
	}
	mapper, err := apiutil.NewDynamicRESTMapper(config, httpClient)
	if err != nil {
		return fmt.Errorf("creating a REST mapper: %w", err)
	}
	k.client, err = client.New(config, client.Options{HTTPClient: httpClient, Mapper: mapper})
	if err != nil {
		return fmt.Errorf("creating a client: %w", err)
	}
	poller := polling.NewStatusPoller(k.client, mapper, polling.Options{
		ClusterReaderFactory: engine.ClusterReaderFactoryFunc(clusterreader.NewDirectClusterReader),
	})
	k.manager = ssa.NewResourceManager(k.client, poller, ssa.Owner{Field: controller, Group: group})
	k.manager.SetOwnerLabels(k.objects, k.name, namespace)
	k.manager.SetConcurrency(concurrency)
	return nil
}

func (k *kustomization) applyOptions() ssa.ApplyOptions {
	apply := ssa.DefaultApplyOptions()
	apply.ExclusionSelector = map[string]string{group + "/reconcile": disabled, group + "/ssa": "Ignore"}
	apply.IfNotPresentSelector = map[string]string{group + "/ssa": "IfNotPresent"}
	apply.ForceSelector = map[string]string{group + "/force": "enabled"}
	apply.DriftIgnoreRules = k.ignoreRules
	apply.Cleanup = ssa.ApplyCleanupOptions{
		Annotations: []string{corev1.LastAppliedConfigAnnotation, group + "/checksum", "fluxcd.io/sync-checksum"},
		Labels:      []string{"fluxcd.io/sync-gc-mark"},
		// The controller takes over the fields of these managers, and removes those that
		// are not in git.
		FieldManagers: []ssa.FieldManager{
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationApply},
			{Name: "kubectl", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: "before-first-apply", OperationType: metav1.ManagedFieldsOperationUpdate},
			{Name: controller, OperationType: metav1.ManagedFieldsOperationUpdate},
		},
		Exclusions: map[string]string{group + "/ssa": "Merge"},
	}
	return apply
}

func (k *kustomization) diffOptions() ssa.DiffOptions {
	apply := k.applyOptions()
	return ssa.DiffOptions{
		Exclusions:           apply.ExclusionSelector,
		IfNotPresentSelector: apply.IfNotPresentSelector,
		ForceSelector:        apply.ForceSelector,
		DriftIgnoreRules:     apply.DriftIgnoreRules,
	}
}

// inventory is a Kustomization's status.inventory.
type inventory struct {
	Entries []inventoryEntry `json:"entries"`
}

type inventoryEntry struct {
	ID      string `json:"id"`
	Version string `json:"v"`
}

// staleObjects returns the objects in the inventory that are not among the current ones.
func (k *kustomization) staleObjects(current object.ObjMetadataSet) (stale []*unstructured.Unstructured, err error) {
	if k.inventory == "" {
		return nil, nil
	}
	var before inventory
	if err := cli.Unmarshal(k.inventory, &before); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, fmt.Errorf("reading the inventory: %w", err)
	}
	for _, entry := range before.Entries {
		id, err := object.ParseObjMetadata(entry.ID)
		if err != nil {
			return nil, fmt.Errorf("reading the inventory: %w", err)
		}
		if current.Contains(id) {
			continue
		}
		removed := &unstructured.Unstructured{}
		removed.SetGroupVersionKind(id.GroupKind.WithVersion(entry.Version))
		removed.SetNamespace(id.Namespace)
		removed.SetName(id.Name)
		stale = append(stale, removed)
	}
	return stale, nil
}

// replaceInventory writes the applied objects to the inventory. With prune, it deletes
// the objects that were in the inventory before and still have the Kustomization's
// labels.
func (k *kustomization) replaceInventory(ctx context.Context, applied *ssa.ChangeSet) (pruned *ssa.ChangeSet, err error) {
	stale, err := k.staleObjects(applied.ToObjMetadataSet())
	if err != nil {
		return nil, err
	}
	if k.prune {
		pruned, err = k.manager.DeleteAll(ctx, stale, ssa.DeleteOptions{
			PropagationPolicy: metav1.DeletePropagationBackground,
			Inclusions:        k.manager.GetOwnerLabels(k.name, namespace),
			Exclusions: map[string]string{
				group + "/prune": disabled, group + "/reconcile": disabled, group + "/ssa": "Ignore",
			},
		})
		if err != nil {
			// Keep the inventory, so that the next run tries again.
			return pruned, err
		}
	}
	return pruned, k.writeInventory(applied)
}

func (k *kustomization) writeInventory(applied *ssa.ChangeSet) error {
	if k.inventory == "" {
		return nil
	}
	now := inventory{Entries: []inventoryEntry{}}
	for _, entry := range applied.Entries {
		now.Entries = append(now.Entries, inventoryEntry{ID: entry.ObjMetadata.String(), Version: entry.GroupVersion})
	}
	file, err := json.Marshal(now)
	if err != nil {
		return fmt.Errorf("encoding the inventory: %w", err)
	}
	if err := os.WriteFile(k.inventory, file, 0o600); err != nil {
		return fmt.Errorf("writing the inventory: %w", err)
	}
	return nil
}

// waitFor waits until all objects that were not skipped are current. It fails as soon as
// one has failed.
func (k *kustomization) waitFor(applied *ssa.ChangeSet) error {
	if k.wait == 0 {
		return nil
	}
	waited := ssa.NewChangeSet()
	for _, entry := range applied.Entries {
		if entry.Action != ssa.SkippedAction {
			waited.Add(entry)
		}
	}
	if err := k.manager.WaitForSet(waited.ToObjMetadataSet(), ssa.WaitOptions{
		Interval: pollInterval, Timeout: k.wait, FailFast: true,
		JobsWithTTL: ssautils.ExtractJobsWithTTL(k.objects),
	}); err != nil {
		return fmt.Errorf("checking health: %w", err)
	}
	return nil
}
