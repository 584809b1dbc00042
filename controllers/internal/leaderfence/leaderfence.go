// Package leaderfence blocks writes of an operator that may no longer be the leader.
// controller-runtime ends an operator that lost its lease. But a process that was paused, or that
// got no CPU, first continues with the write that it was about to send. By then another replica may
// be the leader. Requests already in the network may still arrive if they take no longer than the
// lease lasts beyond the renew deadline: 5 s by default. The package can go when a library offers
// the write gate that KEP-6361 proposes: https://github.com/kubernetes/enhancements/issues/6361.
package leaderfence

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultRenewDeadline is controller-runtime's default: how long a leader tries to renew its lease,
// which lasts 15 s, before it stops.
const DefaultRenewDeadline = 10 * time.Second

var errNotLeader = errors.New("write blocked: leader lease not renewed in time")

// Fence blocks writes unless the lease was renewed within the renew deadline.
type Fence struct {
	renewDeadline time.Duration
	// lastRenewal is when the operator sent the last request that renewed its lease.
	lastRenewal atomic.Pointer[time.Time]
}

// New returns a fence that blocks writes until the lease is acquired.
func New(renewDeadline time.Duration) *Fence {
	return &Fence{renewDeadline: renewDeadline}
}

// Wrap returns a transport that blocks writes, and learns from the requests that pass through it
// when the lease was renewed.
func (f *Fence) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		sent := time.Now()
		isWriteRequest := isWrite(request)
		isLease := isAPIGroup(request, "coordination.k8s.io")
		if isWriteRequest && !isLease && !f.mayWrite(sent) {
			return nil, errNotLeader
		}
		response, err := next.RoundTrip(request)
		if err == nil && isWriteRequest && isLease && response.StatusCode < http.StatusMultipleChoices {
			f.lastRenewal.Store(&sent)
		}
		return response, err
	})
}

// mayWrite reports whether no other replica can be the leader. It compares the wall clock as well,
// because the monotonic clock stops while the machine is suspended.
func (f *Fence) mayWrite(now time.Time) bool {
	renewal := f.lastRenewal.Load()
	return renewal != nil && now.Sub(*renewal) < f.renewDeadline && now.Round(0).Sub(renewal.Round(0)) < f.renewDeadline
}

// isWrite reports whether a request changes an object. Authentication and authorization reviews are
// sent by POST and change nothing.
func isWrite(request *http.Request) bool {
	switch request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return !isAPIGroup(request, "authentication.k8s.io") && !isAPIGroup(request, "authorization.k8s.io")
}

// isAPIGroup reports whether a request is for an API group. A proxy for several clusters may put a
// prefix before the path.
func isAPIGroup(request *http.Request, group string) bool {
	return strings.Contains(request.URL.Path, "/apis/"+group+"/")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
