package leaderfence

import (
	"errors"
	"net/http"
	"strings"
	"sync/atomic"
	"time"
)

// DefaultRenewDeadline is controller-runtime's: how long a leader tries to renew its
// lease before it gives up, of the 15 s for which it has it.
const DefaultRenewDeadline = 10 * time.Second

// errNotLeader says that a write was not sent.
var errNotLeader = errors.New("the lease was not renewed in time, another operator may lead: nothing is written")

// Fence lets an operator write only while nobody else can be the leader: until so long
// after it last asked for its lease and got it. controller-runtime ends an operator that
// lost its lease, but one that was frozen, or that no CPU was given, goes on with what
// it was about to do before it notices. What is in the network by then may still
// arrive, if that takes no longer than the lease is held beyond the Deadline: 5 s.
type Fence struct {
	Deadline time.Duration
	// renewed is when it last asked for the lease and got it.
	renewed atomic.Pointer[time.Time]
}

// Wrap returns a transport that refuses writes.
func (f *Fence) Wrap(next http.RoundTripper) http.RoundTripper {
	return roundTripper(func(request *http.Request) (*http.Response, error) {
		asked, lease := time.Now(), ofGroup(request, "coordination.k8s.io")
		if !lease && writes(request) && !f.holds(asked) {
			return nil, errNotLeader
		}
		response, err := next.RoundTrip(request)
		if err == nil && lease && writes(request) && response.StatusCode < http.StatusMultipleChoices {
			f.renewed.Store(&asked)
		}
		return response, err
	})
}

// holds says whether nobody else can be the leader. A machine that slept has a
// monotonic clock that did, too, so what the other clock says counts as well.
func (f *Fence) holds(now time.Time) bool {
	renewed := f.renewed.Load()
	return renewed != nil && now.Sub(*renewed) < f.Deadline && now.Round(0).Sub(renewed.Round(0)) < f.Deadline
}

// writes says whether a request changes anything: questions about who somebody is and
// what they may do are asked by POST.
func writes(request *http.Request) bool {
	switch request.Method {
	case http.MethodGet, http.MethodHead, http.MethodOptions:
		return false
	}
	return !ofGroup(request, "authentication.k8s.io") && !ofGroup(request, "authorization.k8s.io")
}

// ofGroup says whether a request is about an API group. Where many clusters are behind
// one address, each has a path of its own that comes before.
func ofGroup(request *http.Request, group string) bool {
	return strings.Contains(request.URL.Path, "/apis/"+group+"/")
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(request *http.Request) (*http.Response, error) { return f(request) }
