// Command flux-sync compares a directory of manifests with a cluster, or applies the
// manifests to the cluster. It uses the library and the options of Flux's
// kustomize-controller.
package main

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"time"

	"github.com/fluxcd/cli-utils/pkg/kstatus/status"
	"github.com/fluxcd/cli-utils/pkg/object"
	"github.com/fluxcd/pkg/ssa"
	"github.com/fluxcd/pkg/ssa/jsondiff"
	ssautils "github.com/fluxcd/pkg/ssa/utils"
	"github.com/go-logr/logr"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/securitybaseline/operator/test/gitops/internal/cli"
)

type options struct {
	kubeconfig, manifests, inventory string
	name                             string
	prune, diffOnly                  bool
	wait                             time.Duration
	ignoreRules                      []jsondiff.IgnoreRule
}

// report has the changes, or with --diff the expected changes, and the health
// afterwards.
type report struct {
	Changes []change `json:"changes"`
	Health  []health `json:"health"`
}

type change struct {
	Subject string     `json:"subject"`
	Action  ssa.Action `json:"action"`
	// Diff is the merge patch from the live object to the applied one.
	Diff json.RawMessage `json:"diff,omitempty"`
}

type health struct {
	Subject string        `json:"subject"`
	Status  status.Status `json:"status"`
	Message string        `json:"message"`
}

func main() {
	log.SetLogger(logr.Discard())
	document, err := run(context.Background(), parse())
	cli.Exit(document, err)
}

func parse() (o options) {
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the cluster")
	flag.StringVar(&o.manifests, "manifests", "", "`directory` with *.yaml files")
	flag.StringVar(&o.name, "name", "", "`name` of the Kustomization, in flux-system")
	flag.StringVar(&o.inventory, "inventory", "", "`file` that stores status.inventory between runs")
	flag.BoolVar(&o.prune, "prune", false, "spec.prune: delete objects that were applied before and are no longer in the manifests")
	flag.BoolVar(&o.diffOnly, "diff", false, "only compare")
	flag.DurationVar(&o.wait, "wait", 0, "spec.wait with this spec.timeout")
	flag.Func("ignore", "`file` with the list spec.ignore", func(path string) error {
		var rules []struct {
			Paths  []string
			Target *jsondiff.Selector
		}
		err := cli.Unmarshal(path, &rules)
		for _, rule := range rules {
			o.ignoreRules = append(o.ignoreRules, jsondiff.IgnoreRule{Paths: rule.Paths, Selector: rule.Target})
		}
		return err
	})
	cli.Parse("kubeconfig", "manifests", "name")
	return o
}

func run(ctx context.Context, o options) (*report, error) {
	k, err := newKustomization(o)
	if err != nil {
		return nil, err
	}
	action := k.sync
	if o.diffOnly {
		action = k.diff
	}
	result, syncErr := action(ctx)
	if syncErr != nil {
		syncErr = fmt.Errorf("syncing %s: %w", o.name, syncErr)
	}
	err = k.health(ctx, result)
	return result, errors.Join(syncErr, err)
}

// sync applies, prunes and waits. It stops at the first error.
func (k *kustomization) sync(ctx context.Context) (*report, error) {
	result := &report{Changes: []change{}, Health: []health{}}
	applied, err := k.manager.ApplyAllStaged(ctx, k.objects, k.applyOptions())
	result.add(applied)
	if err != nil {
		return result, err
	}
	pruned, err := k.replaceInventory(ctx, applied)
	result.add(pruned)
	if err != nil {
		return result, err
	}
	return result, k.waitFor(applied)
}

// diff reports how a sync would change each object.
func (k *kustomization) diff(ctx context.Context) (*report, error) {
	result := &report{Changes: []change{}, Health: []health{}}
	for _, desired := range k.objects {
		entry, live, merged, err := k.manager.Diff(ctx, desired, k.diffOptions())
		if err != nil {
			return result, err
		}
		expected := change{Subject: entry.Subject, Action: entry.Action}
		if live != nil {
			if expected.Diff, err = mergePatch(live, merged); err != nil {
				return result, err
			}
		}
		result.Changes = append(result.Changes, expected)
	}
	if !k.prune {
		return result, nil
	}
	stale, err := k.staleObjects(object.UnstructuredSetToObjMetadataSet(k.objects))
	for _, removed := range stale {
		result.Changes = append(result.Changes, change{Subject: ssautils.FmtUnstructured(removed), Action: ssa.DeletedAction})
	}
	return result, err
}

func mergePatch(live, merged *unstructured.Unstructured) (json.RawMessage, error) {
	from, err := live.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding the live object: %w", err)
	}
	to, err := merged.MarshalJSON()
	if err != nil {
		return nil, fmt.Errorf("encoding the merged object: %w", err)
	}
	return cli.MergePatch(from, to)
}

// health adds the status of each object, from kstatus.
func (k *kustomization) health(ctx context.Context, result *report) error {
	for _, desired := range k.objects {
		live := &unstructured.Unstructured{}
		live.SetGroupVersionKind(desired.GroupVersionKind())
		entry := health{Subject: ssautils.FmtUnstructured(desired), Status: status.NotFoundStatus}
		err := k.client.Get(ctx, client.ObjectKeyFromObject(desired), live)
		switch {
		case err == nil:
			computed, err := status.Compute(live)
			if err != nil {
				return fmt.Errorf("computing the status of %s: %w", entry.Subject, err)
			}
			entry.Status, entry.Message = computed.Status, computed.Message
		case !apierrors.IsNotFound(err) && !meta.IsNoMatchError(err):
			return fmt.Errorf("reading %s: %w", entry.Subject, err)
		}
		result.Health = append(result.Health, entry)
	}
	return nil
}

func (r *report) add(changes *ssa.ChangeSet) {
	if changes == nil {
		return
	}
	for _, entry := range changes.Entries {
		r.Changes = append(r.Changes, change{Subject: entry.Subject, Action: entry.Action})
	}
}
