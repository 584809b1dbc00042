package leaderfence

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"
)

func TestNothingIsWrittenWithoutTheLease(t *testing.T) {
	status := http.StatusOK
	f := &Fence{Deadline: 10 * time.Second}
	transport := f.Wrap(roundTripper(func(*http.Request) (*http.Response, error) {
		return &http.Response{StatusCode: status, Body: http.NoBody}, nil
	}))
	refused := func(method, path string) bool {
		t.Helper()
		response, err := transport.RoundTrip(httptest.NewRequest(method, path, nil))
		if err == nil {
			_ = response.Body.Close()
		}
		return errors.Is(err, errNotLeader)
	}
	ago := func(past time.Duration) { f.renewed.Store(new(time.Now().Add(-past))) }
	const policies, lease = "/apis/networking.k8s.io/v1/namespaces/a/networkpolicies", "/apis/coordination.k8s.io/v1/namespaces/system/leases/leader"

	if !refused(http.MethodPost, policies) {
		t.Error("it writes without ever having had the lease")
	}
	if refused(http.MethodGet, policies) || refused(http.MethodPost, "/apis/authentication.k8s.io/v1/tokenreviews") || refused(http.MethodPut, lease) {
		t.Error("it may not even ask")
	}
	if refused(http.MethodDelete, policies) || refused(http.MethodPut, "/k8s/clusters/a"+lease) {
		t.Error("it may not write although it has the lease")
	}
	ago(11 * time.Second)
	if !refused(http.MethodDelete, policies) || !refused(http.MethodPatch, policies) {
		t.Error("it writes although it did not renew the lease")
	}
	status = http.StatusConflict
	if refused(http.MethodPut, lease) || !refused(http.MethodPut, policies) {
		t.Error("it takes the lease for its own that somebody else has")
	}
	status = http.StatusOK
	if refused(http.MethodPut, lease) || refused(http.MethodPut, policies) {
		t.Error("it may not write although it has renewed the lease")
	}
	// A machine that slept for an hour.
	f.renewed.Store(new(time.Now().Round(0).Add(-time.Hour)))
	if !refused(http.MethodPut, policies) {
		t.Error("it writes after a sleep")
	}
}
