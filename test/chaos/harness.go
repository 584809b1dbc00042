package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/test/cluster"
)

const (
	// replicas is the number of running operators. One of them leads.
	replicas = 2
	// defaultSettleTimeout is the time within which the cluster must match the baselines
	// after the faults stop.
	defaultSettleTimeout = 30 * time.Second
	// minNamespaces is the smallest useful number of namespaces: fixedNamespaces of them
	// are never recreated or relabeled.
	minNamespaces  = 10
	maxFaultsInMix = 4
	maxMixDuration = 20 * time.Second
	// churnInterval is the average time between two user changes while faults are
	// active.
	churnInterval = 50 * time.Millisecond
)

// options are the values of the flags.
type options struct {
	seed       uint64
	aloneFor   time.Duration
	mixedFor   time.Duration
	namespaces int
	// settleTimeout is the time within which the cluster must match the baselines after
	// the faults stop.
	settleTimeout time.Duration
	// faultNames selects faults. If it is empty, all faults are used.
	faultNames []string
	dir        string
	out        io.Writer
}

// harness injects faults and checks the invariants.
type harness struct {
	// runCtx is the context of the whole run. Cleanup after a fault uses it, because the
	// context of the fault is done by then.
	runCtx     context.Context
	options    options
	cluster    *cluster.Cluster
	admin      client.Client
	proxy      *proxy
	fleet      *fleet
	watcher    *watcher
	invariants *invariants

	// editNumber numbers the edits, so that each has a different annotation.
	editNumber atomic.Int64
	// editsApplied counts the edits that the API server accepted.
	editsApplied atomic.Int64
	// recreating holds the names of the namespaces that are being recreated.
	recreating sync.Map

	mutex  sync.Mutex
	counts map[string]int
	// longestSettle is the longest time that the cluster took to match the baselines
	// after a round.
	longestSettle time.Duration
}

// count counts an action by its name.
func (h *harness) count(action string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.counts[action]++
}

func (h *harness) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(h.options.out, time.Now().UTC().Format("15:04:05 ")+format+"\n", args...)
}

// runHarness runs all rounds. It returns an error if an invariant was violated.
func runHarness(ctx context.Context, o options) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	selected, err := faultsNamed(o.faultNames)
	if err != nil {
		return err
	}
	if o.namespaces < minNamespaces {
		return fmt.Errorf("got %d namespaces, need at least %d", o.namespaces, minNamespaces)
	}
	if o.dir == "" {
		if o.dir, err = os.MkdirTemp("", "chaos-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(o.dir)
			} else {
				err = fmt.Errorf("%w\nsee the operators' log in %s", err, o.dir)
			}
		}()
	}
	_, _ = fmt.Fprintf(o.out, "seed %d\n", o.seed)
	h, err := newHarness(ctx, o)
	if err != nil {
		return err
	}
	defer func() { _ = h.cluster.Stop() }()
	defer func() {
		h.fleet.stop()
		err = errors.Join(err, h.fleet.checkLog())
	}()
	random := rand.New(rand.NewPCG(o.seed, 0))
	if o.aloneFor > 0 {
		for _, f := range selected {
			if err := h.runRound(ctx, max(o.aloneFor, f.duration), f); err != nil {
				return err
			}
		}
	}
	for end := time.Now().Add(o.mixedFor); time.Now().Before(end); {
		mix := pickMix(random, selected)
		if err := h.runRound(ctx, maxMixDuration/4+time.Duration(random.Int64N(int64(maxMixDuration*3/4))), mix...); err != nil {
			return err
		}
	}
	h.fleet.stop()
	h.printSummary()
	return h.checkFaultsHadEffect(selected)
}

// newHarness starts the control plane and the operators, and waits until the cluster
// matches the baselines.
func newHarness(ctx context.Context, o options) (_ *harness, err error) {
	h := &harness{runCtx: ctx, options: o, counts: map[string]int{}, invariants: newInvariants()}
	if h.cluster, err = cluster.Start(ctx); err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			_ = h.cluster.Stop()
		}
	}()
	if err := h.cluster.Install(ctx); err != nil {
		return nil, err
	}
	config := rest.CopyConfig(h.cluster.Admin)
	config.Timeout = 10 * time.Second
	if h.admin, err = client.New(config, client.Options{Scheme: scheme}); err != nil {
		return nil, err
	}
	if h.watcher, err = newWatcher(ctx, h.cluster.EtcdURL, h.invariants.observe); err != nil {
		return nil, err
	}
	h.invariants.objects = h.watcher.objects
	if h.proxy, err = newProxy(ctx, h.cluster.Admin); err != nil {
		return nil, err
	}
	for i := range o.namespaces {
		if err := h.createNamespace(ctx, namespaceName(i)); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{floorBaseline, strictBaseline, trialBaseline} {
		if err := h.ensureBaseline(ctx, name); err != nil {
			return nil, err
		}
	}
	if err := h.startOperators(ctx); err != nil {
		return nil, err
	}
	if _, err := h.waitForSettled(ctx); err != nil {
		h.fleet.stop()
		return nil, fmt.Errorf("settling before the first fault: %w", err)
	}
	return h, nil
}

// startOperators starts the operators, which reach the API server through the proxy.
func (h *harness) startOperators(ctx context.Context) error {
	operator, err := h.cluster.OperatorConfig(ctx)
	if err != nil {
		return err
	}
	proxied := rest.CopyConfig(h.proxy.config)
	proxied.BearerToken = operator.BearerToken
	kubeconfig, err := h.cluster.WriteKubeconfig("chaos.kubeconfig", proxied)
	if err != nil {
		return err
	}
	shared := sharedDir(h.options.dir)
	if err := os.MkdirAll(h.options.dir, 0o700); err != nil {
		return err
	}
	data, err := os.ReadFile(kubeconfig)
	if err != nil {
		return err
	}
	if err := os.WriteFile(shared.kubeconfigPath(), data, 0o600); err != nil {
		return err
	}
	h.fleet, err = startFleet(replicas, shared, filepath.Join(h.options.dir, "operator.log"))
	return err
}

// runRound injects the faults of a mix together for a time. Then it waits until
// the cluster matches the baselines.
func (h *harness) runRound(ctx context.Context, length time.Duration, mix ...fault) error {
	limited, cancel := context.WithTimeout(ctx, length)
	defer cancel()
	done := make(chan error, 1+len(mix))
	for _, f := range mix {
		go func() {
			if err := f.inject(limited, h); err != nil {
				done <- fmt.Errorf("%s: %w", f.name, err)
				return
			}
			done <- nil
		}()
	}
	go func() { done <- repeat(limited, churnInterval, func() error { return h.churn(limited) }) }()
	errs := make([]error, 0, cap(done))
	for range cap(done) {
		errs = append(errs, <-done)
	}
	if err := errors.Join(errs...); err != nil {
		return err
	}
	took, err := h.waitForSettled(ctx)
	h.longestSettle = max(h.longestSettle, took)
	if err != nil {
		return fmt.Errorf("%s: %w", joinNames(mix), err)
	}
	h.logf("%s: faults for %s, settled %.1f s later", joinNames(mix), length.Round(time.Second), took.Seconds())
	return nil
}

// waitForSettled waits until the cluster matches the baselines and returns the time
// that it took. It returns an error if an invariant was violated. First, it opens a
// namespace: this shows that the operator reverts changes, and not only that there was
// nothing to revert.
func (h *harness) waitForSettled(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	openCtx, cancel := context.WithTimeout(ctx, h.options.settleTimeout)
	err := retry(openCtx, func() error { return h.openRandomNamespace(openCtx) })
	cancel()
	if err != nil {
		return 0, fmt.Errorf("opening a namespace: %w", err)
	}
	var problem string
	for time.Since(start) < h.options.settleTimeout && ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, h.options.settleTimeout)
		err := h.watcher.waitForCurrent(limited)
		cancel()
		if err != nil {
			return 0, fmt.Errorf("watching etcd: %w", err)
		}
		h.watcher.mutex.Lock()
		problem = h.invariants.unsettled(time.Now())
		violations := h.invariants.violations
		h.watcher.mutex.Unlock()
		if len(violations) > 0 {
			return 0, fmt.Errorf("%d violations:\n%s", len(violations), strings.Join(violations[:min(len(violations), 3)], "\n"))
		}
		if problem == "" {
			return time.Since(start), nil
		}
		pause(ctx, 100*time.Millisecond)
	}
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	return 0, fmt.Errorf("I3: not settled %s after the faults stopped:\n  %s", h.options.settleTimeout, problem)
}

// checkFaultsHadEffect returns an error if a fault did nothing, or if there were no
// edits or checked writes.
func (h *harness) checkFaultsHadEffect(selected []fault) error {
	h.mutex.Lock()
	actions := slices.Collect(maps.Keys(h.counts))
	h.mutex.Unlock()
	for _, f := range selected {
		if f.counterPrefix != "" && !slices.ContainsFunc(actions, func(what string) bool { return strings.HasPrefix(what, f.counterPrefix) }) {
			return fmt.Errorf("fault %s had no effect", f.name)
		}
		if f.counterPrefix == "" && len(h.proxy.failureCounts()) == 0 {
			return fmt.Errorf("fault %s failed no request", f.name)
		}
	}
	h.watcher.mutex.Lock()
	defer h.watcher.mutex.Unlock()
	if h.editsApplied.Load() == 0 || h.invariants.checkedWrites == 0 || len(h.invariants.openFor) == 0 {
		return fmt.Errorf("got %d edits, %d checked writes and %d reverted openings, want at least one of each",
			h.editsApplied.Load(), h.invariants.checkedWrites, len(h.invariants.openFor))
	}
	return nil
}

// printSummary prints the counters and times of the run.
func (h *harness) printSummary() {
	h.watcher.mutex.Lock()
	defer h.watcher.mutex.Unlock()
	durations := slices.Sorted(slices.Values(h.invariants.openFor))
	h.logf("%d edits, %d checked writes of the operators and Kubernetes, %d operator exits", h.editsApplied.Load(), h.invariants.checkedWrites, h.fleet.exits)
	if n := len(durations); n > 0 {
		h.logf("%d times a namespace was opened; time until it was closed, including faults: median %s, p99 %s, maximum %s",
			n, durations[n/2].Round(time.Millisecond), durations[n*99/100].Round(time.Millisecond), durations[n-1].Round(time.Millisecond))
	}
	h.logf("longest time to settle after the faults stopped: %.1f s", h.longestSettle.Seconds())
	for _, action := range slices.Sorted(maps.Keys(h.counts)) {
		h.logf("%6d %s", h.counts[action], action)
	}
	failures := h.proxy.failureCounts()
	for _, kind := range slices.Sorted(maps.Keys(failures)) {
		h.logf("%6d requests: %s", failures[kind], kind)
	}
}
