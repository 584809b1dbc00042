package leaderfence

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

const (
	networkPoliciesPath = "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies"
	leasePath           = "/apis/coordination.k8s.io/v1/namespaces/system/leases/leader"
)

func TestFence_BlocksWritesUnlessLeaseWasRenewed(t *testing.T) {
	status := http.StatusOK
	fence := New(10 * time.Second)
	transport := fence.Wrap(roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: http.NoBody}, nil
	}))
	expect := func(condition string, wantBlocked bool, method, path string) {
		t.Helper()
		response, err := transport.RoundTrip(httptest.NewRequest(method, path, nil))
		if err == nil {
			_ = response.Body.Close()
		}
		if blocked := errors.Is(err, errNotLeader); blocked != wantBlocked {
			t.Errorf("%s: %s %s: blocked = %t, want %t", condition, method, path, blocked, wantBlocked)
		}
	}

	expect("before the lease is acquired", true, http.MethodPost, networkPoliciesPath)
	expect("before the lease is acquired", false, http.MethodGet, networkPoliciesPath)
	expect("before the lease is acquired", false, http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews")

	expect("acquiring the lease", false, http.MethodPut, leasePath)
	expect("after the lease is acquired", false, http.MethodDelete, networkPoliciesPath)
	expect("acquiring the lease behind a proxy", false, http.MethodPut, "/k8s/clusters/a"+leasePath)

	fence.lastRenewal.Store(new(time.Now().Add(-11 * time.Second)))
	expect("after the renew deadline", true, http.MethodDelete, networkPoliciesPath)
	expect("after the renew deadline", true, http.MethodPatch, networkPoliciesPath)

	status = http.StatusConflict
	expect("while another replica has the lease", false, http.MethodPut, leasePath)
	expect("after another replica got the lease", true, http.MethodPut, networkPoliciesPath)

	status = http.StatusOK
	expect("renewing the lease", false, http.MethodPut, leasePath)
	expect("after the lease is renewed", false, http.MethodPut, networkPoliciesPath)

	// The monotonic clock stops while a machine is suspended, here for an hour.
	fence.lastRenewal.Store(new(time.Now().Round(0).Add(-time.Hour)))
	expect("after a suspend", true, http.MethodPut, networkPoliciesPath)
}
