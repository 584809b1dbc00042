package controllers

import (
	"context"
	"runtime/debug"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
)

// startLasts is how long evaluating everything takes after the caches are filled, in a
// cluster of ten thousand namespaces.
const startLasts = 15 * time.Second

// thrift gives what a start needs and nothing after it does back to the machine: as much
// again as the caches hold. By itself Go keeps it for minutes.
type thrift struct{ mgr ctrl.Manager }

// Start waits until the caches are filled and, for as long as it takes, until this
// operator leads.
func (t thrift) Start(ctx context.Context) error {
	if !t.mgr.GetCache().WaitForCacheSync(ctx) {
		return nil
	}
	giveBack(ctx)
	select {
	case <-ctx.Done():
	case <-t.mgr.Elected():
		giveBack(ctx)
	}
	return nil
}

func giveBack(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(startLasts):
		debug.FreeOSMemory()
	}
}

// NeedLeaderElection says that a standby, which has the same caches, does it too.
func (t thrift) NeedLeaderElection() bool { return false }
