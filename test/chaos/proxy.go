package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"net/http/httputil"
	"net/url"
	"path"
	"slices"
	"sync"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/util/cert"
)

// failure is how a request fails.
type failure string

const (
	failConflict    failure = "409"
	failTooMany     failure = "429"
	failInternal    failure = "500"
	failUnavailable failure = "503"
	// failTimeout never answers.
	failTimeout failure = "timeout"
	// failCut ends the connection before the API server hears of the request.
	failCut failure = "cut"
	// failLost ends it when the API server has done what it was asked to.
	failLost failure = "answer lost"
	// failLate lets the API server hear of it only after a while.
	failLate failure = "late"
	// failTooOld says that the resourceVersion from which a watch is to begin is too
	// old.
	failTooOld failure = "too old"
)

const (
	// longest is how long an answer is kept back, at most.
	answerTimeout = 6 * time.Second
	// latest is how late the API server hears of a request, at most: less than a
	// lease is held after its holder has stopped writing.
	maxLateness = leaseDuration - renewDeadline - 100*time.Millisecond
)

// failures are the ways in which one of so many requests fails.
type failureRule struct {
	oneIn int
	kinds []failure
}

// proxy stands between the operators and the API server.
type proxy struct {
	config  *rest.Config
	forward *httputil.ReverseProxy

	mutex sync.Mutex
	// failing are the faults that are at work.
	rules   []*failureRule
	watches map[*http.Request]context.CancelFunc
	counts  map[failure]int
}

// failures returns how many requests failed, and how.
func (p *proxy) failureCounts() map[failure]int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return maps.Clone(p.counts)
}

// newProxy serves on loopback until the context is done. Who asks is known to the API
// server by their own token.
func newProxy(ctx context.Context, admin *rest.Config) (*proxy, error) {
	upstream, err := url.Parse(admin.Host)
	if err != nil {
		return nil, err
	}
	transport, err := rest.TransportFor(rest.AnonymousClientConfig(admin))
	if err != nil {
		return nil, fmt.Errorf("reaching the API server: %w", err)
	}
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return nil, fmt.Errorf("making the proxy's certificate: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, key)
	if err != nil {
		return nil, fmt.Errorf("reading the proxy's certificate: %w", err)
	}
	p := &proxy{
		config:  &rest.Config{Host: "https://" + listener.Addr().String(), TLSClientConfig: rest.TLSClientConfig{CAData: certificate}},
		watches: map[*http.Request]context.CancelFunc{}, counts: map[failure]int{},
	}
	p.forward = &httputil.ReverseProxy{
		Rewrite:       func(request *httputil.ProxyRequest) { request.SetURL(upstream) },
		Transport:     transport,
		FlushInterval: -1,
		ErrorLog:      discardLog,
		// What the API server does not answer, the operator gets no answer to.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := &http.Server{
		Handler: p, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, ErrorLog: discardLog, ReadHeaderTimeout: time.Minute,
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return p, nil
}

// fail has one of so many requests fail in one of these ways, until the function that it
// returns is called.
func (p *proxy) addRule(oneOf int, ways ...failure) (end func()) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	f := &failureRule{oneOf, ways}
	p.rules = append(p.rules, f)
	return func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.rules = slices.DeleteFunc(p.rules, func(other *failureRule) bool { return other == f })
	}
}

// cutWatches ends every watch.
func (p *proxy) cutWatches() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, cancel := range p.watches {
		cancel()
		p.counts["watch cut"]++
	}
}

// chosen says how a request fails; empty if it does not.
func (p *proxy) chooseFailure(request *http.Request, watch bool) failure {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	reads := request.Method == http.MethodGet
	for _, f := range p.rules {
		way := f.kinds[rand.IntN(len(f.kinds))]
		never := way == failTooOld && (!watch || request.URL.Query().Get("resourceVersion") == "") || way == failConflict && reads || way == failLost && watch
		if !never && rand.IntN(f.oneIn) == 0 {
			p.counts[way]++
			return way
		}
	}
	return ""
}

func (p *proxy) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	ctx, cancel := context.WithCancel(request.Context())
	defer cancel()
	// Read at once: a proxy that passes the body on while the API server refuses the
	// request unread can hang, in a way that no API server does.
	body, err := io.ReadAll(request.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	request = request.WithContext(ctx)
	request.Body = io.NopCloser(bytes.NewReader(body))
	watch := request.URL.Query().Get("watch") != ""
	if watch {
		p.mutex.Lock()
		p.watches[request] = cancel
		p.mutex.Unlock()
		defer func() {
			p.mutex.Lock()
			delete(p.watches, request)
			p.mutex.Unlock()
		}()
	}
	switch way := p.chooseFailure(request, watch); way {
	case "":
		p.forward.ServeHTTP(response, request)
	case failCut:
		panic(http.ErrAbortHandler)
	case failTimeout:
		pause(ctx, answerTimeout)
		panic(http.ErrAbortHandler)
	case failLate:
		pause(ctx, rand.N(maxLateness))
		// Whoever asked may have gone: what they sent is under way.
		p.forward.ServeHTTP(response, request.WithContext(context.WithoutCancel(ctx)))
	case failLost:
		p.forward.ServeHTTP(httptest.NewRecorder(), request)
		panic(http.ErrAbortHandler)
	default:
		writeError(response, request, way)
	}
}

// refuse answers as the API server does.
func writeError(response http.ResponseWriter, request *http.Request, way failure) {
	resource, name := schema.GroupResource{Resource: path.Base(path.Dir(request.URL.Path))}, path.Base(request.URL.Path)
	err := map[failure]*apierrors.StatusError{
		failConflict:    apierrors.NewConflict(resource, name, fmt.Errorf("the object has been modified")),
		failTooMany:     apierrors.NewTooManyRequests("too many requests, please try again later", 1),
		failInternal:    apierrors.NewInternalError(fmt.Errorf("etcdserver: request timed out")),
		failUnavailable: apierrors.NewServiceUnavailable("the server is currently unable to handle the request"),
		failTooOld:      apierrors.NewResourceExpired("too old resource version"),
	}[way]
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	response.Header().Set("Content-Type", "application/json")
	if way == failTooMany {
		response.Header().Set("Retry-After", "1")
	}
	response.WriteHeader(int(status.Code))
	_ = json.NewEncoder(response).Encode(status)
}
