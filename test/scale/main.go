// Command scale measures the operator at N namespaces beside what the API server can
// do at all, on one machine in one run: see docs/performance.md. It fails where a
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

// settings are what the flags say.
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
	var s options
	flag.IntVar(&s.namespaces, "n", 1000, "How many namespaces are governed.")
	flag.StringVar(&s.json, "json", "", "The `file` into which the figures are written.")
	flag.StringVar(&s.docs, "docs", "", "The `file` whose table for this many namespaces is kept up to date.")
	flag.StringVar(&s.ranges, "range", "", "The `file` that says what a regression is.")
	flag.StringVar(&s.phases, "phases", "", "The `names` of the phases that are run, separated by commas; converge first, for the others need it; all, unless stated.")
	flag.StringVar(&s.profiles, "profiles", "", "The `directory` into which a CPU profile of the operator in each phase, and its heap after it, are written; none, unless stated.")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctrl.SetLogger(zap.New(zap.WriteTo(io.Discard)))
	if err := run(ctx, s); err != nil {
		fmt.Fprintln(os.Stderr, "scale:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, s options) error {
	dir, err := os.MkdirTemp("", "scale-")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if s.profiles != "" {
		if err := os.MkdirAll(s.profiles, 0o755); err != nil { //nolint:gosec // it is for everybody
			return err
		}
	}
	executable, err := cluster.BuildManager(ctx, dir)
	if err != nil {
		return err
	}
	floor, err := measureFloor(ctx, s.namespaces)
	if err != nil {
		return fmt.Errorf("measuring the floor: %w", err)
	}
	figures := floor.figures()
	measured, err := measureOperator(ctx, s, floor, executable, filepath.Join(dir, "operator.log"))
	figures = append(figures, measured...)
	fmt.Print(markdownTable(figures))
	if err != nil {
		return fmt.Errorf("measuring the operator: %w", err)
	}
	return publish(s, figures)
}
