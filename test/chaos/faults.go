package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"sync/atomic"
	"syscall"
	"time"

	etcdserverpb "go.etcd.io/etcd/api/v3/etcdserverpb"
	clientv3 "go.etcd.io/etcd/client/v3"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
)

// fault is something that goes wrong. It is active until its context is done, or for as
// long as it takes, and cleans up after itself.
type fault struct {
	name        string
	description string
	// duration is the minimum time for which the fault runs alone.
	duration time.Duration
	// needsStorage is true for faults that break etcd or the API server. At most one of
	// them is active at a time: an API server that starts while etcd is frozen exits.
	needsStorage bool
	// counterPrefix is the prefix of the counters that show that the fault had an
	// effect. If it is empty, the failures of the proxy show it.
	counterPrefix string
	inject        func(ctx context.Context, h *harness) error
}

// faults are all the faults.
var faults = []fault{
	{
		name: "kill", description: "SIGKILL of the leader, sometimes of the standby, at random times",
		counterPrefix: "kills", inject: fromMethod((*harness).killOperators),
	},
	{
		name: "freeze", description: "SIGSTOP of the leader until its lease expires, SIGCONT while another replica leads",
		duration: 3 * leaseDuration, counterPrefix: "freezes", inject: fromMethod((*harness).freezeLeader),
	},
	{
		name: "api-server", description: "SIGKILL and restart of kube-apiserver",
		needsStorage: true, counterPrefix: "API server restarts", inject: fromMethod((*harness).killAPIServer),
	},
	{
		name: "etcd", description: "etcd frozen for half a minute, or repeatedly for seconds", duration: longEtcdFreeze + 15*time.Second, needsStorage: true,
		counterPrefix: "etcd freezes", inject: fromMethod((*harness).freezeEtcd),
	},
	{
		name: "errors", description: "status 409, 429, 500 or 503 for one in three requests",
		inject: failRequests(3, failConflict, failTooMany, failInternal, failUnavailable),
	},
	{
		name: "network", description: "closed connections, lost responses and timeouts for one in four requests",
		inject: failRequests(4, failCut, failLost, failTimeout),
	},
	{name: "lost", description: "the response to every second write is lost", inject: failRequests(2, failLost)},
	{name: "late", description: "one in four requests reaches the API server up to 0.9 s late", inject: failRequests(4, failLate)},
	{
		name: "watches", description: "watches closed every second; one in eight new watches gets \"resourceVersion too old\"",
		counterPrefix: "watches closed", inject: fromMethod((*harness).breakWatches),
	},
	{
		name: "permissions", description: "all permissions on one kind revoked and restored",
		counterPrefix: "permissions revoked", inject: fromMethod((*harness).revokePermissions),
	},
	{
		name: "recreate", description: "namespaces deleted and recreated under the same name",
		counterPrefix: "namespaces recreated", inject: fromMethod((*harness).recreateNamespaces),
	},
	{
		name: "terminating", description: "namespaces stuck in Terminating",
		counterPrefix: "namespaces stuck", inject: fromMethod((*harness).blockNamespaceDeletion),
	},
	{
		name: "crds", description: "the CRDs deleted, with all baselines and reports, and restored",
		counterPrefix: "CRDs removed", inject: fromMethod((*harness).removeCRDs),
	},
	{
		name: "priorities", description: "the precedence of two baselines swapped 20 times a second",
		counterPrefix: "priorities swapped", inject: fromMethod((*harness).keepSwappingPriorities),
	},
	{
		name: "storm", description: "up to 1,000 edits a second",
		duration: time.Minute, counterPrefix: "storm edits", inject: fromMethod((*harness).stormEdits),
	},
	{
		name: "clock", description: "the operators' clock set an hour forward and back",
		counterPrefix: "clock steps", inject: fromMethod((*harness).stepClock),
	},
	{
		name: "quota", description: "the NOSPACE alarm of etcd, which then rejects writes",
		needsStorage: true, counterPrefix: "etcd without space", inject: fromMethod((*harness).fillEtcd),
	},
}

// fromMethod converts a method into the type of fault.inject.
func fromMethod(method func(*harness, context.Context) error) func(context.Context, *harness) error {
	return func(ctx context.Context, h *harness) error { return method(h, ctx) }
}

// killOperators kills an operator about one second after an election.
func (h *harness) killOperators(ctx context.Context) error {
	return repeat(ctx, 50*time.Millisecond, func() error {
		leader := h.fleet.leader()
		if leader == 0 {
			return nil
		}
		pause(ctx, min(time.Duration(rand.ExpFloat64()*float64(time.Second)), remaining(ctx)/2))
		victim := leader
		counter := "kills of the leader"
		if rand.IntN(6) == 0 {
			victim = h.fleet.otherThan(leader)
			counter = "kills of the standby"
		}
		if ctx.Err() == nil && h.fleet.signal(victim, syscall.SIGKILL) {
			h.count(counter)
		}
		return nil
	})
}

func (h *harness) freezeLeader(ctx context.Context) error {
	return repeat(ctx, time.Second, func() error {
		leader := h.fleet.leader()
		if !h.fleet.signal(leader, syscall.SIGSTOP) {
			return nil
		}
		defer h.fleet.signal(leader, syscall.SIGCONT)
		for range 100 {
			pause(ctx, 100*time.Millisecond)
			if other := h.fleet.leader(); other != leader && other != 0 {
				h.count("freezes past the lease")
				pause(ctx, rand.N(time.Second))
				return nil
			}
			if ctx.Err() != nil {
				return nil
			}
		}
		return nil
	})
}

func (h *harness) killAPIServer(ctx context.Context) error {
	var startErr error
	err := repeat(ctx, 2*time.Second, func() error {
		if err := h.cluster.Signal("kube-apiserver", syscall.SIGKILL); err != nil {
			return err
		}
		h.count("API server restarts")
		startErr = h.cluster.StartAPIServer()
		return startErr
	})
	return cmp.Or(err, startErr) // repeat drops errors after the fault is over
}

// longEtcdFreeze is how long etcd is frozen if the fault has enough time.
const longEtcdFreeze = 30 * time.Second

// freezeEtcd pauses before each freeze, because nothing can happen while etcd is frozen.
func (h *harness) freezeEtcd(ctx context.Context) error {
	return repeat(ctx, 2*time.Second, func() error {
		pause(ctx, time.Second)
		if ctx.Err() != nil {
			return nil
		}
		frozen := time.Second + rand.N(4*time.Second)
		if remaining(ctx) > longEtcdFreeze {
			frozen = longEtcdFreeze
		}
		if err := h.cluster.Signal("etcd", syscall.SIGSTOP); err != nil {
			return err
		}
		h.count("etcd freezes")
		pause(ctx, frozen)
		if err := h.cluster.Signal("etcd", syscall.SIGCONT); err != nil {
			return fmt.Errorf("etcd stays frozen: %w", err)
		}
		return nil
	})
}

// failRequests returns a fault of the network between the operators and the API server:
// one in oneIn requests fails.
func failRequests(oneIn int, kinds ...failure) func(context.Context, *harness) error {
	return func(ctx context.Context, h *harness) error {
		defer h.proxy.addRule(oneIn, kinds...)()
		<-ctx.Done()
		return nil
	}
}

func (h *harness) breakWatches(ctx context.Context) error {
	defer h.proxy.addRule(8, failTooOld)()
	return repeat(ctx, time.Second, func() error {
		h.count("watches closed")
		h.proxy.cutWatches()
		return nil
	})
}

// operatorRole is the ClusterRole in config/rbac.
const operatorRole = "securitybaseline-manager"

func (h *harness) revokePermissions(ctx context.Context) error {
	kinds := []string{"networkpolicies", "rolebindings", "limitranges", "resourcequotas", "serviceaccounts", "namespaces", "baselinereports"}
	var role rbacv1.ClusterRole
	if err := retry(ctx, func() error { return h.admin.Get(ctx, client.ObjectKey{Name: operatorRole}, &role) }); err != nil {
		return ignoreIfOver(ctx, err)
	}
	setRules := func(ctx context.Context, rules []rbacv1.PolicyRule) error {
		return retry(ctx, func() error {
			var current rbacv1.ClusterRole
			if err := h.admin.Get(ctx, client.ObjectKey{Name: operatorRole}, &current); err != nil {
				return err
			}
			current.Rules = rules
			return h.admin.Update(ctx, &current)
		})
	}
	err := repeat(ctx, 3*time.Second, func() error {
		kind := kinds[rand.IntN(len(kinds))]
		reduced := role.DeepCopy()
		for i := range reduced.Rules {
			reduced.Rules[i].Resources = slices.DeleteFunc(reduced.Rules[i].Resources, func(resource string) bool { return resource == kind })
		}
		reduced.Rules = slices.DeleteFunc(reduced.Rules, func(rule rbacv1.PolicyRule) bool { return len(rule.Resources) == 0 && len(rule.NonResourceURLs) == 0 })
		h.count("permissions revoked")
		return setRules(ctx, reduced.Rules)
	})
	return errors.Join(err, setRules(h.runCtx, role.Rules))
}

func (h *harness) recreateNamespaces(ctx context.Context) error {
	return concurrently(5, func() error {
		return repeat(ctx, 300*time.Millisecond, func() error {
			h.count("namespaces recreated")
			return h.recreateNamespace(ctx, 0)
		})
	})
}

func (h *harness) blockNamespaceDeletion(ctx context.Context) error {
	return concurrently(3, func() error {
		h.count("namespaces stuck in Terminating")
		return h.recreateNamespace(ctx, 5*time.Second)
	})
}

// crds are the operator's own.
var crds = []string{"securitybaselines.securitybaseline.io", "baselinereports.securitybaseline.io"}

func (h *harness) removeCRDs(ctx context.Context) error {
	var kept []*unstructured.Unstructured
	for _, name := range crds {
		crd := &unstructured.Unstructured{}
		crd.SetGroupVersionKind(schema.GroupVersionKind{Group: "apiextensions.k8s.io", Version: "v1", Kind: "CustomResourceDefinition"})
		if err := retry(ctx, func() error { return h.admin.Get(ctx, client.ObjectKey{Name: name}, crd) }); err != nil {
			return ignoreIfOver(ctx, err)
		}
		kept = append(kept, crd)
	}
	h.count("CRDs removed")
	// The CRDs must be restored even if the fault is over.
	ctx = h.runCtx
	h.setCRDsRemoved(true)
	defer h.setCRDsRemoved(false)
	for _, crd := range kept {
		if err := retry(ctx, func() error { return client.IgnoreNotFound(h.admin.Delete(ctx, crd)) }); err != nil {
			return err
		}
	}
	pause(ctx, rand.N(3*time.Second))
	// Restore all of them in each attempt, as kubectl apply would. A terminating CRD waits
	// until the operator removes its finalizers, and an operator that has just started
	// waits for the other CRD.
	err := retry(ctx, func() error {
		errs := make([]error, 0, len(kept))
		for _, crd := range kept {
			errs = append(errs, h.restoreCRD(ctx, crd))
		}
		return errors.Join(errs...)
	})
	if err != nil {
		return fmt.Errorf("restoring the CRDs: %w", err)
	}
	return errors.Join(h.ensureBaseline(ctx, floorBaseline), h.ensureBaseline(ctx, strictBaseline))
}

// restoreCRD creates a CRD again. It returns an error while the old one is still being
// deleted.
func (h *harness) restoreCRD(ctx context.Context, crd *unstructured.Unstructured) error {
	restored := &unstructured.Unstructured{Object: map[string]any{"spec": crd.Object["spec"]}}
	restored.SetGroupVersionKind(crd.GroupVersionKind())
	restored.SetName(crd.GetName())
	restored.SetAnnotations(crd.GetAnnotations())
	current := restored.DeepCopy()
	err := h.admin.Get(ctx, client.ObjectKeyFromObject(restored), current)
	if apierrors.IsNotFound(err) {
		return h.admin.Create(ctx, restored)
	}
	if err == nil && current.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s is still terminating", crd.GetName())
	}
	return err
}

// setCRDsRemoved tells the invariants whether reports may disappear.
func (h *harness) setCRDsRemoved(removed bool) {
	h.watcher.mutex.Lock()
	defer h.watcher.mutex.Unlock()
	h.invariants.areCRDsRemoved = removed
}

func (h *harness) keepSwappingPriorities(ctx context.Context) error {
	return repeat(ctx, 50*time.Millisecond, func() error {
		h.count("priorities swapped")
		return h.swapPriorities(ctx)
	})
}

// stormEdits makes at most 1,000 edits a second, from 32 goroutines.
func (h *harness) stormEdits(ctx context.Context) error {
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	var tried atomic.Int64
	start := time.Now()
	before := h.editsApplied.Load()
	err := concurrently(32, func() error {
		for {
			select {
			case <-ctx.Done():
				return nil
			case <-ticks.C:
			}
			if err := h.editRandomObject(ctx); err != nil && ctx.Err() == nil {
				return err
			}
			h.count("storm edits tried")
			tried.Add(1)
		}
	})
	took := time.Since(start)
	h.logf("storm: %.0f edits a second tried, %.0f applied, for %s",
		float64(tried.Load())/took.Seconds(), float64(h.editsApplied.Load()-before)/took.Seconds(), took.Round(time.Second))
	return err
}

func (h *harness) stepClock(ctx context.Context) error {
	defer func() { _ = h.fleet.setClock(0) }()
	hours := 0 // -1, 0 or 1, and different each time
	return repeat(ctx, 2*time.Second, func() error {
		hours = (hours+2+rand.IntN(2))%3 - 1
		h.count("clock steps")
		return h.fleet.setClock(time.Duration(hours) * time.Hour)
	})
}

// fillEtcd raises the etcd alarm for a full disk or an exceeded quota.
// https://etcd.io/docs/v3.6/op-guide/maintenance/#space-quota
func (h *harness) fillEtcd(ctx context.Context) error {
	members, err := h.watcher.etcd.MemberList(ctx)
	if err != nil {
		return ignoreIfOver(ctx, err)
	}
	alarm := &etcdserverpb.AlarmRequest{
		Action: etcdserverpb.AlarmRequest_ACTIVATE, MemberID: members.Members[0].ID, Alarm: etcdserverpb.AlarmType_NOSPACE,
	}
	_, err = etcdserverpb.NewMaintenanceClient(h.watcher.etcd.ActiveConnection()).Alarm(ctx, alarm)
	if err == nil {
		h.count("etcd without space")
		<-ctx.Done()
	}
	// Disarm it even if the response did not arrive in time.
	_, disarmErr := h.watcher.etcd.AlarmDisarm(h.runCtx, &clientv3.AlarmMember{})
	return errors.Join(ignoreIfOver(ctx, err), disarmErr)
}
