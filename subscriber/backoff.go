package subscriber

import (
	"maps"
	"net/http"
	"slices"
	"strconv"
	"time"
)

// When and where to try next, as arithmetic: time and chance come in as
// arguments.

// backoff is full jitter: the wait before another attempt, after a number of
// failures in a row, lies anywhere between 0 and a bound that doubles with
// each failure. random is in [0, 1). Subscribers that lose their hub at the
// same moment come back spread out.
func backoff(first, most time.Duration, failures int, random float64) time.Duration {
	bound := most
	if shift := max(failures-1, 0); shift < 30 && first<<shift < most {
		bound = first << shift
	}
	return time.Duration(random * float64(bound))
}

// hubTimes is when a hub may be tried again, for those that have said so.
type hubTimes map[string]time.Duration

// next picks the hub to try: the first after the last one that may be tried
// at a time, else the one that may be tried first; "" if there are no hubs.
// wait is how long it is until then. What has passed is forgotten.
func (h hubTimes) next(hubs []string, last string, now time.Duration) (hub string, wait time.Duration) {
	maps.DeleteFunc(h, func(_ string, at time.Duration) bool { return at <= now })
	begin := slices.Index(hubs, last) + 1 // with the first, if the last is gone
	for i := range hubs {
		n := hubs[(begin+i)%len(hubs)]
		at, later := h[n]
		if !later {
			return n, 0
		}
		if hub == "" || at-now < wait {
			hub, wait = n, at-now
		}
	}
	return hub, wait
}

// maxRetryAfter bounds what a hub, or whatever answers in its place, may ask.
const maxRetryAfter = time.Minute

// retryAfter reads a Retry-After header (RFC 9110 section 10.2.3).
func retryAfter(h http.Header, now time.Time) time.Duration {
	v := h.Get("Retry-After")
	if v == "" {
		return 0
	}
	var d time.Duration
	if secs, err := strconv.Atoi(v); err == nil {
		d = time.Duration(min(secs, 3600)) * time.Second
	} else if at, err := http.ParseTime(v); err == nil {
		d = at.Sub(now)
	}
	return min(max(d, 0), maxRetryAfter)
}
