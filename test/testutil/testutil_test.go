package testutil

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"sigs.k8s.io/controller-runtime/pkg/client"
	"sigs.k8s.io/controller-runtime/pkg/client/fake"
	"sigs.k8s.io/controller-runtime/pkg/client/interceptor"
)

const shortTimeout = 200 * time.Millisecond

var configMaps = schema.GroupResource{Resource: "configmaps"}

func newConfigMap() *corev1.ConfigMap {
	return &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{Namespace: "default", Name: "a"}}
}

func TestPoll(t *testing.T) {
	attempts := 0
	err := poll(t.Context(), Timeout, func(context.Context) error {
		if attempts++; attempts < 3 {
			return errors.New("not yet")
		}
		return nil
	})
	if err != nil || attempts != 3 {
		t.Errorf("got %v after %d attempts, want no error after 3", err, attempts)
	}
	err = poll(t.Context(), shortTimeout, func(context.Context) error { return errors.New("what differs") })
	if err == nil || !strings.Contains(err.Error(), "what differs") {
		t.Errorf("got %v, want the error of the check", err)
	}
}

func TestNever(t *testing.T) {
	if err := never(t.Context(), shortTimeout, func(context.Context) error { return nil }); err != nil {
		t.Errorf("nothing happens: got %v, want no error", err)
	}
	attempts := 0
	err := never(t.Context(), Timeout, func(context.Context) error {
		if attempts++; attempts == 2 {
			return errors.New("it happened")
		}
		return nil
	})
	if err == nil || !strings.Contains(err.Error(), "it happened") {
		t.Errorf("something happens: got %v, want what happened", err)
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := never(ended, Timeout, func(context.Context) error { return nil }); err == nil {
		t.Error("the test ends first: got no error, want one")
	}
}

func TestCreate_RetriesOnlyWhileTheObjectIsBeingDeleted(t *testing.T) {
	deleting := newConfigMap()
	deleting.Finalizers = []string{"example.com/hold"}
	for name, test := range map[string]struct {
		existing    *corev1.ConfigMap
		deleted     bool
		createError error
		attempts    int
		want        func(error) bool
	}{
		"nothing exists":                  {attempts: 1, want: func(err error) bool { return err == nil }},
		"an object exists":                {existing: newConfigMap(), attempts: 1, want: apierrors.IsAlreadyExists},
		"an object is being deleted":      {existing: deleting, deleted: true, attempts: 2, want: func(err error) bool { return err == nil }},
		"the object is rejected":          {createError: apierrors.NewBadRequest("invalid"), attempts: 1, want: apierrors.IsBadRequest},
		"the API server is not ready yet": {createError: apierrors.NewTooManyRequests("later", 1), attempts: 2, want: func(err error) bool { return err == nil }},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := 0
			builder := fake.NewClientBuilder()
			if test.existing != nil {
				builder = builder.WithObjects(test.existing.DeepCopy())
			}
			writer := builder.WithInterceptorFuncs(interceptor.Funcs{
				Create: func(ctx context.Context, next client.WithWatch, object client.Object, options ...client.CreateOption) error {
					if attempts++; attempts == 1 && test.createError != nil {
						return test.createError
					}
					if attempts == 2 && test.deleted { // the finalizer goes
						existing := newConfigMap()
						if err := next.Get(ctx, client.ObjectKeyFromObject(existing), existing); err != nil {
							return err
						}
						existing.Finalizers = nil
						if err := next.Update(ctx, existing); err != nil {
							return err
						}
					}
					return next.Create(ctx, object, options...)
				},
			}).Build()
			if test.deleted {
				Must(t, writer.Delete(t.Context(), newConfigMap()))
			}
			if err := create(t.Context(), writer, newConfigMap(), Timeout); !test.want(err) || attempts != test.attempts {
				t.Errorf("got %v after %d attempts, want another error or %d attempts", err, attempts, test.attempts)
			}
		})
	}
}

func TestUpdate_RetriesOnlyConflicts(t *testing.T) {
	for name, test := range map[string]struct {
		updateError error
		attempts    int
		want        func(error) bool
	}{
		"no error":   {attempts: 1, want: func(err error) bool { return err == nil }},
		"a conflict": {updateError: apierrors.NewConflict(configMaps, "a", errors.New("changed")), attempts: 2, want: func(err error) bool { return err == nil }},
		"a denial":   {updateError: apierrors.NewForbidden(configMaps, "a", errors.New("policy")), attempts: 1, want: apierrors.IsForbidden},
	} {
		t.Run(name, func(t *testing.T) {
			attempts := 0
			writer := fake.NewClientBuilder().WithObjects(newConfigMap()).WithInterceptorFuncs(interceptor.Funcs{
				Update: func(ctx context.Context, next client.WithWatch, object client.Object, options ...client.UpdateOption) error {
					if attempts++; attempts == 1 && test.updateError != nil {
						return test.updateError
					}
					return next.Update(ctx, object, options...)
				},
			}).Build()
			err := update(t.Context(), writer, newConfigMap(), func(c *corev1.ConfigMap) { c.Data = map[string]string{"a": "b"} }, Timeout)
			if !test.want(err) || attempts != test.attempts {
				t.Errorf("got %v after %d attempts, want another error or %d attempts", err, attempts, test.attempts)
			}
		})
	}
}

func TestObjectName(t *testing.T) {
	short := objectName("TestShort_Name")
	long := objectName("Test" + strings.Repeat("Long", 20) + "/sub test")
	if short != "short-name" {
		t.Errorf("a short name: got %s, want short-name", short)
	}
	if len(long) > 41 || long == objectName("Test"+strings.Repeat("Long", 20)+"/another") {
		t.Errorf("a long name: got %s, want at most 41 characters that are unique", long)
	}
}

func TestTestOf(t *testing.T) {
	name := Name(t)
	if got := TestOf("PATCH /api/v1/namespaces/" + name + "-a/pods/b"); got != t.Name() {
		t.Errorf("got %s, want %s", got, t.Name())
	}
	if got := TestOf("/apis"); got != "unknown test" {
		t.Errorf("got %s, want unknown test", got)
	}
}
