// Package e2e proves on a real API server what the operator does. The operator
// runs with its own ServiceAccount and the RBAC of config/, never as admin.
package e2e

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/client-go/rest"
	ctrl "sigs.k8s.io/controller-runtime"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/log/zap"

	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/cluster"
)

var (
	// local is the control plane that every test shares. Each test has
	// namespaces and baselines of its own.
	local *cluster.Cluster
	// admin reads and writes without a cache, as a user named admin.
	admin client.Client
	// stopOperator stops the operator and waits until it has ended.
	stopOperator func() error
	// operatorWrites counts what the operator asked the API server to change.
	operatorWrites atomic.Int64
	// ahead is how far the operator's clock is ahead.
	ahead atomic.Int64
	// reportLag is how late the operator sees reports.
	reportLag atomic.Int64
	// metricsAddress is where the operator serves its metrics.
	metricsAddress string
	// careless are the operator's requests that did not state what they are about.
	careless sync.Map
)

func TestMain(m *testing.M) {
	cluster.Main()
	code, err := run(m)
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}

func run(m *testing.M) (int, error) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	ctrl.SetLogger(zap.New(zap.WriteTo(os.Stderr)))
	dir, err := os.MkdirTemp("", "audit-")
	if err != nil {
		return 0, err
	}
	defer func() { _ = os.RemoveAll(dir) }()
	audit, flags, err := cluster.NewAudit(dir)
	if err != nil {
		return 0, err
	}
	if local, err = cluster.Start(ctx, flags...); err != nil {
		return 0, err
	}
	defer func() { _ = local.Stop() }()
	if err := local.Install(ctx); err != nil {
		return 0, err
	}
	if admin, err = client.New(local.Admin, client.Options{Scheme: controllers.Scheme()}); err != nil {
		return 0, err
	}
	admin = client.WithFieldOwner(admin, "admin")

	if metricsAddress, err = cluster.FreeAddress(); err != nil {
		return 0, err
	}
	if stopOperator, err = startOperator(ctx); err != nil {
		return 0, err
	}
	code := m.Run()
	careless.Range(func(request, err any) bool {
		fmt.Fprintln(os.Stderr, request, err)
		code = 1
		return true
	})
	if err := stopOperator(); err != nil || code != 0 || !wholeSuite() {
		return code, err
	}
	return 0, onlyWhatIsNeeded(audit)
}

// startOperator starts the operator in this process, as its own ServiceAccount.
// The function that it returns stops it.
func startOperator(ctx context.Context) (func() error, error) {
	return local.StartOperator(ctx, cluster.OperatorOptions{
		ConfigureClient: func(config *rest.Config) {
			config.ContentType = runtime.ContentTypeJSON // to be looked at
			config.Wrap(func(next http.RoundTripper) http.RoundTripper { return writes{next} })
		},
		Now:            func() time.Time { return time.Now().Add(time.Duration(ahead.Load())) },
		MetricsAddress: metricsAddress,
	})
}

// writes watches over what the operator writes.
type writes struct{ next http.RoundTripper }

func (w writes) RoundTrip(request *http.Request) (*http.Response, error) {
	// A SelfSubjectReview is a question.
	if request.Method != http.MethodGet && !strings.HasSuffix(request.URL.Path, "/selfsubjectreviews") {
		operatorWrites.Add(1)
	}
	if err := statesVersion(request); err != nil {
		careless.Store(request.Method+" "+request.URL.Path, err)
	}
	response, err := w.next.RoundTrip(request)
	if err == nil && strings.Contains(request.URL.Path, "/baselinereports") && request.URL.Query().Get("watch") != "" {
		response.Body = lag(response.Body)
	}
	return response, err
}

// lagging is a watch whose news come reportLag late, however many there are.
type lagging struct {
	io.ReadCloser
	news chan news
	left *bytes.Buffer
}

// news is what a watch said, and when.
type news struct {
	data []byte
	err  error
	at   time.Time
}

func lag(body io.ReadCloser) lagging {
	l := lagging{body, make(chan news, 10_000), &bytes.Buffer{}}
	go func() {
		for {
			data := make([]byte, 32<<10)
			n, err := body.Read(data)
			l.news <- news{data[:n], err, time.Now()}
			if err != nil {
				return
			}
		}
	}()
	return l
}

func (l lagging) Read(data []byte) (int, error) {
	if l.left.Len() == 0 {
		said := <-l.news
		time.Sleep(time.Until(said.at.Add(time.Duration(reportLag.Load()))))
		l.left.Write(said.data)
		if said.err != nil {
			l.news <- news{err: said.err, at: said.at}
			if l.left.Len() == 0 {
				return 0, said.err
			}
		}
	}
	return l.left.Read(data)
}

// statesVersion returns an error unless a change or a deletion states the UID or
// the version that it is about: else it could undo what it has not seen, or make
// a namespace again that was just deleted.
func statesVersion(request *http.Request) error {
	switch request.Method {
	case http.MethodPut, http.MethodPatch, http.MethodDelete:
	default:
		return nil
	}
	if strings.Contains(request.URL.Path, "/events/") {
		return nil // client-go's own recorder counts a series
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
		return fmt.Errorf("no version is stated: %s", data)
	}
	return nil
}
