package controllers

import (
	"maps"
	"slices"
	"sync"
	"time"

	"k8s.io/apimachinery/pkg/util/wait"
)

// moments are when something last happened, by the name of the namespace.
type moments struct {
	mutex sync.Mutex
	times map[string]time.Time
}

// forget forgets a namespace.
func (m *moments) forget(namespace string) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	delete(m.times, namespace)
}

func (m *moments) set(namespace string, at time.Time, keep bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.times == nil {
		m.times = map[string]time.Time{}
	}
	if before, ok := m.times[namespace]; keep && ok && before.Before(at) {
		return
	}
	m.times[namespace] = at
}

// failing knows whose last evaluation did not succeed, and since when.
type failing struct{ moments }

// mark notes that an evaluation did not succeed, or not yet.
func (f *failing) mark(namespace string, at time.Time) { f.set(namespace, at, true) }

// all returns their names.
func (f *failing) all() []string {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	return slices.Collect(maps.Keys(f.times))
}

// noticed knows when the first event came that no evaluation has dealt with yet.
// From then on the time is counted until a drift is put right.
type noticed struct{ moments }

// mark notes that an event came then, and is not dealt with yet.
func (n *noticed) mark(namespace string, at time.Time) { n.set(namespace, at, true) }

// take returns when the first event came, or now if none did, and begins anew.
func (n *noticed) take(namespace string, now time.Time) time.Time {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	at, ok := n.times[namespace]
	delete(n.times, namespace)
	if !ok {
		return now
	}
	return at
}

const (
	// workloadsSettle is how long after workloads changed the API server is asked
	// again which running pods violate a level.
	workloadsSettle = 5 * time.Second
	// firstLook and lastLook bound how soon it is asked again where nothing
	// changed that could be seen; at most twice as late. Half the time since the
	// last change, for pods may take long to end.
	firstLook = 10 * time.Second
	lastLook  = 5 * time.Minute
)

// workloads knows when the workloads of a namespace last changed, if that is not long ago.
type workloads struct {
	moments
	forgot time.Time
}

// mark notes that they changed.
func (w *workloads) mark(namespace string, at time.Time) {
	w.set(namespace, at, false)
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if at.Sub(w.forgot) > lastLook {
		maps.DeleteFunc(w.times, func(_ string, changed time.Time) bool { return at.Sub(changed) > lastLook })
		w.forgot = at
	}
}

// lookAgain returns how soon the pods of a namespace are to be looked at again.
func (w *workloads) lookAgain(namespace string, now time.Time) time.Duration {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	changed, ok := w.times[namespace]
	if !ok {
		return wait.Jitter(lastLook, 1)
	}
	since := now.Sub(changed)
	if since > lastLook {
		delete(w.times, namespace)
	}
	return wait.Jitter(min(max(since, firstLook), lastLook), 1)
}
