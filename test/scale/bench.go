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

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/yaml"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/test/cluster"
)

const (
	// phaseTimeout is how long one phase may take.
	phaseTimeout = 20 * time.Minute
	// edits are how many policies are widened to see them healed.
	healEdits = 500
	// births are how many namespaces are made to see them hardened.
	newNamespaceCount = 200
	// idleFor is how long the operator is watched doing nothing.
	idleDuration = time.Minute
	// settle is how long things may go on after a phase.
	settleDuration = 3 * time.Second
	// started is when a process has given back what only its start needs.
	startupDuration = 30 * time.Second
	// mebibytes are the unit of memory.
	mebibytes = "MiB"
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
	namespaces   int
	// empty is the memory of an operator with nothing to do, in MiB.
	emptyMemory float64

	figures []figure
}

// measureOperator returns what was measured, also if a phase failed.
func measureOperator(ctx context.Context, s options, floor *floor, executable, log string) (figures []figure, err error) {
	local, err := cluster.Start(ctx)
	if err != nil {
		return nil, err
	}
	defer func() { _ = local.Stop() }()
	if err := local.Install(ctx); err != nil {
		return nil, err
	}
	b := &bench{options: s, floor: floor, cluster: local, executable: executable, log: log, namespaces: s.namespaces}
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
		{"converge", b.converge}, {"fan-out", b.fanOut}, {"born", b.newNamespaces}, {"heal", b.healIdle}, {"idle", b.idle}, {"restart", b.restart},
		{"heal while converging", b.healBusy}, {"memory", b.memory},
	} {
		if s.phases != "" && !slices.Contains(strings.Split(s.phases, ","), phase.name) {
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

// launch starts the operator, which outlives the phase.
func (b *bench) startManager(ctx context.Context) (err error) {
	flags := []string{"--leader-elect"} // as it is shipped
	if b.options.profiles != "" {
		if b.pprofAddress, err = cluster.FreeAddress(); err != nil {
			return err
		}
		flags = append(flags, "--pprof-bind-address="+b.pprofAddress)
	}
	b.manager, err = b.cluster.StartManager(context.WithoutCancel(ctx), b.executable, b.log, flags...)
	return err
}

// start starts it and waits until it has done what there is to do, which is nothing.
func (b *bench) startIdle(ctx context.Context) error {
	if err := b.startManager(ctx); err != nil {
		return err
	}
	if err := b.scraper.waitUntilLeader(ctx, b.manager); err != nil {
		return err
	}
	if err := pause(ctx, startupDuration); err != nil {
		return err
	}
	empty, _, err := residentMemory(b.manager.PID())
	b.emptyMemory = empty
	return err
}

// update changes the baseline and returns its generation.
func (b *bench) updateBaseline(ctx context.Context, change func(*v1alpha1.SecurityBaselineSpec)) (int64, error) {
	for {
		if err := b.clients.custom.Get(ctx, client.ObjectKeyFromObject(b.baseline), b.baseline); err != nil {
			return 0, err
		}
		change(&b.baseline.Spec)
		if err := b.clients.custom.Update(ctx, b.baseline); !apierrors.IsConflict(err) {
			return b.baseline.Generation, err
		}
	}
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(d):
		return nil
	}
}

// starter returns the sample of that name, which selects what is governed here.
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

// resident returns the memory of a process in MiB: now, and at its peak.
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
