package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"

	"github.com/securitybaseline/operator/test/cluster"
	"github.com/securitybaseline/operator/test/testutil"
)

// env is the environment that the tests share. Each test has namespaces and baselines of
// its own.
var env *environment

// environment is a control plane with an operator that runs in this process.
type environment struct {
	*testutil.Env

	// metricsAddress is where the operator serves its metrics.
	metricsAddress string

	// stopFunc stops the operator; nil while the operator does not run.
	stopFunc func() error
	// writes counts the requests of the operator that write.
	writes atomic.Int64
	// clockOffset is how far the operator's clock is ahead, in nanoseconds.
	clockOffset atomic.Int64
	// reportDelay is how late the operator sees changes of reports, in nanoseconds.
	reportDelay atomic.Int64
	// unconditional maps the writes that state no version to their errors.
	unconditional sync.Map
}

// requireSerial fails the test if it is parallel or a subtest of a parallel test:
// others would see what it does to the operator.
func requireSerial(t *testing.T) {
	t.Helper()
	// The testing package forbids it in a parallel test, and forbids t.Parallel
	// afterwards.
	t.Setenv("SECURITYBASELINE_TEST_SERIAL", "1")
}

// start starts the operator as its own ServiceAccount.
func (e *environment) start(ctx context.Context) (err error) {
	e.stopFunc, err = e.Cluster.StartOperator(ctx, cluster.OperatorOptions{
		ConfigureClient: func(config *rest.Config) {
			config.ContentType = runtime.ContentTypeJSON // checkVersion reads it
			config.Wrap(func(next http.RoundTripper) http.RoundTripper { return transport{env: e, next: next} })
		},
		Now:            func() time.Time { return time.Now().Add(time.Duration(e.clockOffset.Load())) },
		MetricsAddress: e.metricsAddress,
	})
	return err
}

// stop stops the operator, if it runs, and waits until it has ended.
func (e *environment) stop() error {
	if e.stopFunc == nil {
		return nil
	}
	stop := e.stopFunc
	e.stopFunc = nil
	return stop()
}

// stopOperator stops the operator. It starts again at the end of the test unless the
// test starts it.
func (e *environment) stopOperator(t *testing.T) {
	t.Helper()
	requireSerial(t)
	testutil.Must(t, e.stop())
	t.Cleanup(func() {
		if e.stopFunc == nil {
			e.startOperator(t)
		}
	})
}

// startOperator starts the operator after stopOperator.
func (e *environment) startOperator(t *testing.T) {
	t.Helper()
	// The operator outlives the test, and so must its context.
	testutil.Must(t, e.start(context.Background()))
}

// setClock sets the operator's clock ahead until the end of the test.
func (e *environment) setClock(t *testing.T, ahead time.Duration) {
	t.Helper()
	requireSerial(t)
	t.Cleanup(func() { e.clockOffset.Store(0) })
	e.clockOffset.Store(int64(ahead))
}

// delayReports delays the changes of reports that the operator sees, until the end of
// the test or the next call.
func (e *environment) delayReports(t *testing.T, delay time.Duration) {
	t.Helper()
	requireSerial(t)
	t.Cleanup(func() { e.reportDelay.Store(0) })
	e.reportDelay.Store(int64(delay))
}

// waitForNoWrites waits until the operator has written nothing for two seconds. The
// operator may write a status once more when the API server enforces a policy.
func (e *environment) waitForNoWrites(t *testing.T) {
	t.Helper()
	requireSerial(t)
	const quiet = 2 * time.Second
	writes := e.writes.Load()
	since := time.Now()
	testutil.WaitFor(t, func(context.Context) error {
		if now := e.writes.Load(); now != writes {
			writes = now
			since = time.Now()
		}
		if elapsed := time.Since(since); elapsed < quiet {
			return fmt.Errorf("the operator's last write was %s ago, want at least %s", elapsed, quiet)
		}
		return nil
	})
}

// neverWrites fails the test if the operator writes more than it had written before
// within a duration.
func (e *environment) neverWrites(t *testing.T, before int64, duration time.Duration) {
	t.Helper()
	requireSerial(t)
	testutil.Never(t, duration, func(context.Context) error {
		if now := e.writes.Load(); now != before {
			return fmt.Errorf("writes of the operator: got %d, want none", now-before)
		}
		return nil
	})
}

// unconditionalWrites returns an error for each write of the operator that stated no
// version.
func (e *environment) unconditionalWrites() error {
	var all error
	e.unconditional.Range(func(request, err any) bool {
		all = errors.Join(all, fmt.Errorf("%s: %s: %w", testutil.TestOf(request.(string)), request, err.(error)))
		return true
	})
	return all
}

// transport observes the requests of the operator.
type transport struct {
	env  *environment
	next http.RoundTripper
}

func (t transport) RoundTrip(request *http.Request) (*http.Response, error) {
	// A SelfSubjectReview writes nothing.
	if request.Method != http.MethodGet && !strings.HasSuffix(request.URL.Path, "/selfsubjectreviews") {
		t.env.writes.Add(1)
	}
	if err := checkVersion(request); err != nil {
		t.env.unconditional.Store(request.Method+" "+request.URL.Path, err)
	}
	response, err := t.next.RoundTrip(request)
	if err == nil && strings.Contains(request.URL.Path, "/baselinereports") && request.URL.Query().Get("watch") != "" {
		response.Body = newDelayedBody(response.Body, &t.env.reportDelay)
	}
	return response, err
}

// checkVersion returns an error unless an update, a patch or a deletion states the UID
// or the resource version of its object. Without one, the operator could overwrite what
// it has not seen, or create a namespace again that was just deleted.
func checkVersion(request *http.Request) error {
	switch request.Method {
	case http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return nil
	}
	if strings.Contains(request.URL.Path, "/events/") {
		return nil // client-go's recorder counts a series
	}
	data, err := io.ReadAll(request.Body)
	if err != nil {
		return err
	}
	request.Body = io.NopCloser(bytes.NewReader(data))
	var body struct {
		Metadata      metav1.ObjectMeta
		Preconditions metav1.Preconditions
	}
	if err := json.Unmarshal(data, &body); err != nil {
		return err
	}
	switch apply := request.Header.Get("Content-Type") == string(types.ApplyYAMLPatchType); {
	case request.Method == http.MethodDelete && (body.Preconditions.UID == nil || body.Preconditions.ResourceVersion == nil),
		request.Method != http.MethodDelete && body.Metadata.ResourceVersion == "",
		apply && body.Metadata.UID == "":
		return fmt.Errorf("the request states no version: %s", data)
	}
	return nil
}

// delayedBody is the body of a watch that delivers everything late by a delay, however
// much there is.
type delayedBody struct {
	io.ReadCloser
	delay   *atomic.Int64
	chunks  chan chunk
	pending *bytes.Buffer
}

// chunk is a part of a watch's body, and when it arrived.
type chunk struct {
	data    []byte
	err     error
	arrived time.Time
}

func newDelayedBody(body io.ReadCloser, delay *atomic.Int64) delayedBody {
	delayed := delayedBody{ReadCloser: body, delay: delay, chunks: make(chan chunk, 10_000), pending: &bytes.Buffer{}}
	go func() {
		for {
			data := make([]byte, 32<<10)
			n, err := body.Read(data)
			delayed.chunks <- chunk{data: data[:n], err: err, arrived: time.Now()}
			if err != nil {
				return
			}
		}
	}()
	return delayed
}

// Read returns what arrived at least the delay ago, and waits for it.
func (d delayedBody) Read(data []byte) (int, error) {
	if d.pending.Len() == 0 {
		next := <-d.chunks
		<-time.After(time.Until(next.arrived.Add(time.Duration(d.delay.Load()))))
		d.pending.Write(next.data)
		if next.err != nil {
			d.chunks <- chunk{err: next.err, arrived: next.arrived}
			if d.pending.Len() == 0 {
				return 0, next.err
			}
		}
	}
	return d.pending.Read(data)
}
