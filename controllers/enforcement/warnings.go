package enforcement

import (
	"context"
	"sync"
)

// warningCode is that of what an API server warns of.
// https://kubernetes.io/docs/reference/using-api/#warnings
const warningCode = 299

// Warnings gives what the API server warns of to whoever asked for it with the
// request, and to nobody else: most of it is about pods of other people. It must
// be the WarningHandlerWithContext of the configuration of Enforcer.Client.
type Warnings struct{}

// HandleWarningHeaderWithContext implements rest.WarningHandlerWithContext.
func (Warnings) HandleWarningHeaderWithContext(ctx context.Context, code int, _, text string) {
	if collected, ok := ctx.Value(warningsKey{}).(*warnings); ok && code == warningCode {
		collected.add(text)
	}
}

type warningsKey struct{}

// warnings are what the API server warned of in its answers to requests of one
// context, in its order.
type warnings struct {
	mutex sync.Mutex
	texts []string
}

// collectWarnings returns a context whose requests' warnings are collected.
func collectWarnings(ctx context.Context) (context.Context, *warnings) {
	collected := &warnings{}
	return context.WithValue(ctx, warningsKey{}, collected), collected
}

func (w *warnings) add(text string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.texts = append(w.texts, text)
}

func (w *warnings) all() []string {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return w.texts
}
