package ttlmap

import "time"

// RepairInterval is the minimum time between two repairs of the same object.
const RepairInterval = time.Second

// RateLimiter limits repairs of an object to one per RepairInterval. The interval is
// constant, so a persistent author cannot delay repairs further. The zero value is ready
// to use.
type RateLimiter struct{ repairs Map[struct{}] }

// Remaining returns how long it takes until the next repair is allowed; zero or less if
// it is allowed now.
func (l *RateLimiter) Remaining(key string, now time.Time) time.Duration {
	_, age, ok := l.repairs.Get(key, now)
	if !ok {
		return 0
	}
	return RepairInterval - age
}

// Record records that a repair was made.
func (l *RateLimiter) Record(key string, now time.Time) { l.repairs.Set(key, struct{}{}, now) }
