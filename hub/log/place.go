package log

import (
	"sync"

	"github.com/revocast/revocast/events"
)

// place is how far the follower has come, and a way to wait for it.
type place struct {
	mu    sync.Mutex
	seq   uint64        // guarded by mu: applied up to here
	chain events.Chain  // guarded by mu: at seq
	ended error         // guarded by mu: why the follower will not come further
	moved chan struct{} // guarded by mu: closed at the next change; nil if nobody waits
}

// now is the place, and why it will not change any more, if so.
func (p *place) now() (seq uint64, chain events.Chain, ended error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.seq, p.chain, p.ended
}

// watch is now, with a channel that is closed when that has changed.
func (p *place) watch() (seq uint64, moved <-chan struct{}, ended error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.moved == nil {
		p.moved = make(chan struct{})
	}
	return p.seq, p.moved, p.ended
}

func (p *place) advance(seq uint64, chain events.Chain) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.seq, p.chain = seq, chain
	p.wake()
}

func (p *place) end(err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.ended = err
	p.wake()
}

// wake is called with mu held.
func (p *place) wake() {
	if p.moved != nil {
		close(p.moved)
		p.moved = nil
	}
}
