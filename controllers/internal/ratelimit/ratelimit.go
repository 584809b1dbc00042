// Package ratelimit limits how often the operator repairs the same object. The rate
// limiters of client-go back off or refill a bucket: a persistent author could delay repairs
// further and further. No upstream issue asks for a constant interval.
package ratelimit

import (
	"time"

	"github.com/securitybaseline/operator/controllers/internal/ttlmap"
)

// RepairInterval is the minimum time between two repairs of the same object.
const RepairInterval = time.Second

// Limiter limits repairs of an object to one per RepairInterval. The interval is
// constant, so a persistent author cannot delay repairs further. The zero value is ready
// to use.
type Limiter struct{ repairs ttlmap.Map[struct{}] }

// Remaining returns how long it takes until the next repair is allowed; zero or less if
// it is allowed now.
func (l *Limiter) Remaining(key string, now time.Time) time.Duration {
	_, age, ok := l.repairs.Get(key, now)
	if !ok {
		return 0
	}
	return RepairInterval - age
}

// Record records that a repair was made.
func (l *Limiter) Record(key string, now time.Time) { l.repairs.Set(key, struct{}{}, now) }
