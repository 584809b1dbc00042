package podsecurity

import (
	"context"
	"sync"
)

// warningCode is the code of warnings of the API server.
// https://kubernetes.io/docs/reference/using-api/#warnings
const warningCode = 299

// Warnings hands warnings of the API server to the caller that sent the request, and
// drops all others: most warnings are about pods of other people. It must be the
// WarningHandlerWithContext of the client configuration of Checker.Client.
type Warnings struct{}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (Warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, _, text string) {
	if collected, ok := ctx.Value(warningsKey{}).(*CollectedWarnings); ok && code == warningCode {
		collected.add(text)
	}
}

type warningsKey struct{}

// CollectedWarnings are the warnings in the API server's responses to the requests of one
// context, in their order.
type CollectedWarnings struct {
	mutex sync.Mutex
	texts []string
}

// CollectWarnings returns a context that collects the warnings of its requests.
func CollectWarnings(ctx context.Context) (context.Context, *CollectedWarnings) {
	collected := &CollectedWarnings{}
	return context.WithValue(ctx, warningsKey{}, collected), collected
}

func (w *CollectedWarnings) add(text string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.texts = append(w.texts, text)
}

func (w *CollectedWarnings) all() []string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.texts
}
