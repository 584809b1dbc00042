package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"k8s.io/client-go/util/retry"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
)

const (
	// phaseTimeout limits each phase.
	phaseTimeout = 20 * time.Minute
	// revertEdits is the number of policies that the revert phases change.
	revertEdits = 500
	// newNamespaceCount is the number of namespaces that the phase new namespaces
	// creates.
	newNamespaceCount = 200
	// idleDuration is how long the phase idle observes the operator.
	idleDuration = time.Minute
	// settleDuration is the pause after a phase.
	settleDuration = 3 * time.Second
	// startupDuration is the time after which a process has released the memory that
	// only its start needs.
	startupDuration = 30 * time.Second
	mebibytes       = "MiB"
)

// bench measures the operator on a control plane, phase by phase.
type bench struct {
	options options
	floor   *floor

	cluster      *cluster.Cluster
	clients      *clients
	scraper      *scraper
	executable   string
	log          string
	manager      *cluster.Manager
	pprofAddress string
	baseline     *v1alpha1.SecurityBaseline
	// namespaces is the number of governed namespaces.
	namespaces int
	// emptyMemory is the memory of an operator without any governed namespace, in MiB.
	emptyMemory float64

	figures []figure
}

// measureOperator runs the phases. It returns the figures measured so far even if a
// phase fails.
func measureOperator(ctx context.Context, o options, measuredFloor *floor, executable, log string) (figures []figure, err error) {
	local, err := cluster.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = local.Stop() }()
	if err := local.Install(ctx); err != nil {
		return nil, err
	}
	b := &bench{options: o, floor: measuredFloor, cluster: local, executable: executable, log: log, namespaces: o.namespaces}
	if b.clients, err = newClients(local); err != nil {
		return nil, err
	}
	if b.scraper, err = newScraper(ctx, b.clients); err != nil {
		return nil, err
	}
	if b.baseline, err = starterBaseline(); err != nil {
		return nil, err
	}
	if err := b.startIdle(ctx); err != nil {
		return nil, err
	}
	defer func() { _ = b.manager.Stop() }()
	for _, phase := range []struct {
		name string
		run  func(ctx context.Context) error
	}{
		{name: "converge", run: b.converge},
		{name: "fan-out", run: b.fanOut},
		{name: "new namespaces", run: b.newNamespaces},
		{name: "revert", run: b.revertIdle},
		{name: "idle", run: b.idle},
		{name: "restart", run: b.restart},
		{name: "revert while converging", run: b.revertBusy},
		{name: "memory", run: b.memory},
		// The last one: for five minutes after it, the policy counts as contested, and then
		// the operator writes.
		{name: "contested", run: b.contested},
	} {
		if o.phases != "" && !slices.Contains(strings.Split(o.phases, ","), phase.name) {
			continue
		}
		start := time.Now()
		limited, cancel := context.WithTimeout(ctx, phaseTimeout)
		err := b.withProfiles(limited, phase.name, phase.run)
		cancel()
		if err != nil {
			return b.figures, fmt.Errorf("%s: %w", phase.name, err)
		}
		fmt.Printf("%s: done in %s\n", phase.name, time.Since(start).Round(time.Millisecond))
	}
	return b.figures, nil
}

func (b *bench) add(f figure) { b.figures = append(b.figures, f) }

// startManager starts the operator, which keeps running after the phase.
func (b *bench) startManager(ctx context.Context) (err error) {
	flags := []string{"--leader-elect"} // as in config/manager
	if b.options.profiles != "" {
		if b.pprofAddress, err = cluster.FreeAddress(); err != nil {
			return err
		}
		flags = append(flags, "--pprof-bind-address="+b.pprofAddress)
	}
	b.manager, err = b.cluster.StartManager(context.WithoutCancel(ctx), b.executable, b.log, flags...)
	return err
}

// startIdle starts the operator and measures its memory while there is nothing to
// govern.
func (b *bench) startIdle(ctx context.Context) error {
	if err := b.startManager(ctx); err != nil {
		return err
	}
	if err := b.scraper.waitForLeader(ctx, b.manager); err != nil {
		return err
	}
	if err := pause(ctx, startupDuration); err != nil {
		return err
	}
	empty, _, err := residentMemory(b.manager.PID())
	b.emptyMemory = empty
	return err
}

// updateBaseline changes the baseline and returns its new generation.
func (b *bench) updateBaseline(ctx context.Context, mutate func(*v1alpha1.SecurityBaselineSpec)) (int64, error) {
	err := retry.RetryOnConflict(retry.DefaultBackoff, func() error {
		if err := b.clients.custom.Get(ctx, client.ObjectKeyFromObject(b.baseline), b.baseline); err != nil {
			return err
		}
		mutate(&b.baseline.Spec)
		return b.clients.custom.Update(ctx, b.baseline)
	})
	return b.baseline.Generation, err
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// starterBaseline returns the starter sample. It selects the governed namespaces of the
// bench.
func starterBaseline() (*v1alpha1.SecurityBaseline, error) {
	data, err := os.ReadFile(filepath.Join(cluster.Root(), "config", "samples", "starter.yaml"))
	if err != nil {
		return nil, err
	}
	baseline := &v1alpha1.SecurityBaseline{}
	if err := yaml.UnmarshalStrict(data, baseline); err != nil {
		return nil, fmt.Errorf("reading the starter sample: %w", err)
	}
	baseline.Spec.NamespaceSelector.MatchLabels = map[string]v1alpha1.LabelValue{stageLabel: governedStage}
	return baseline, nil
}

// residentMemory returns the resident memory of a process and its peak, in MiB.
func residentMemory(pid int) (now, peak float64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		return 0, 0, fmt.Errorf("reading the operator's memory: %w", err)
	}
	for line := range strings.Lines(string(data)) {
		fields := strings.Fields(line)
		if len(fields) < 2 {
			continue
		}
		kilobytes, err := strconv.ParseFloat(fields[1], 64)
		if err != nil {
			continue
		}
		switch fields[0] {
		case "VmRSS:":
			now = kilobytes / 1024
		case "VmHWM:":
			peak = kilobytes / 1024
		}
	}
	return now, peak, nil
}
