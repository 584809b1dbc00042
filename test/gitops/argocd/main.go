// Command argocd-sync compares a directory of manifests with a cluster, or syncs
// them to it, as Argo CD does with an Application: by its own engine, with its
// defaults.
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
	// What goes wrong is an error, too.
	klog.SetLogger(logr.Discard())
	document, err := run(parse())
	cli.Exit(document, err)
}

func parse() options {
	o := options{health: healthScripts{}}
	flag.StringVar(&o.kubeconfig, "kubeconfig", "", "of the destination")
	flag.StringVar(&o.manifests, "manifests", "", "directory of *.yaml")
	flag.StringVar(&o.name, "app", "", "name of the Application")
	flag.StringVar(&o.namespace, "namespace", "default", "spec.destination.namespace")
	flag.BoolVar(&o.serverSide, "server-side", false, "sync option ServerSideApply=true")
	flag.BoolVar(&o.prune, "prune", false, "delete what the Application no longer has")
	flag.BoolVar(&o.diffOnly, "diff", false, "compare only")
	flag.BoolVar(&o.respectIgnored, "respect-ignore-differences", false, "sync option RespectIgnoreDifferences=true")
	flag.Func("ignore-differences", "file with the list spec.ignoreDifferences", func(path string) error {
		return cli.Unmarshal(path, &o.ignoreDifferences)
	})
	flag.Func("health-lua", "GROUP_KIND=FILE, as in resource.customizations.health.GROUP_KIND; repeatable", o.health.addFlag)
	cli.Parse("kubeconfig", "manifests", "app")
	return o
}

func run(o options) (*report, error) {
	// kubectl's code caches on disk what an API server serves, by its address. Those
	// of the test clusters are soon another's.
	dir, err := os.MkdirTemp("", "argocd-sync-")
	if err != nil {
		return nil, fmt.Errorf("making a cache directory: %w", err)
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
		return app.report(nil)
	}
	results, syncErr := app.sync()
	if err := app.refresh(); err != nil {
		return nil, errors.Join(syncErr, err)
	}
	report, err := app.report(results)
	if err := errors.Join(syncErr, err); err != nil {
		return report, fmt.Errorf("syncing %s: %w", o.name, err)
	}
	return report, nil
}

// add is what a flag GROUP_KIND=FILE does.
func (s healthScripts) addFlag(value string) error {
	groupKind, path, found := strings.Cut(value, "=")
	if !found {
		return fmt.Errorf("%q is not GROUP_KIND=FILE", value)
	}
	script, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	s[groupKind] = string(script)
	return nil
}
