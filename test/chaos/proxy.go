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

// failure is a way in which a request fails.
type failure string

const (
	failConflict    failure = "409"
	failTooMany     failure = "429"
	failInternal    failure = "500"
	failUnavailable failure = "503"
	// failTimeout never responds.
	failTimeout failure = "timeout"
	// failCut closes the connection before the request reaches the API server.
	failCut failure = "cut"
	// failLost closes the connection after the API server has handled the request.
	failLost failure = "response lost"
	// failLate delays the request before it reaches the API server.
	failLate failure = "late"
	// failTooOld rejects a watch because its resourceVersion is too old.
	failTooOld failure = "too old"
)

const (
	// answerTimeout is how long failTimeout keeps the connection open.
	answerTimeout = 6 * time.Second
	// maxLateness is the longest delay of failLate. It is shorter than the time between
	// the last write of a leader and the end of its lease.
	maxLateness = leaseDuration - renewDeadline - 100*time.Millisecond
)

// failureRule makes one in oneIn requests fail in one of several ways.
type failureRule struct {
	oneIn int
	kinds []failure
}

// proxy forwards requests from the operators to the API server and makes some of them
// fail.
type proxy struct {
	config  *rest.Config
	forward *httputil.ReverseProxy

	mutex sync.Mutex
	// rules are those of the active faults.
	rules   []*failureRule
	watches map[*http.Request]context.CancelFunc
	counts  map[failure]int
}

// failureCounts returns how often each failure happened.
func (p *proxy) failureCounts() map[failure]int {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return maps.Clone(p.counts)
}

// newProxy serves on a loopback address until the context is done. The API server
// authenticates clients by their own tokens.
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
	certificate, privateKey, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		return nil, fmt.Errorf("creating the certificate of the proxy: %w", err)
	}
	pair, err := tls.X509KeyPair(certificate, privateKey)
	if err != nil {
		return nil, fmt.Errorf("reading the certificate of the proxy: %w", err)
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
		// If the API server does not respond, the operator gets no response either.
		ErrorHandler: func(http.ResponseWriter, *http.Request, error) { panic(http.ErrAbortHandler) },
	}
	server := &http.Server{
		Handler: p, TLSConfig: &tls.Config{Certificates: []tls.Certificate{pair}, MinVersion: tls.VersionTLS12}, ErrorLog: discardLog, ReadHeaderTimeout: time.Minute,
	}
	go func() { _ = server.ServeTLS(listener, "", "") }()
	context.AfterFunc(ctx, func() { _ = server.Close() })
	return p, nil
}

// addRule makes one in oneIn requests fail in one of several ways, until the returned
// function is called.
func (p *proxy) addRule(oneIn int, kinds ...failure) (end func()) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	added := &failureRule{oneIn: oneIn, kinds: kinds}
	p.rules = append(p.rules, added)
	return func() {
		p.mutex.Lock()
		defer p.mutex.Unlock()
		p.rules = slices.DeleteFunc(p.rules, func(rule *failureRule) bool { return rule == added })
	}
}

// cutWatches closes all watches.
func (p *proxy) cutWatches() {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for _, cancel := range p.watches {
		cancel()
		p.counts["watch cut"]++
	}
}

// chooseFailure returns how the request fails, or "" if it does not.
func (p *proxy) chooseFailure(request *http.Request, isWatch bool) failure {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	isRead := request.Method == http.MethodGet
	for _, rule := range p.rules {
		kind := rule.kinds[rand.IntN(len(rule.kinds))]
		isImpossible := kind == failTooOld && (!isWatch || request.URL.Query().Get("resourceVersion") == "") || kind == failConflict && isRead || kind == failLost && isWatch
		if !isImpossible && rand.IntN(rule.oneIn) == 0 {
			p.counts[kind]++
			return kind
		}
	}
	return ""
}

func (p *proxy) ServeHTTP(response http.ResponseWriter, request *http.Request) {
	ctx, cancel := context.WithCancel(request.Context())
	defer cancel()
	// Read the whole body first. A proxy that forwards the body while the API server
	// rejects the request unread can hang; an API server does not.
	body, err := io.ReadAll(request.Body)
	if err != nil {
		panic(http.ErrAbortHandler)
	}
	request = request.WithContext(ctx)
	request.Body = io.NopCloser(bytes.NewReader(body))
	isWatch := request.URL.Query().Get("watch") != ""
	if isWatch {
		p.mutex.Lock()
		p.watches[request] = cancel
		p.mutex.Unlock()
		defer func() {
			p.mutex.Lock()
			delete(p.watches, request)
			p.mutex.Unlock()
		}()
	}
	switch kind := p.chooseFailure(request, isWatch); kind {
	case "":
		p.forward.ServeHTTP(response, request)
	case failCut:
		panic(http.ErrAbortHandler)
	case failTimeout:
		pause(ctx, answerTimeout)
		panic(http.ErrAbortHandler)
	case failLate:
		pause(ctx, rand.N(maxLateness))
		// The client may have disconnected, but its request is already in flight.
		p.forward.ServeHTTP(response, request.WithContext(context.WithoutCancel(ctx)))
	case failLost:
		p.forward.ServeHTTP(httptest.NewRecorder(), request)
		panic(http.ErrAbortHandler)
	default:
		writeError(response, request, kind)
	}
}

// writeError writes an error response like the API server's.
func writeError(response http.ResponseWriter, request *http.Request, kind failure) {
	resource := schema.GroupResource{Resource: path.Base(path.Dir(request.URL.Path))}
	name := path.Base(request.URL.Path)
	err := map[failure]*apierrors.StatusError{
		failConflict:    apierrors.NewConflict(resource, name, fmt.Errorf("the object has been modified")),
		failTooMany:     apierrors.NewTooManyRequests("too many requests, please try again later", 1),
		failInternal:    apierrors.NewInternalError(fmt.Errorf("etcdserver: request timed out")),
		failUnavailable: apierrors.NewServiceUnavailable("the server is currently unable to handle the request"),
		failTooOld:      apierrors.NewResourceExpired("too old resource version"),
	}[kind]
	status := err.Status()
	status.TypeMeta = metav1.TypeMeta{APIVersion: "v1", Kind: "Status"}
	response.Header().Set("Content-Type", "application/json")
	if kind == failTooMany {
		response.Header().Set("Retry-After", "1")
	}
	response.WriteHeader(int(status.Code))
	_ = json.NewEncoder(response).Encode(status)
}
