package subscriber

import (
	"context"
	"errors"
	"time"
)

// Policy decides about a token that no known revocation matches while the set
// is not fresh, that is, while a revocation may exist that has not arrived. A
// token that a known revocation matches is refused under every policy. Each
// decision is counted. The zero Policy stands for the one of the Config.
type Policy struct {
	name  string
	grace time.Duration // how long after the set went stale tokens are allowed
	ask   func(context.Context, *Token) (bool, error)
}

// forever is a grace that never ends.
const forever = time.Duration(1<<63 - 1)

// GraceThenClosed allows tokens until the set has been stale for longer than
// grace, then refuses them. It gives no grace to a subscriber that has never
// had a set, neither from a hub nor from its file: that one knows nothing.
func GraceThenClosed(grace time.Duration) Policy {
	return Policy{name: "grace_then_closed", grace: grace}
}

// Closed refuses tokens whenever the set is not fresh.
func Closed() Policy { return Policy{name: "closed"} }

// DangerouslyOpen allows tokens however stale the set is: whoever can keep
// this process from its hubs makes revocations ineffective.
func DangerouslyOpen() Policy { return Policy{name: "open", grace: forever} }

// Ask leaves the decision to a function, for instance one that introspects the
// token (RFC 7662). It is called on the goroutine of the request, with its
// context and for each request; an error refuses. A Guard, which has no
// request to ask for, treats this policy as GraceThenClosed(DefaultGrace).
func Ask(f func(ctx context.Context, t *Token) (allowed bool, err error)) Policy {
	return Policy{name: "ask", grace: DefaultGrace, ask: f}
}

func (p Policy) String() string { return p.name }

func (p Policy) check() error {
	switch {
	case p.grace < 0:
		return errors.New("the grace is negative")
	case p.name == "ask" && p.ask == nil:
		return errors.New("there is no function to ask")
	}
	return nil
}

// closes reports whether tokens are refused without anybody being asked.
func (p Policy) closes(st standing) bool {
	return !st.fresh && (p.grace == 0 || p.grace != forever && (!st.holds || st.staleFor > p.grace))
}

// allows decides while the set is not fresh.
func (p Policy) allows(ctx context.Context, t *Token, st standing) (bool, error) {
	if p.ask != nil {
		return p.ask(ctx, t)
	}
	return !p.closes(st), nil
}
