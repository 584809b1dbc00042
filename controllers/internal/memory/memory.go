// Package memory returns to the operating system the memory that only the start of the operator
// needs: about as much as the caches hold. The Go runtime itself keeps it for minutes. There is no
// upstream issue that would end this. A soft memory limit (GOMEMLIMIT) would.
package memory

import (
	"context"
	"runtime/debug"
	"time"

	ctrl "sigs.k8s.io/controller-runtime"
)

// startupDuration is how long the first evaluation of ten thousand namespaces takes after the
// caches are synced.
const startupDuration = 15 * time.Second

// Releaser is a runnable of a manager that releases memory after the start, and once more after the
// election.
type Releaser struct{ manager ctrl.Manager }

// NewReleaser returns a Releaser that waits for the caches and the election of a manager.
func NewReleaser(manager ctrl.Manager) Releaser { return Releaser{manager: manager} }

// Start implements manager.Runnable.
func (r Releaser) Start(ctx context.Context) error {
	if !r.manager.GetCache().WaitForCacheSync(ctx) {
		return nil
	}
	releaseMemory(ctx)
	select {
	case <-ctx.Done():
	case <-r.manager.Elected():
		releaseMemory(ctx)
	}
	return nil
}

// releaseMemory releases memory after startupDuration.
func releaseMemory(ctx context.Context) {
	select {
	case <-ctx.Done():
	case <-time.After(startupDuration):
		debug.FreeOSMemory()
	}
}

// NeedLeaderElection reports false: a standby fills the same caches.
func (r Releaser) NeedLeaderElection() bool { return false }
