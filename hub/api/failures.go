package api

import (
	"net/http"
	"net/netip"
	"time"

	lru "github.com/hashicorp/golang-lru/v2"
	"golang.org/x/time/rate"
)

const (
	failuresBurst   = 20
	failuresEvery   = time.Second // one more
	failuresTracked = 4096        // addresses
)

// failures counts failed authentications by address. It remembers the
// addresses that failed last; who has very many addresses is not slowed down
// by it, and needs 2²⁵⁶ attempts all the same. What it is for is to keep
// noise, and the cost of verifying made-up tokens, within bounds.
type failures struct {
	byAddress *lru.Cache[address, *rate.Limiter]
}

func newFailures() *failures {
	cache, err := lru.New[address, *rate.Limiter](failuresTracked)
	if err != nil {
		panic(err) // the size is positive
	}
	return &failures{cache}
}

// add counts a failure; false, and how long to wait, if there were too many.
func (f *failures) add(from address, now time.Time) (wait time.Duration, ok bool) {
	l, found := f.byAddress.Get(from)
	if !found {
		l = rate.NewLimiter(rate.Every(failuresEvery), failuresBurst)
		if earlier, _, _ := f.byAddress.PeekOrAdd(from, l); earlier != nil {
			l = earlier
		}
	}
	return failuresEvery, l.AllowN(now, 1)
}

// free reports whether one more failure would be too many, without counting.
func (f *failures) free(from address, now time.Time) (wait time.Duration, ok bool) {
	l, found := f.byAddress.Peek(from)
	return failuresEvery, !found || l.TokensAt(now) >= 1
}

// address is what AddressOf returns.
type address netip.Prefix

func addressOf(r *http.Request) address { return address(AddressOf(r.RemoteAddr)) }

// AddressOf is who is at a remote address with a port, as far as limits go:
// an IPv4 address, or the /64 of an IPv6 one, since whoever has one of those
// has all. All that can't be told apart is the zero Prefix.
func AddressOf(remote string) netip.Prefix {
	ap, err := netip.ParseAddrPort(remote)
	if err != nil {
		return netip.Prefix{}
	}
	ip := ap.Addr().Unmap().WithZone("")
	bits := ip.BitLen()
	if ip.Is6() {
		bits = 64
	}
	p, _ := ip.Prefix(bits)
	return p
}
