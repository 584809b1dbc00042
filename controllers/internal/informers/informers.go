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
	toolscache "k8s.io/client-go/tools/cache"
	ctrl "sigs.k8s.io/controller-runtime"
)

// client-go's reflector tries again ever later, up to a minute, and forgets failures
// only when all was well for two: an operator would be blind so long after a control
// plane was upgraded node by node. So the reflector is not told of what is over in a
// while: only that a resourceVersion is too old or, after etcd was restored, too new,
// whereupon it lists anew, and that its request is wrong.

const (
	// firstTry and lastTry bound how soon a list or a watch is tried again; half as
	// late again at most, 4.5 s.
	firstTry = 200 * time.Millisecond
	lastTry  = 3 * time.Second
	lateness = .5
	// resumeAfter is how soon a watch that ended is begun again; later, up to lastTry,
	// while nothing comes of it.
	resumeAfter = 100 * time.Millisecond
	// inVain is how often an error may end a watch before anything came of it: what
	// comes next may be what cannot be read, and all must be listed anew.
	inVain = 5
)

// New returns an informer that is not blind for longer than an outage lasts,
// and 5 s.
func New(source toolscache.ListerWatcher, object runtime.Object, resync time.Duration, indexers toolscache.Indexers) toolscache.SharedIndexInformer {
	patient := toolscache.ToListerWatcherWithContext(source)
	return toolscache.NewSharedIndexInformer(&toolscache.ListWatch{
		ListWithContextFunc: func(ctx context.Context, options metav1.ListOptions) (runtime.Object, error) {
			return patiently(ctx, func() (runtime.Object, error) { return patient.ListWithContext(ctx, options) })
		},
		WatchFuncWithContext: func(ctx context.Context, options metav1.ListOptions) (watch.Interface, error) {
			begin := func(options metav1.ListOptions) (watch.Interface, error) {
				return patiently(ctx, func() (watch.Interface, error) { return patient.WatchWithContext(ctx, options) })
			}
			first, err := begin(options)
			if err != nil {
				return nil, err
			}
			return resumed(ctx, first, options, begin), nil
		},
	}, object, resync, indexers)
}

// patiently does something until it succeeds, or fails in a way that trying again does
// not help.
func patiently[T any](ctx context.Context, do func() (T, error)) (result T, err error) {
	tries := wait.Backoff{Duration: firstTry, Factor: 2, Jitter: lateness, Cap: lastTry, Steps: math.MaxInt}
	ended := tries.DelayFunc().Until(ctx, true, true, func(context.Context) (bool, error) {
		if result, err = do(); err == nil || isFinal(err) {
			return true, nil
		}
		ctrl.Log.WithName("cache").Info("Listing or watching failed; it is tried again", "reason", err.Error())
		return false, nil
	})
	if ended != nil && err == nil {
		err = ended
	}
	return result, err
}

// isFinal says whether it is for the reflector to decide what to do about an error.
func isFinal(err error) bool {
	return apierrors.IsResourceExpired(err) || apierrors.IsGone(err) || isTooNew(err) || apierrors.IsInvalid(err) || apierrors.IsBadRequest(err) ||
		apierrors.IsMethodNotSupported(err)
}

// isTooNew says whether the API server has not come to a resourceVersion yet, and may
// never.
func isTooNew(err error) bool {
	return apierrors.HasStatusCause(err, metav1.CauseTypeResourceVersionTooLarge)
}

// resumed returns a watch that goes on where it was when it ends, until it is stopped or
// the API server does not know any more what came after that.
func resumed(ctx context.Context, current watch.Interface, options metav1.ListOptions, begin func(metav1.ListOptions) (watch.Interface, error)) watch.Interface {
	events := make(chan watch.Event)
	proxy := watch.NewProxyWatcher(events)
	stop := proxy.StopChan()
	go func() {
		defer close(events)
		again := wait.Backoff{Duration: resumeAfter, Factor: 2, Cap: lastTry, Steps: math.MaxInt}
		tries, vain := again, 0
		for {
			from := options.ResourceVersion
			resume := forward(current, events, stop, &options, vain < inVain)
			current.Stop()
			if !resume {
				return
			}
			if vain++; options.ResourceVersion != from {
				tries, vain = again, 0
			}
			select {
			case <-stop:
				return
			case <-ctx.Done():
				return
			case <-time.After(tries.Step()):
			}
			var err error
			if current, err = begin(options); err != nil {
				send(events, stop, watch.Event{Type: watch.Error, Object: statusOf(err)})
				return
			}
		}
	}()
	return proxy
}

// forward passes the events of a watch on until it ends, and says whether it can be
// resumed. options are then such that it goes on from there. An error ends it for good
// where no patience is left.
func forward(current watch.Interface, events chan<- watch.Event, stop <-chan struct{}, options *metav1.ListOptions, patience bool) (resume bool) {
	for {
		var event watch.Event
		select {
		case <-stop:
			return false
		case next, open := <-current.ResultChan():
			if !open {
				return known(options)
			}
			event = next
		}
		if event.Type == watch.Error && known(options) && patience {
			status := apierrors.FromObject(event.Object)
			if reason, ok := status.(apierrors.APIStatus); !ok || reason.Status().Code >= http.StatusInternalServerError && !isTooNew(status) {
				return true // cut off in the middle, mostly
			}
		}
		note(event, options)
		if !send(events, stop, event) || event.Type == watch.Error {
			return false
		}
	}
}

// known says whether it is known from where to go on. It is not while a watch begins
// with everything that there is.
func known(options *metav1.ListOptions) bool {
	return options.SendInitialEvents == nil && options.ResourceVersion != "" && options.ResourceVersion != "0"
}

// note notes how far a watch is.
func note(event watch.Event, options *metav1.ListOptions) {
	object, err := meta.Accessor(event.Object)
	if err != nil || event.Type == watch.Error {
		return
	}
	if options.SendInitialEvents != nil {
		if event.Type != watch.Bookmark || object.GetAnnotations()[metav1.InitialEventsAnnotationKey] != "true" {
			return
		}
		options.SendInitialEvents, options.ResourceVersionMatch = nil, ""
	} else if !known(options) {
		return // what there was comes in no order
	}
	options.ResourceVersion = object.GetResourceVersion()
}

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
