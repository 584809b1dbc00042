// Command scale measures the operator at N namespaces and compares it with the speed of
// the API server alone, on one machine in one run: see docs/performance.md. It fails if a
// figure is beyond its range.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/securitybaseline/operator/test/cluster"
)

// options are the values of the flags.
type options struct {
	namespaces int
	json       string
	docs       string
	ranges     string
	phases     string
	profiles   string
}

func main() {
	cluster.Main()
	var o options
	flag.IntVar(&o.namespaces, "n", 1000, "The number of governed namespaces.")
	flag.StringVar(&o.json, "json", "", "The `file` for the figures, as JSON.")
	flag.StringVar(&o.docs, "docs", "", "The `file` with a table for this number of namespaces, which is updated.")
	flag.StringVar(&o.ranges, "range", "", "The `file` with the highest allowed value of figures.")
	flag.StringVar(&o.phases, "phases", "", "The comma-separated `names` of the phases to run. The default is all phases. The others need converge.")
	flag.StringVar(&o.profiles, "profiles", "", "The `directory` for profiles of the operator: CPU at the start of each phase, heap after it. The default is no profiles.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(zap.New(zap.WriteTo(io.Discard)))
	if err := run(ctx, o); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, o options) error {
	dir, err := os.MkdirTemp("", "scale-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if o.profiles != "" {
		if err := os.MkdirAll(o.profiles, 0o755); err != nil { //nolint:gosec // the directory is public
			return err
		}
	}
	executable, err := cluster.BuildManager(ctx, dir)
	if err != nil {
		return err
	}
	measuredFloor, err := measureFloor(ctx, o.namespaces)
	if err != nil {
		return fmt.Errorf("measuring the floor: %w", err)
	}
	figures := measuredFloor.figures()
	measured, err := measureOperator(ctx, o, measuredFloor, executable, filepath.Join(dir, "operator.log"))
	figures = append(figures, measured...)
	fmt.Print(markdownTable(figures))
	if err != nil {
		return fmt.Errorf("measuring the operator: %w", err)
	}
	return publish(o, figures)
}
