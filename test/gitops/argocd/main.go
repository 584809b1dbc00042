// Command argocd-sync compares a directory of manifests with a cluster, or syncs the
// manifests to the cluster. It uses the engine and the defaults of Argo CD.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"strings"

	"github.com/go-logr/logr"
	"k8s.io/klog/v2"

	"github.com/securitybaseline/operator/test/gitops/internal/cli"
)

type options struct {
	kubeconfig, manifests    string
	name, namespace          string
	serverSide, prune        bool
	respectIgnored, diffOnly bool
	ignoreDifferences        ignoreRules
	health                   healthScripts
}

func main() {
	// Each failure is also returned as an error.
	klog.SetLogger(logr.Discard())
	document, err := run(parse())
	cli.Exit(document, err)
}

func parse() options {
	o := options{health: healthScripts{}}
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "kubeconfig `file` of the destination")
	flag.StringVar(&o.manifests, "manifests", "", "`directory` with *.yaml files")
	flag.StringVar(&o.name, "app", "", "`name` of the Application")
	flag.StringVar(&o.namespace, "namespace", "default", "spec.destination.namespace")
	flag.BoolVar(&o.serverSide, "server-side", false, "sync option ServerSideApply=true")
	flag.BoolVar(&o.prune, "prune", false, "delete objects that are no longer in the Application")
	flag.BoolVar(&o.diffOnly, "diff", false, "only compare")
	flag.BoolVar(&o.respectIgnored, "respect-ignore-differences", false, "sync option RespectIgnoreDifferences=true")
	flag.Func("ignore-differences", "`file` with the list spec.ignoreDifferences", func(path string) error {
		return cli.Unmarshal(path, &o.ignoreDifferences)
	})
	flag.Func("health-lua", "GROUP_KIND=FILE, as in resource.customizations.health.GROUP_KIND; repeatable", o.health.addFlag)
	cli.Parse("kubeconfig", "manifests", "app")
	return o
}

func run(o options) (*report, error) {
	// kubectl caches discovery on disk, by the address of the API server. Test clusters
	// reuse addresses, so each run needs its own cache.
	dir, err := os.MkdirTemp("", "argocd-sync-")
	if err != nil {
		return nil, fmt.Errorf("creating a cache directory: %w", err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if err := os.Setenv("KUBECACHEDIR", dir); err != nil {
		return nil, fmt.Errorf("setting the cache directory: %w", err)
	}
	app, err := newApplication(o)
	if err != nil {
		return nil, err
	}
	if o.diffOnly {
		return app.result(nil)
	}
	results, syncErr := app.sync()
	if err := app.refresh(); err != nil {
		return nil, errors.Join(syncErr, err)
	}
	result, err := app.result(results)
	if err := errors.Join(syncErr, err); err != nil {
		return result, fmt.Errorf("syncing %s: %w", o.name, err)
	}
	return result, nil
}

// addFlag adds the script of a flag GROUP_KIND=FILE.
func (s healthScripts) addFlag(value string) error {
	kind, path, found := strings.Cut(value, "=")
	if !found {
		return fmt.Errorf("invalid value %q: must be GROUP_KIND=FILE", value)
	}
	script, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	s[kind] = string(script)
	return nil
}
