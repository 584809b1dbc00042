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

// fault is something that goes wrong until its context is done, or for as long as it
// takes. It leaves nothing behind.
type fault struct {
	name string
	// what it is, for people.
	description string
	// lasts is how long it is left to work, unless stated.
	duration time.Duration
	// storage says that it needs etcd, or the API server, as the other faults with
	// storage leave it not: an API server that starts with etcd frozen gives up.
	needsStorage bool
	// counts is what begins the names of what it counts, unless it is the proxy that does.
	counterPrefix string
	inject        func(ctx context.Context, h *harness) error
}

// faults are all that can go wrong.
var faults = []fault{
	{name: "kill", description: "SIGKILL of the leader, now and then of the other, at random moments", counterPrefix: "kills", inject: fromMethod((*harness).killOperators)},
	{name: "freeze", description: "SIGSTOP of the leader past its lease, SIGCONT while another leads", duration: 3 * leaseDuration, counterPrefix: "freezes", inject: fromMethod((*harness).freezeLeader)},
	{name: "api-server", description: "kill -9 and start of kube-apiserver", needsStorage: true, counterPrefix: "API server restarts", inject: fromMethod((*harness).killAPIServer)},
	{
		name: "etcd", description: "etcd frozen for half a minute, or again and again for seconds", duration: longEtcdFreeze + 15*time.Second, needsStorage: true,
		counterPrefix: "etcd freezes", inject: fromMethod((*harness).freezeEtcd),
	},
	{name: "errors", description: "answers 409, 429, 500, 503, one of three requests", inject: failRequests(3, failConflict, failTooMany, failInternal, failUnavailable)},
	{name: "network", description: "connections cut, answers lost after the write, requests that never come back, one of four", inject: failRequests(4, failCut, failLost, failTimeout)},
	{name: "lost", description: "every other answer to a write lost", inject: failRequests(2, failLost)},
	{name: "late", description: "requests that reach the API server up to 0.9 s late, one of four", inject: failRequests(4, failLate)},
	{
		name: "watches", description: "watches cut every second, and told one of eight times that their resourceVersion is too old",
		counterPrefix: "watches cut", inject: fromMethod((*harness).breakWatches),
	},
	{name: "permissions", description: "all permissions on one kind revoked and given back", counterPrefix: "permissions revoked", inject: fromMethod((*harness).revokePermissions)},
	{name: "recreate", description: "namespaces deleted and made again under the same name", counterPrefix: "namespaces made again", inject: fromMethod((*harness).recreateNamespaces)},
	{name: "terminating", description: "namespaces stuck in Terminating", counterPrefix: "namespaces stuck", inject: fromMethod((*harness).blockNamespaceDeletion)},
	{name: "crds", description: "the CRDs removed, with all baselines and reports, and restored", counterPrefix: "CRDs removed", inject: fromMethod((*harness).removeCRDs)},
	{name: "priorities", description: "two baselines swapped in priority twenty times a second", counterPrefix: "priorities swapped", inject: fromMethod((*harness).keepSwappingPriorities)},
	{name: "storm", description: "hostile edits, 1,000 a second are tried", duration: time.Minute, counterPrefix: "hostile edits", inject: fromMethod((*harness).stormEdits)},
	{name: "clock", description: "the operators' clock set an hour ahead and back, back and ahead", counterPrefix: "clock steps", inject: fromMethod((*harness).stepClock)},
	{name: "quota", description: "etcd's alarm that it has no space: it takes no writes", needsStorage: true, counterPrefix: "etcd without space", inject: fromMethod((*harness).fillEtcd)},
}

// harnessed turns a method into a function.
func fromMethod(method func(*harness, context.Context) error) func(context.Context, *harness) error {
	return func(ctx context.Context, h *harness) error { return method(h, ctx) }
}

// kill kills an operator a second after one was elected on average.
func (h *harness) killOperators(ctx context.Context) error {
	return repeat(ctx, 50*time.Millisecond, func() error {
		leader := h.fleet.leader()
		if leader == 0 {
			return nil
		}
		pause(ctx, min(time.Duration(rand.ExpFloat64()*float64(time.Second)), remaining(ctx)/2))
		victim, what := leader, "kills of the leader"
		if rand.IntN(6) == 0 {
			victim, what = h.fleet.otherThan(leader), "kills of the other"
		}
		if ctx.Err() == nil && h.fleet.signal(victim, syscall.SIGKILL) {
			h.count(what)
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
	var down error
	err := repeat(ctx, 2*time.Second, func() error {
		if err := h.cluster.Signal("kube-apiserver", syscall.SIGKILL); err != nil {
			return err
		}
		h.count("API server restarts")
		down = h.cluster.StartAPIServer()
		return down
	})
	return cmp.Or(err, down) // also if the fault was over by then
}

// frozenAlone is how long etcd is frozen where there is time for it.
const longEtcdFreeze = 30 * time.Second

// freezeEtcd lets things go on for a while before it, and between one time and the next,
// for nothing happens while etcd is frozen.
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

// failing is a fault of the network between the operators and the API server.
func failRequests(oneOf int, ways ...failure) func(context.Context, *harness) error {
	return func(ctx context.Context, h *harness) error {
		defer h.proxy.addRule(oneOf, ways...)()
		<-ctx.Done()
		return nil
	}
}

func (h *harness) breakWatches(ctx context.Context) error {
	defer h.proxy.addRule(8, failTooOld)()
	return repeat(ctx, time.Second, func() error {
		h.count("watches cut")
		h.proxy.cutWatches()
		return nil
	})
}

// operatorRole is the ClusterRole of config/rbac.
const operatorRole = "securitybaseline-manager"

func (h *harness) revokePermissions(ctx context.Context) error {
	kinds := []string{"networkpolicies", "rolebindings", "limitranges", "resourcequotas", "serviceaccounts", "namespaces", "baselinereports"}
	var whole rbacv1.ClusterRole
	if err := retry(ctx, func() error { return h.admin.Get(ctx, client.ObjectKey{Name: operatorRole}, &whole) }); err != nil {
		return ignoreIfOver(ctx, err)
	}
	give := func(ctx context.Context, rules []rbacv1.PolicyRule) error {
		return retry(ctx, func() error {
			var role rbacv1.ClusterRole
			if err := h.admin.Get(ctx, client.ObjectKey{Name: operatorRole}, &role); err != nil {
				return err
			}
			role.Rules = rules
			return h.admin.Update(ctx, &role)
		})
	}
	err := repeat(ctx, 3*time.Second, func() error {
		kind := kinds[rand.IntN(len(kinds))]
		less := whole.DeepCopy()
		for i := range less.Rules {
			less.Rules[i].Resources = slices.DeleteFunc(less.Rules[i].Resources, func(resource string) bool { return resource == kind })
		}
		less.Rules = slices.DeleteFunc(less.Rules, func(rule rbacv1.PolicyRule) bool { return len(rule.Resources) == 0 && len(rule.NonResourceURLs) == 0 })
		h.count("permissions revoked")
		return give(ctx, less.Rules)
	})
	return errors.Join(err, give(h.runCtx, whole.Rules))
}

func (h *harness) recreateNamespaces(ctx context.Context) error {
	return concurrently(5, func() error {
		return repeat(ctx, 300*time.Millisecond, func() error {
			h.count("namespaces made again")
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
	// Whatever else ends, they must come back.
	ctx = h.runCtx
	h.setCRDsRemoved(true)
	defer h.setCRDsRemoved(false)
	for _, crd := range kept {
		if err := retry(ctx, func() error { return client.IgnoreNotFound(h.admin.Delete(ctx, crd)) }); err != nil {
			return err
		}
	}
	pause(ctx, rand.N(3*time.Second))
	// One after the other again and again, as kubectl apply would: one that is going still
	// waits for the operator to let go of what has its finalizer, and an operator that was
	// just started waits for the other.
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

// restore makes a CRD again. It is an error if the one that was is still going.
func (h *harness) restoreCRD(ctx context.Context, crd *unstructured.Unstructured) error {
	made := &unstructured.Unstructured{Object: map[string]any{"spec": crd.Object["spec"]}}
	made.SetGroupVersionKind(crd.GroupVersionKind())
	made.SetName(crd.GetName())
	made.SetAnnotations(crd.GetAnnotations())
	current := made.DeepCopy()
	err := h.admin.Get(ctx, client.ObjectKeyFromObject(made), current)
	if apierrors.IsNotFound(err) {
		return h.admin.Create(ctx, made)
	}
	if err == nil && current.GetDeletionTimestamp() != nil {
		return fmt.Errorf("%s is going", crd.GetName())
	}
	return err
}

// withoutCRDs tells the watcher whether reports may vanish.
func (h *harness) setCRDsRemoved(removed bool) {
	h.watcher.mutex.Lock()
	defer h.watcher.mutex.Unlock()
	h.invariants.crdsRemoved = removed
}

func (h *harness) keepSwappingPriorities(ctx context.Context) error {
	return repeat(ctx, 50*time.Millisecond, func() error {
		h.count("priorities swapped")
		return h.swapPriorities(ctx)
	})
}

// storm has 32 hands, 1,000 edits a second at most.
func (h *harness) stormEdits(ctx context.Context) error {
	ticks := time.NewTicker(time.Millisecond)
	defer ticks.Stop()
	var tried atomic.Int64
	start, before := time.Now(), h.editsApplied.Load()
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
			h.count("hostile edits tried")
			tried.Add(1)
		}
	})
	took := time.Since(start)
	h.logf("storm: %.0f edits a second tried, %.0f made, for %s", float64(tried.Load())/took.Seconds(), float64(h.editsApplied.Load()-before)/took.Seconds(), took.Round(time.Second))
	return err
}

func (h *harness) stepClock(ctx context.Context) error {
	defer func() { _ = h.fleet.setClock(0) }()
	ahead := 0 // hours, from 1 back to 1 ahead, another each time
	return repeat(ctx, 2*time.Second, func() error {
		ahead = (ahead+2+rand.IntN(2))%3 - 1
		h.count("clock steps")
		return h.fleet.setClock(time.Duration(ahead) * time.Hour)
	})
}

// fillEtcd raises the alarm that a full disk or a database beyond its quota does.
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
	// Also if the answer did not come in time.
	_, disarmed := h.watcher.etcd.AlarmDisarm(h.runCtx, &clientv3.AlarmMember{})
	return errors.Join(ignoreIfOver(ctx, err), disarmed)
}
