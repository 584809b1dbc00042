// Package informers makes informers that recover from an outage of the API server within seconds.
// client-go's reflector backs off for up to a minute after failed lists and watches, and resets
// that only after two minutes without a failure. During an upgrade of the control plane, node by
// node, the operator would therefore miss changes for a minute or more. This package retries below
// the reflector, and passes on only the errors that the reflector must handle itself. It can go
// when informers accept a back-off for their reflector:
// https://github.com/kubernetes/kubernetes/issues/136943.
package informers

import (
	"context"
	"math"
	"net/http"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	"k8s.io/apimachinery/pkg/api/meta"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/wait"
	"k8s.io/apimachinery/pkg/watch"
	"k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
)

const (
	// firstRetry and lastRetry bound the delay before a list or a watch is retried.
	firstRetry = 200 * time.Millisecond
	lastRetry  = 3 * time.Second
	// jitter is the largest fraction by which a delay is extended: at most to 4.5 s.
	jitter = .5
	// resumeDelay is how long after its end a watch is resumed. It grows up to lastRetry while
	// resumed watches make no progress.
	resumeDelay = 100 * time.Millisecond
	// maxFruitless is how many times in a row an error may end a watch that made no progress. After
	// that the reflector lists again, since the next event may be one that cannot be decoded.
	maxFruitless = 5
)

// startFunc starts a watch.
type startFunc func(metav1.ListOptions) (watch.Interface, error)

// New returns an informer that catches up within 5 s after an outage ends.
func New(source cache.ListerWatcher, object runtime.Object, resync time.Duration, indexers cache.Indexers) cache.SharedIndexInformer {
	listerWatcher := cache.ToListerWatcherWithContext(source)
	return cache.NewSharedIndexInformer(&cache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return retryForever(ctx, func() (runtime.Object, error) { return listerWatcher.ListWithContext(ctx, options) })
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			start := func(options metav1.ListOptions) (watch.Interface, error) {
				return retryForever(ctx, func() (watch.Interface, error) { return listerWatcher.WatchWithContext(ctx, options) })
			}
			first, err := start(options)
			if err != nil {
				return nil, err
			}
			return resumableWatch(ctx, first, options, start), nil
		},
	}, object, resync, indexers)
}

// retryForever calls do until it succeeds, fails with a final error, or ctx is done.
func retryForever[T any](ctx context.Context, do func() (T, error)) (result T, err error) {
	backoff := wait.Backoff{Duration: firstRetry, Factor: 2, Jitter: jitter, Cap: lastRetry, Steps: math.MaxInt}
	ended := backoff.DelayFunc().Until(ctx, true, true, func(context.Context) (bool, error) {
		if result, err = do(); err == nil || isFinal(err) {
			return true, nil
		}
		ctrl.Log.WithName("cache").Info("List or watch failed, retrying", "reason", err.Error())
		return false, nil
	})
	if ended != nil && err == nil {
		err = ended
	}
	return result, err
}

// isFinal reports whether the reflector must handle the error: it lists again if the
// resourceVersion is too old or, after a restore of etcd, too new, and it fails if the request is
// invalid.
func isFinal(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || isTooNew(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsMethodNotSupported(err)
}

// isTooNew reports whether the API server has not reached the requested resourceVersion. After a
// restore of etcd it may never do so.
func isTooNew(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// resumableWatch returns a watch that continues where current ended. It ends when it is stopped, or
// when the API server no longer has the events since the last resourceVersion.
func resumableWatch(ctx context.Context, current watch.Interface, options metav1.ListOptions, start startFunc) watch.Interface {
	events := make(chan watch.Event)
	proxy := watch.NewProxyWatcher(events)
	go func() {
		defer close(events)
		resume(ctx, current, options, start, events, proxy.StopChan())
	}()
	return proxy
}

// resume forwards the events of current and of the watches that follow it.
func resume(ctx context.Context, current watch.Interface, options metav1.ListOptions, start startFunc, events chan<- watch.Event, stop <-chan struct{}) {
	initial := wait.Backoff{Duration: resumeDelay, Factor: 2, Cap: lastRetry, Steps: math.MaxInt}
	backoff := initial
	fruitless := 0
	for {
		from := options.ResourceVersion
		shouldResume := forward(current, events, stop, &options, fruitless < maxFruitless)
		current.Stop()
		if !shouldResume {
			return
		}
		fruitless++
		if options.ResourceVersion != from {
			backoff = initial
			fruitless = 0
		}
		select {
		case <-stop:
			return
		case <-ctx.Done():
			return
		case <-time.After(backoff.Step()):
		}
		var err error
		if current, err = start(options); err != nil {
			send(events, stop, watch.Event{Type: watch.Error, Object: statusOf(err)})
			return
		}
	}
}

// forward passes on the events of a watch until it ends, and reports whether the watch can be
// resumed. It updates options so that the next watch continues from there. An error event ends the
// watch for good unless mayResumeErrors is set.
func forward(current watch.Interface, events chan<- watch.Event, stop <-chan struct{}, options *metav1.ListOptions, mayResumeErrors bool) (shouldResume bool) {
	for {
		var event watch.Event
		select {
		case <-stop:
			return false
		case next, open := <-current.ResultChan():
			if !open {
				return canResume(options)
			}
			event = next
		}
		if event.Type == watch.Error && mayResumeErrors && canResume(options) && isTransient(event) {
			return true
		}
		advanceResourceVersion(event, options)
		if !send(events, stop, event) || event.Type == watch.Error {
			return false
		}
	}
}

// isTransient reports whether an error event is a failure of the server or of the connection, most
// often a response that was cut off.
func isTransient(event watch.Event) bool {
	err := apierrors.FromObject(event.Object)
	status, ok := err.(apierrors.APIStatus)
	return !ok || status.Status().Code >= http.StatusInternalServerError && !isTooNew(err)
}

// canResume reports whether the resourceVersion to resume from is known. It is unknown while a
// watch still sends the objects that existed when it started.
func canResume(options *metav1.ListOptions) bool {
	return options.SendInitialEvents == nil && options.ResourceVersion != "" && options.ResourceVersion != "0"
}

// advanceResourceVersion records in options the resourceVersion of the last event.
func advanceResourceVersion(event watch.Event, options *metav1.ListOptions) {
	object, err := meta.Accessor(event.Object)
	if err != nil || event.Type == watch.Error {
		return
	}
	if options.SendInitialEvents != nil {
		if event.Type != watch.Bookmark || object.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
			return
		}
		options.SendInitialEvents = nil
		options.ResourceVersionMatch = ""
	} else if !canResume(options) {
		return // the initial objects arrive in no order
	}
	options.ResourceVersion = object.GetResourceVersion()
}

// send reports whether the event was received before the watch was stopped.
func send(events chan<- watch.Event, stop <-chan struct{}, event watch.Event) bool {
	select {
	case events <- event:
		return true
	case <-stop:
		return false
	}
}

func statusOf(err error) *metav1.Status {
	if status, ok := err.(apierrors.APIStatus); ok {
		return new(status.Status())
	}
	return new(apierrors.NewInternalError(err).Status())
}
