package enforcement

import (
	"github.com/securitybaseline/operator/controllers/enforcement/podsecurity"
	"github.com/securitybaseline/operator/controllers/internal/ratelimit"
	"github.com/securitybaseline/operator/controllers/internal/ttlmap"
)

// State is what enforcement remembers only in memory. The zero value is ready to use.
type State struct {
	// rateLimit limits how often an object is reverted.
	// Lost: an object can be reverted once more within the interval.
	rateLimit ratelimit.Limiter
	// lastWrites are the revisions that this operator wrote last of the objects that it
	// changed, empty for an object that it removed.
	// Lost: the operator's own last change can be reported as drift of an unknown author, if
	// the operator ended before it wrote the report.
	lastWrites ttlmap.Map[string]
	// podResults are what the API server answered about running pods in the last moments.
	// Lost: nothing, because the operator asks the API server again.
	podResults podsecurity.Results
}
