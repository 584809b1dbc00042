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

// etcdPrefix is the prefix of the keys of the API server.
const etcdPrefix = "/registry/"

// Watched kinds.
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

// kindByPrefix holds the watched kinds by their key prefix below etcdPrefix.
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

// key identifies an object.
type key struct{ kind, namespace, name string }

func (k key) String() string {
	if k.namespace == "" {
		return k.kind + "/" + k.name
	}
	return k.namespace + "/" + k.kind + "/" + k.name
}

// keyOf returns the object of an etcd key. The result is false if its kind is not
// watched.
func keyOf(path string) (key, bool) {
	path, _ = strings.CutPrefix(path, etcdPrefix)
	for prefix, kind := range kindByPrefix {
		rest, ok := strings.CutPrefix(path, prefix)
		if !ok {
			continue
		}
		namespace, name, namespaced := strings.Cut(rest, "/")
		if !namespaced {
			name = namespace
			namespace = ""
		}
		return key{kind: kind, namespace: namespace, name: name}, true
	}
	return key{}, false
}

// change is the effect of one write on one object. before is nil for a new object, after
// for a deleted one.
type change struct {
	key           key
	before, after client.Object
	at            time.Time
}

// watcher holds the state of the cluster and sees every write in order. It watches etcd
// instead of the API server, because etcd watches miss nothing, even across restarts of
// either.
type watcher struct {
	etcd *clientv3.Client
	// observe is called for each change, after objects is updated.
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

// decoder decodes the formats that the API server stores: protobuf, and JSON for custom
// resources.
var decoder = serializer.NewCodecFactory(scheme).UniversalDeserializer()

func decode(data []byte) (client.Object, error) {
	object, _, err := decoder.Decode(data, nil, nil)
	if err != nil {
		return nil, err
	}
	return object.(client.Object), nil
}

// newWatcher starts a watch that runs until the context is done.
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

func (w *watcher) watch(ctx context.Context, responses clientv3.WatchChan) {
	for response := range responses {
		w.mutex.Lock()
		w.err = errors.Join(w.err, response.Err())
		for _, event := range response.Events {
			w.err = errors.Join(w.err, w.apply(event))
		}
		w.revision = max(w.revision, response.Header.Revision)
		w.changed.Broadcast()
		w.mutex.Unlock()
	}
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if ctx.Err() == nil && w.err == nil {
		w.err = errors.New("etcd closed the watch")
	}
	w.changed.Broadcast()
}

// apply updates objects and reports the change.
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

// waitForCurrent waits until the watcher has seen everything that is in etcd now.
func (w *watcher) waitForCurrent(ctx context.Context) error {
	now, err := w.etcd.Get(ctx, etcdPrefix, clientv3.WithPrefix(), clientv3.WithCountOnly())
	if err != nil {
		return err
	}
	// The response tells how far the watch has advanced.
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

// toJSON returns a value as JSON for messages, without managedFields.
func toJSON(value any) string {
	if object, ok := value.(client.Object); ok {
		object = object.DeepCopyObject().(client.Object)
		object.SetManagedFields(nil)
		value = object
	}
	data, err := json.Marshal(value)
	if err != nil {
		return err.Error()
	}
	return string(data)
}
