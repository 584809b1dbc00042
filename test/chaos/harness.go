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
	// replicas of the operator run, of which one leads.
	replicas = 2
	// settleWithin is how soon everything is to be as desired once faults stop.
	defaultSettleTimeout = 30 * time.Second
	// fewest is how many namespaces are needed: some are special.
	minNamespaces = 10
	// together is how many faults are mixed, at most.
	maxFaultsInMix = 4
	// longestMix is how long a mix lasts, at most.
	maxMixDuration = 20 * time.Second
	// churnEvery is how often something is done while faults work.
	churnInterval = 50 * time.Millisecond
)

// settings say what is done.
type options struct {
	seed               uint64
	aloneFor, mixedFor time.Duration
	namespaces         int
	// within is how soon everything must be as desired once faults stop.
	settleTimeout time.Duration
	// faults are the names of those that are tried; all, if there are none.
	faultNames []string
	dir        string
	out        io.Writer
}

// harness does what goes wrong and has it watched.
type harness struct {
	// whole is the context of the run: what a fault must put back goes on when the fault
	// is over, and not when the run is.
	runCtx     context.Context
	options    options
	cluster    *cluster.Cluster
	admin      client.Client
	proxy      *proxy
	fleet      *fleet
	watcher    *watcher
	invariants *invariants

	// edits are numbered, and made those that the API server took.
	editNumber, editsApplied atomic.Int64
	// recreating are the namespaces that are being made again.
	recreating sync.Map

	mutex  sync.Mutex
	counts map[string]int
	// slowest is how long it took at most until everything was as desired.
	longestSettle time.Duration
}

// count counts what was done.
func (h *harness) count(what string) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.counts[what]++
}

func (h *harness) logf(format string, args ...any) {
	_, _ = fmt.Fprintf(h.options.out, time.Now().UTC().Format("15:04:05 ")+format+"\n", args...)
}

// run returns an error if an invariant did not hold.
func runHarness(ctx context.Context, s options) (err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	chosen, err := faultsNamed(s.faultNames)
	if err != nil {
		return err
	}
	if s.namespaces < minNamespaces {
		return fmt.Errorf("%d namespaces are too few: %d at least are needed", s.namespaces, minNamespaces)
	}
	if s.dir == "" {
		if s.dir, err = os.MkdirTemp("", "chaos-"); err != nil {
			return err
		}
		defer func() {
			if err == nil {
				err = os.RemoveAll(s.dir)
			} else {
				err = fmt.Errorf("%w\nthe operators' log is in %s", err, s.dir)
			}
		}()
	}
	_, _ = fmt.Fprintf(s.out, "seed %d\n", s.seed)
	h, err := newHarness(ctx, s)
	if err != nil {
		return err
	}
	defer func() { _ = h.cluster.Stop() }()
	defer func() {
		h.fleet.stop()
		err = errors.Join(err, h.fleet.checkLog())
	}()
	random := rand.New(rand.NewPCG(s.seed, 0))
	if s.aloneFor > 0 {
		for _, f := range chosen {
			if err := h.runRound(ctx, max(s.aloneFor, f.duration), f); err != nil {
				return err
			}
		}
	}
	for end := time.Now().Add(s.mixedFor); time.Now().Before(end); {
		mix := pickMix(random, chosen)
		if err := h.runRound(ctx, maxMixDuration/4+time.Duration(random.Int64N(int64(maxMixDuration*3/4))), mix...); err != nil {
			return err
		}
	}
	h.fleet.stop()
	h.printSummary()
	return h.checkFaultsHadEffect(chosen)
}

// newHarness starts everything and waits until it is as desired.
func newHarness(ctx context.Context, s options) (_ *harness, err error) {
	h := &harness{runCtx: ctx, options: s, counts: map[string]int{}, invariants: newInvariants()}
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
	operator, err := h.cluster.OperatorConfig(ctx)
	if err != nil {
		return nil, err
	}
	proxied := rest.CopyConfig(h.proxy.config)
	proxied.BearerToken = operator.BearerToken
	kubeconfig, err := h.cluster.WriteKubeconfig("chaos.kubeconfig", proxied)
	if err != nil {
		return nil, err
	}
	shared := sharedDir(s.dir)
	if err := os.MkdirAll(s.dir, 0o700); err != nil {
		return nil, err
	}
	data, err := os.ReadFile(kubeconfig)
	if err != nil {
		return nil, err
	}
	if err := os.WriteFile(shared.kubeconfigPath(), data, 0o600); err != nil {
		return nil, err
	}
	for i := range s.namespaces {
		if err := h.createNamespace(ctx, namespaceName(i)); err != nil {
			return nil, err
		}
	}
	for _, name := range []string{floorBaseline, strictBaseline, trialBaseline} {
		if err := h.ensureBaseline(ctx, name); err != nil {
			return nil, err
		}
	}
	if h.fleet, err = startFleet(replicas, shared, filepath.Join(s.dir, "operator.log")); err != nil {
		return nil, err
	}
	if _, err := h.waitUntilSettled(ctx); err != nil {
		h.fleet.stop()
		return nil, fmt.Errorf("before any fault: %w", err)
	}
	return h, nil
}

// round has faults work together for a while, and then waits until everything is as
// desired.
func (h *harness) runRound(ctx context.Context, lasts time.Duration, mix ...fault) error {
	limited, cancel := context.WithTimeout(ctx, lasts)
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
	took, err := h.waitUntilSettled(ctx)
	h.longestSettle = max(h.longestSettle, took)
	if err != nil {
		return fmt.Errorf("%s: %w", joinNames(mix), err)
	}
	h.logf("%s: %s of faults, as desired %.1f s later", joinNames(mix), lasts.Round(time.Second), took.Seconds())
	return nil
}

// settle waits until everything is as desired, and says how long that took. It is an
// error if an invariant was violated. A namespace is opened first, so that what was as
// desired all the time is not taken for an operator that works.
func (h *harness) waitUntilSettled(ctx context.Context) (time.Duration, error) {
	start := time.Now()
	probed, cancel := context.WithTimeout(ctx, h.options.settleTimeout)
	err := retry(probed, func() error { return h.openRandomNamespace(probed) })
	cancel()
	if err != nil {
		return 0, fmt.Errorf("opening a namespace: %w", err)
	}
	var problem string
	for time.Since(start) < h.options.settleTimeout && ctx.Err() == nil {
		limited, cancel := context.WithTimeout(ctx, h.options.settleTimeout)
		err := h.watcher.waitUntilCurrent(limited)
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
	return 0, fmt.Errorf("I3: %s after the faults stopped:\n  %s", h.options.settleTimeout, problem)
}

// idle returns an error if a fault did nothing, or nothing was done while they worked.
func (h *harness) checkFaultsHadEffect(chosen []fault) error {
	h.mutex.Lock()
	counted := slices.Collect(maps.Keys(h.counts))
	h.mutex.Unlock()
	for _, f := range chosen {
		if f.counterPrefix != "" && !slices.ContainsFunc(counted, func(what string) bool { return strings.HasPrefix(what, f.counterPrefix) }) {
			return fmt.Errorf("%s did nothing", f.name)
		}
		if f.counterPrefix == "" && len(h.proxy.failureCounts()) == 0 {
			return fmt.Errorf("%s failed no request", f.name)
		}
	}
	h.watcher.mutex.Lock()
	defer h.watcher.mutex.Unlock()
	if h.editsApplied.Load() == 0 || h.invariants.checkedWrites == 0 || len(h.invariants.openFor) == 0 {
		return fmt.Errorf("%d edits were made, %d writes checked, %d namespaces closed again", h.editsApplied.Load(), h.invariants.checkedWrites, len(h.invariants.openFor))
	}
	return nil
}

// summary says what was done.
func (h *harness) printSummary() {
	h.watcher.mutex.Lock()
	defer h.watcher.mutex.Unlock()
	healed := slices.Sorted(slices.Values(h.invariants.openFor))
	h.logf("%d edits, %d writes of the operators and Kubernetes checked, %d operators ended", h.editsApplied.Load(), h.invariants.checkedWrites, h.fleet.exits)
	if n := len(healed); n > 0 {
		h.logf("%d times a namespace was opened; it was closed again within %s in half of the cases, %s in 99 of 100, %s at most, faults and all",
			n, healed[n/2].Round(time.Millisecond), healed[n*99/100].Round(time.Millisecond), healed[n-1].Round(time.Millisecond))
	}
	h.logf("everything was as desired within %.1f s of the end of the faults", h.longestSettle.Seconds())
	for _, what := range slices.Sorted(maps.Keys(h.counts)) {
		h.logf("%6d %s", h.counts[what], what)
	}
	failed := h.proxy.failureCounts()
	for _, way := range slices.Sorted(maps.Keys(failed)) {
		h.logf("%6d requests: %s", failed[way], way)
	}
}
