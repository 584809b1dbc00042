package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	clientgoscheme "k8s.io/client-go/kubernetes/scheme"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
)

const etcdPrefix = "/registry/"

// Kinds that are watched.
const (
	kindNamespace        = "Namespace"
	kindNetworkPolicy    = "NetworkPolicy"
	kindRoleBinding      = "RoleBinding"
	kindServiceAccount   = "ServiceAccount"
	kindLimitRange       = "LimitRange"
	kindResourceQuota    = "ResourceQuota"
	kindSecurityBaseline = "SecurityBaseline"
	kindBaselineReport   = "BaselineReport"
	kindPod              = "Pod"
)

// prefixes are where the API server keeps what is watched, by kind.
var kindByPrefix = map[string]string{
	"namespaces/":                            kindNamespace,
	"networkpolicies/":                       kindNetworkPolicy,
	"rolebindings/":                          kindRoleBinding,
	"serviceaccounts/":                       kindServiceAccount,
	"limitranges/":                           kindLimitRange,
	"resourcequotas/":                        kindResourceQuota,
	"pods/":                                  kindPod,
	"securitybaseline.io/securitybaselines/": kindSecurityBaseline,
	"securitybaseline.io/baselinereports/":   kindBaselineReport,
}

// key names an object.
type key struct{ kind, namespace, name string }

func (k key) String() string {
	if k.namespace == "" {
		return k.kind + "/" + k.name
	}
	return k.namespace + "/" + k.kind + "/" + k.name
}

// keyOf returns what a key of etcd names, if it is watched.
func keyOf(path string) (key, bool) {
	path, _ = strings.CutPrefix(path, etcdPrefix)
	for prefix, kind := range kindByPrefix {
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok {
			continue
		}
		namespace, name, namespaced := strings.Cut(rest, "/")
		if !namespaced {
			namespace, name = "", namespace
		}
		return key{kind, namespace, name}, true
	}
	return key{}, false
}

// change is what one write did to one object. before is nil where it is new, after
// where it is gone.
type change struct {
	key           key
	before, after client.Object
	at            time.Time
}

// watcher knows the state of the cluster and every write that led to it, in the order
// in which they happened: it reads etcd, whose watches miss nothing, whatever becomes
// of the API server and of etcd itself.
type watcher struct {
	etcd *clientv3.Client
	// on is told of every change when it is in objects.
	observe func(*change)

	mutex    sync.Mutex
	changed  *sync.Cond
	revision int64
	objects  map[key]client.Object
	err      error
}

var scheme = func() *runtime.Scheme {
	scheme := runtime.NewScheme()
	utilruntime.Must(clientgoscheme.AddToScheme(scheme))
	utilruntime.Must(v1alpha1.AddToScheme(scheme))
	return scheme
}()

// decoder decodes what the API server stores: protobuf, and JSON for what a CRD
// defines.
var decoder = serializer.NewCodecFactory(scheme).UniversalDeserializer()

func decode(data []byte) (client.Object, error) {
	object, _, err := decoder.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	return object.(client.Object), nil
}

// newWatcher watches from now on until the context is done.
func newWatcher(ctx context.Context, endpoint string, on func(*change)) (*watcher, error) {
	etcd, err := clientv3.New(clientv3.Config{Endpoints: []string{endpoint}, DialTimeout: time.Minute, Context: ctx, Logger: zap.NewNop()})
	if err != nil {
		return nil, fmt.Errorf("reaching etcd: %w", err)
	}
	w := &watcher{etcd: etcd, observe: on, objects: map[key]client.Object{}}
	w.changed = sync.NewCond(&w.mutex)
	now, err := etcd.Get(ctx, etcdPrefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("reading etcd: %w", err)
	}
	w.revision = now.Header.Revision
	for _, entry := range now.Kvs {
		if k, ok := keyOf(string(entry.Key)); ok {
			if w.objects[k], err = decode(entry.Value); err != nil {
				return nil, fmt.Errorf("decoding %s: %w", k, err)
			}
		}
	}
	go w.watch(ctx, etcd.Watch(ctx, etcdPrefix, clientv3.WithPrefix(), clientv3.WithRev(w.revision+1), clientv3.WithProgressNotify()))
	return w, nil
}

func (w *watcher) watch(ctx context.Context, answers clientv3.WatchChan) {
	for answer := range answers {
		w.mutex.Lock()
		w.err = errors.Join(w.err, answer.Err())
		for _, event := range answer.Events {
			w.err = errors.Join(w.err, w.apply(event))
		}
		w.revision = max(w.revision, answer.Header.Revision)
		w.changed.Broadcast()
		w.mutex.Unlock()
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if ctx.Err() == nil && w.err == nil {
		w.err = errors.New("etcd has ended the watch")
	}
	w.changed.Broadcast()
}

// see takes a write in.
func (w *watcher) apply(event *clientv3.Event) error {
	k, ok := keyOf(string(event.Kv.Key))
	if !ok {
		return nil
	}
	c := &change{key: k, before: w.objects[k], at: time.Now()}
	if event.Type == clientv3.EventTypePut {
		var err error
		if c.after, err = decode(event.Kv.Value); err != nil {
			return fmt.Errorf("decoding %s: %w", k, err)
		}
	}
	if c.after == nil {
		delete(w.objects, k)
	} else {
		w.objects[k] = c.after
	}
	w.observe(c)
	return nil
}

// upToDate waits until everything was seen that is in etcd now.
func (w *watcher) waitUntilCurrent(ctx context.Context) error {
	now, err := w.etcd.Get(ctx, etcdPrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	// The watch says of itself how far it is.
	if err := w.etcd.RequestProgress(ctx); err != nil {
		return err
	}
	stop := context.AfterFunc(ctx, w.changed.Broadcast)
	defer stop()
	w.mutex.Lock()
	defer w.mutex.Unlock()
	for w.revision < now.Header.Revision && w.err == nil && ctx.Err() == nil {
		w.changed.Wait()
	}
	return errors.Join(w.err, ctx.Err())
}

// asText returns something as JSON, to be shown.
func toJSON(shown any) string {
	if object, ok := shown.(client.Object); ok {
		object = object.DeepCopyObject().(client.Object)
		object.SetManagedFields(nil)
		shown = object
	}
	data, err := json.Marshal(shown)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
