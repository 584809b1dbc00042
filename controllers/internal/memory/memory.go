package memory

import (
	"context"
	"runtime/debug"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
)

// startLasts is how long evaluating everything takes after the caches are filled, in a
// cluster of ten thousand namespaces.
const startLasts = 15 * time.Second

// Thrift gives what a start needs and nothing after it does back to the machine: as much
// again as the caches hold. By itself Go keeps it for minutes.
type Thrift struct{ Mgr ctrl.Manager }

// Start waits until the caches are filled and, for as long as it takes, until this
// operator leads.
func (t Thrift) Start(ctx context.Context) error {
	if !t.Mgr.GetCache().WaitForCacheSync(ctx) {
		return nil
	}
	giveBack(ctx)
	select {
	case <-ctx.Done():
	case <-t.Mgr.Elected():
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
func (t Thrift) NeedLeaderElection() bool { return false }
