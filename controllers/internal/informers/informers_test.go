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

// ended is a watch that says something and ends.
func ended(events ...watch.Event) watch.Interface {
	channel := make(chan watch.Event, len(events))
	for _, event := range events {
		channel <- event
	}
	close(channel)
	return watch.NewProxyWatcher(channel)
}

func said(kind watch.EventType, version string, annotations map[string]string) watch.Event {
	return watch.Event{Type: kind, Object: &corev1.ConfigMap{ObjectMeta: metav1.ObjectMeta{ResourceVersion: version, Annotations: annotations}}}
}

func TestAWatchGoesOnWhereItWas(t *testing.T) {
	allThere := map[string]string{metav1.InitialEventsAnnotationKey: "true"}
	broken := watch.Event{Type: watch.Error, Object: new(apierrors.NewInternalError(errors.New("unexpected EOF")).Status())}
	tooOld := apierrors.NewResourceExpired("too old resource version")
	tooNew := apierrors.NewTimeoutError("Too large resource version: 9, current: 3", 1)
	tooNew.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
	for _, test := range []struct {
		name    string
		options metav1.ListOptions
		first   watch.Interface
		// then are the watches that are begun after, and where; the last one is refused.
		then map[string]watch.Interface
		want []string
	}{
		{"from a version, cut off", metav1.ListOptions{ResourceVersion: "1"},
			ended(said(watch.Added, "2", nil), broken), map[string]watch.Interface{"2": ended(said(watch.Modified, "3", nil))}, []string{"ADDED 2", "MODIFIED 3", "ERROR"}},
		{"from a version, before anything happened", metav1.ListOptions{ResourceVersion: "1"},
			ended(), map[string]watch.Interface{"1": ended(said(watch.Bookmark, "9", nil))}, []string{"BOOKMARK 9", "ERROR"}},
		{"with all that there was", metav1.ListOptions{SendInitialEvents: new(true)},
			ended(said(watch.Added, "7", nil), said(watch.Bookmark, "8", allThere)), map[string]watch.Interface{"8": ended()}, []string{"ADDED 7", "BOOKMARK 8", "ERROR"}},
		{"before all that there was came", metav1.ListOptions{SendInitialEvents: new(true)}, ended(said(watch.Added, "7", nil)), nil, []string{"ADDED 7"}},
		{"cut off before all that there was came", metav1.ListOptions{SendInitialEvents: new(true)}, ended(broken), nil, []string{"ERROR"}},
		{"told that its version is too old", metav1.ListOptions{ResourceVersion: "1"},
			ended(watch.Event{Type: watch.Error, Object: new(tooOld.Status())}), nil, []string{"ERROR"}},
		{"told that its version is too new", metav1.ListOptions{ResourceVersion: "9"},
			ended(watch.Event{Type: watch.Error, Object: new(tooNew.Status())}), nil, []string{"ERROR"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				watched := resumed(t.Context(), test.first, test.options, func(options metav1.ListOptions) (watch.Interface, error) {
					next, ok := test.then[options.ResourceVersion]
					delete(test.then, options.ResourceVersion)
					if !ok {
						return nil, tooOld
					}
					return next, nil
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

func TestAWatchThatNothingComesOfIsBegunAgainLater(t *testing.T) {
	broken := watch.Event{Type: watch.Error, Object: new(apierrors.NewInternalError(errors.New("unable to decode an event")).Status())}
	for _, test := range []struct {
		name  string
		first func() watch.Interface
		// begun is how often it is begun again, of 20 times at most.
		begun int
	}{
		{"it is closed at once", func() watch.Interface { return ended() }, 20},
		{"it says what cannot be read: all is listed anew", func() watch.Interface { return ended(broken) }, inVain},
	} {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				start, begun := time.Now(), 0
				watched := resumed(t.Context(), test.first(), metav1.ListOptions{ResourceVersion: "1"}, func(metav1.ListOptions) (watch.Interface, error) {
					if begun++; begun == 20 {
						return nil, apierrors.NewResourceExpired("too old resource version")
					}
					return test.first(), nil
				})
				events := 0
				for event := range watched.ResultChan() {
					if events++; event.Type != watch.Error {
						t.Errorf("it says %s", event.Type)
					}
				}
				if begun != test.begun || events != 1 {
					t.Errorf("it is begun again %d times and says %d things", begun, events)
				}
				if took := time.Since(start); took < time.Duration(begun-5)*lastTry || took > time.Duration(begun)*lastTry {
					t.Errorf("%d times took %s", begun, took)
				}
			})
		})
	}
}

func TestListingIsTriedUntilItSucceeds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		answers := []error{errors.New("connection refused"), apierrors.NewServiceUnavailable("down"), apierrors.NewForbidden(corev1.Resource("pods"), "", nil), nil}
		tries := 0
		_, err := patiently(t.Context(), func() (runtime.Object, error) {
			tries++
			return &corev1.ConfigMapList{}, answers[tries-1]
		})
		if err != nil || tries != len(answers) {
			t.Errorf("%v after %d tries", err, tries)
		}
		tooNew := apierrors.NewTimeoutError("Too large resource version: 9, current: 3", 1)
		tooNew.ErrStatus.Details.Causes = []metav1.StatusCause{{Type: metav1.CauseTypeResourceVersionTooLarge}}
		for _, told := range []error{apierrors.NewResourceExpired("too old resource version"), tooNew} {
			if _, err := patiently(t.Context(), func() (runtime.Object, error) { return nil, told }); !errors.Is(err, told) {
				t.Errorf("the reflector is told %v, not %v", err, told)
			}
		}
		last, tries := time.Now(), 0
		_, err = patiently(t.Context(), func() (runtime.Object, error) {
			if since := time.Since(last); since > 5*time.Second {
				t.Errorf("it is blind for %s", since)
			}
			last, tries = time.Now(), tries+1
			if tries == 50 {
				return &corev1.ConfigMapList{}, nil
			}
			return nil, errors.New("connection refused")
		})
		if err != nil {
			t.Error(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		if _, err := patiently(ctx, func() (runtime.Object, error) { return nil, errors.New("down") }); err == nil {
			t.Error("it goes on although it is to stop")
		}
	})
}
