package subscriber

import "sync"

// Metrics is told what happens, to count it. The methods are called from many
// goroutines, Verdict from each check, and must not block. All strings come
// from short lists and are fit to be labels. Sizes, positions and staleness
// are not told: ask Status when they are wanted.
type Metrics interface {
	// State: the subscriber is in this state now.
	State(State)
	// Verdict: a check came to this.
	Verdict(Outcome)
	// Refused: Authenticate or Protect refused a request.
	Refused(Code)
	// Decision: a policy decided while the set was not fresh.
	Decision(policy string, allowed bool)
	// Exchange: a Gateway asked the issuer about an opaque token, or meant to,
	// and this came of it; see Status.Exchanges.
	Exchange(outcome string)
	// Applied: a record with this many operations was applied.
	Applied(ops int)
	// Resync: a snapshot took the place of what was held.
	Resync(reason string)
	// Invalid: something arrived that had to be refused.
	Invalid(reason string)
	// Reported: a report was answered, or not.
	Reported(ok bool)
	// Disconnected: a session with a hub ended.
	Disconnected()
}

type noMetrics struct{}

func (noMetrics) State(State)           {}
func (noMetrics) Verdict(Outcome)       {}
func (noMetrics) Refused(Code)          {}
func (noMetrics) Decision(string, bool) {}
func (noMetrics) Exchange(string)       {}
func (noMetrics) Applied(int)           {}
func (noMetrics) Resync(string)         {}
func (noMetrics) Invalid(string)        {}
func (noMetrics) Reported(bool)         {}
func (noMetrics) Disconnected()         {}

// tally counts what Status shows.
type tally struct {
	resyncs, invalid, decisions, refused, exchanges, sessions, calls *counter
}

func newTally() tally {
	return tally{new(counter), new(counter), new(counter), new(counter), new(counter), new(counter), new(counter)}
}

// counter counts by name. The names come from short lists.
type counter struct {
	mu sync.Mutex
	n  map[string]uint64 // guarded by mu
}

func (c *counter) add(name string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.n == nil {
		c.n = make(map[string]uint64)
	}
	c.n[name]++
}

func (c *counter) all() map[string]uint64 {
	c.mu.Lock()
	defer c.mu.Unlock()
	m := make(map[string]uint64, len(c.n))
	for k, v := range c.n {
		m[k] = v
	}
	return m
}

func (s *Subscriber) invalid(reason string) {
	s.tally.invalid.add(reason)
	s.config.Metrics.Invalid(reason)
}

func (s *Subscriber) resynced(reason string) {
	s.tally.resyncs.add(reason)
	s.config.Metrics.Resync(reason)
}
