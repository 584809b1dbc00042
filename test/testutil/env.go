package testutil

import (
	"context"
	"fmt"
	"maps"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"sigs.k8s.io/controller-runtime/pkg/client"

	"github.com/securitybaseline/operator/api/v1alpha1"
	"github.com/securitybaseline/operator/controllers"
	"github.com/securitybaseline/operator/test/cluster"
)

// Env is a control plane and a client of its administrator.
type Env struct {
	Cluster *cluster.Cluster
	// Admin reads and writes without a cache, with the field manager admin.
	Admin client.Client
}

// NewEnv returns the environment of a control plane that runs.
func NewEnv(local *cluster.Cluster) (*Env, error) {
	admin, err := client.New(local.Admin, client.Options{Scheme: controllers.Scheme()})
	if err != nil {
		return nil, fmt.Errorf("creating the administrator's client: %w", err)
	}
	return &Env{Cluster: local, Admin: client.WithFieldOwner(admin, "admin")}, nil
}

// ClientAs returns a client of a user who has no permissions that are not bound to
// the user or to one of the groups.
func (e *Env) ClientAs(t *testing.T, user string, groups ...string) client.Client {
	t.Helper()
	config := rest.CopyConfig(e.Cluster.Admin)
	config.Impersonate = rest.ImpersonationConfig{UserName: user, Groups: append(groups, "system:authenticated")}
	impersonating, err := client.New(config, client.Options{Scheme: controllers.Scheme()})
	Must(t, err)
	return impersonating
}

// WatchClient returns a client of the administrator that can watch.
func (e *Env) WatchClient(t *testing.T) client.WithWatch {
	t.Helper()
	watching, err := client.NewWithWatch(e.Cluster.Admin, client.Options{Scheme: controllers.Scheme()})
	Must(t, err)
	return watching
}

// NewNamespace creates a namespace that the baselines of the test select.
func (e *Env) NewNamespace(t *testing.T, name string, labels map[string]string) *corev1.Namespace {
	t.Helper()
	namespace := &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: Name(t) + "-" + name, Labels: Labels(t)}}
	maps.Copy(namespace.Labels, labels)
	e.Create(t, namespace)
	return namespace
}

// NewBaseline creates a baseline that selects the namespaces of the test.
func (e *Env) NewBaseline(t *testing.T, name string, spec v1alpha1.SecurityBaselineSpec) *v1alpha1.SecurityBaseline {
	t.Helper()
	spec.NamespaceSelector = Selector(t)
	baseline := &v1alpha1.SecurityBaseline{ObjectMeta: metav1.ObjectMeta{Name: Name(t) + "-" + name}, Spec: spec}
	e.Create(t, baseline)
	return baseline
}

// Create creates an object and deletes it at the end of the test. It waits while an
// object of an earlier run that has the same name is being deleted.
func (e *Env) Create(t *testing.T, object client.Object) {
	t.Helper()
	Must(t, create(t.Context(), e.Admin, object, Timeout))
	t.Cleanup(func() { e.Delete(t, object) })
}

func create(ctx context.Context, writer client.Client, object client.Object, timeout time.Duration) error {
	return retry(ctx, timeout, func(ctx context.Context) (shouldRetry bool, err error) {
		err = writer.Create(ctx, object)
		if !apierrors.IsAlreadyExists(err) {
			return IsTransient(err), err
		}
		existing := object.DeepCopyObject().(client.Object)
		switch getErr := writer.Get(ctx, client.ObjectKeyFromObject(object), existing); {
		case apierrors.IsNotFound(getErr):
			return true, err // it is gone by now
		case getErr != nil:
			return IsTransient(getErr), getErr
		}
		return existing.GetDeletionTimestamp() != nil, err
	})
}

// Delete deletes an object at the end of a test. It is no error if the object does
// not exist.
func (e *Env) Delete(t *testing.T, object client.Object) {
	t.Helper()
	if err := e.Admin.Delete(context.Background(), object); client.IgnoreNotFound(err) != nil {
		t.Error(err)
	}
}

// Update reads an object, changes it and writes it, and does so again after a
// conflict. It leaves in object what the API server returned.
func Update[T client.Object](t *testing.T, env *Env, object T, mutate func(T)) {
	t.Helper()
	Must(t, update(t.Context(), env.Admin, object, mutate, Timeout))
}

func update[T client.Object](ctx context.Context, writer client.Client, object T, mutate func(T), timeout time.Duration) error {
	return retry(ctx, timeout, func(ctx context.Context) (shouldRetry bool, err error) {
		if err := writer.Get(ctx, client.ObjectKeyFromObject(object), object); err != nil {
			return IsTransient(err), err
		}
		mutate(object)
		err = writer.Update(ctx, object)
		return apierrors.IsConflict(err) || IsTransient(err), err
	})
}

// retry calls attempt until it succeeds or reports that it must not be repeated.
func retry(ctx context.Context, timeout time.Duration, attempt func(ctx context.Context) (shouldRetry bool, err error)) error {
	var final error
	err := poll(ctx, timeout, func(ctx context.Context) error {
		shouldRetry, err := attempt(ctx)
		if err != nil && !shouldRetry {
			final = err
			return nil
		}
		return err
	})
	if final != nil {
		return final
	}
	return err
}
