package informers

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
)

// endedWatch returns a watch that sends events and then ends.
func endedWatch(events ...watch.Event) watch.Interface {
	channel := make(chan watch.Event, len(events))
	for _, event := range events {
		channel <- event
	}
	close(channel)
	return watch.NewProxyWatcher(channel)
}

func eventOf(kind watch.EventType, version string, annotations map[string]string) watch.Event {
	return watch.Event{Type: kind, Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version, Annotations: annotations}}}
}

func TestResumableWatch_ContinuesFromLastResourceVersion(t *testing.T) {
	initialEventsEnd := map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	broken := watch.Event{Type: watch.Error, Object: new(apierrors.NewInternalError(errors.New("unexpected EOF")).Status())}
	tooOld := apierrors.NewResourceExpired("too old resource version")
	tooNew := apierrors.NewTimeoutError("Too large resource version: 9, current: 3", 1)
	tooNew.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
	for _, test := range []struct {
		name    string
		options metav1.ListOptions
		first   watch.Interface
		// next are the watches that follow, by the resourceVersion that they start from. Any other
		// start fails.
		next map[string]watch.Interface
		want []string
	}{
		{"a watch from a version that is cut off", metav1.ListOptions{ResourceVersion: "1"},
			endedWatch(eventOf(watch.Added, "2", nil), broken), map[string]watch.Interface{"2": endedWatch(eventOf(watch.Modified, "3", nil))}, []string{"ADDED 2", "MODIFIED 3", "ERROR"}},
		{"a watch from a version that ends before any event", metav1.ListOptions{ResourceVersion: "1"},
			endedWatch(), map[string]watch.Interface{"1": endedWatch(eventOf(watch.Bookmark, "9", nil))}, []string{"BOOKMARK 9", "ERROR"}},
		{"a watch with initial events that ends after them", metav1.ListOptions{SendInitialEvents: new(true)},
			endedWatch(eventOf(watch.Added, "7", nil), eventOf(watch.Bookmark, "8", initialEventsEnd)), map[string]watch.Interface{"8": endedWatch()}, []string{"ADDED 7", "BOOKMARK 8", "ERROR"}},
		{"a watch with initial events that ends before they are complete", metav1.ListOptions{SendInitialEvents: new(true)}, endedWatch(eventOf(watch.Added, "7", nil)), nil, []string{"ADDED 7"}},
		{"a watch with initial events that is cut off", metav1.ListOptions{SendInitialEvents: new(true)}, endedWatch(broken), nil, []string{"ERROR"}},
		{"a resourceVersion that is too old", metav1.ListOptions{ResourceVersion: "1"},
			endedWatch(watch.Event{Type: watch.Error, Object: new(tooOld.Status())}), nil, []string{"ERROR"}},
		{"a resourceVersion that is too new", metav1.ListOptions{ResourceVersion: "9"},
			endedWatch(watch.Event{Type: watch.Error, Object: new(tooNew.Status())}), nil, []string{"ERROR"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				watched := resumableWatch(t.Context(), test.first, test.options, func(options metav1.ListOptions) (watch.Interface, error) {
					started, ok := test.next[options.ResourceVersion]
					delete(test.next, options.ResourceVersion)
					if !ok {
						return nil, tooOld
					}
					return started, nil
				})
				var got []string
				for event := range watched.ResultChan() {
					text := string(event.Type)
					if object, ok := event.Object.(*corev1.ConfigMap); ok {
						text += " " + object.ResourceVersion
					}
					got = append(got, text)
				}
				if diff := cmp.Diff(test.want, got); diff != "" {
					t.Errorf("(-want +got):\n%s", diff)
				}
			})
		})
	}
}

func TestResumableWatch_BacksOffWithoutProgress(t *testing.T) {
	broken := watch.Event{Type: watch.Error, Object: new(apierrors.NewInternalError(errors.New("unable to decode an event")).Status())}
	for _, test := range []struct {
		name  string
		first func() watch.Interface
		// want is how many times it is started again, of at most 20.
		want int
	}{
		{"a watch that ends immediately", func() watch.Interface { return endedWatch() }, 20},
		{"an event that cannot be decoded", func() watch.Interface { return endedWatch(broken) }, maxFruitless},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start := time.Now()
				starts := 0
				watched := resumableWatch(t.Context(), test.first(), metav1.ListOptions{ResourceVersion: "1"}, func(metav1.ListOptions) (watch.Interface, error) {
					if starts++; starts == 20 {
						return nil, apierrors.NewResourceExpired("too old resource version")
					}
					return test.first(), nil
				})
				events := 0
				for event := range watched.ResultChan() {
					if events++; event.Type != watch.Error {
						t.Errorf("event %d: got %s, want %s", events, event.Type, watch.Error)
					}
				}
				if starts != test.want || events != 1 {
					t.Errorf("got %d starts and %d events, want %d and 1", starts, events, test.want)
				}
				least := time.Duration(starts-5) * lastRetry
				most := time.Duration(starts) * lastRetry
				if took := time.Since(start); took < least || took > most {
					t.Errorf("%d starts took %s, want %s to %s", starts, took, least, most)
				}
			})
		})
	}
}

func TestRetryForever_RetriesUntilSuccess(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		results := []error{errors.New("connection refused"), apierrors.NewServiceUnavailable("down"), apierrors.NewForbidden(corev1.Resource("pods"), "", nil), nil}
		tries := 0
		_, err := retryForever(t.Context(), func() (runtime.Object, error) {
			tries++
			return &corev1.ConfigMapList{}, results[tries-1]
		})
		if err != nil || tries != len(results) {
			t.Errorf("got error %v after %d tries, want none after %d", err, tries, len(results))
		}
	})
}

func TestRetryForever_ReturnsFinalErrors(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		tooNew := apierrors.NewTimeoutError("Too large resource version: 9, current: 3", 1)
		tooNew.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
		for _, want := range []error{apierrors.NewResourceExpired("too old resource version"), tooNew} {
			if _, err := retryForever(t.Context(), func() (runtime.Object, error) { return nil, want }); !errors.Is(err, want) {
				t.Errorf("got %v, want %v", err, want)
			}
		}
	})
}

func TestRetryForever_RetriesWithinFiveSeconds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		last := time.Now()
		tries := 0
		_, err := retryForever(t.Context(), func() (runtime.Object, error) {
			if delay := time.Since(last); delay > 5*time.Second {
				t.Errorf("try %d: after %s, want at most 5s", tries, delay)
			}
			last = time.Now()
			tries++
			if tries == 50 {
				return &corev1.ConfigMapList{}, nil
			}
			return nil, errors.New("connection refused")
		})
		if err != nil {
			t.Errorf("got %v, want no error", err)
		}
	})
}

func TestRetryForever_EndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := retryForever(ctx, func() (runtime.Object, error) { return nil, errors.New("down") }); err == nil {
			t.Error("with a canceled context: got no error, want one")
		}
	})
}
