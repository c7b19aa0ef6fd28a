package test

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

var (
	long = flag.Bool("long", false, "run the long forms of the fault tests")
	seed = flag.Uint64("seed", 0, "of the fault tests; 0: another one each time")
)

// dice returns the randomness of a test, and says how to get it again.
func dice(t testing.TB) *rand.Rand {
	s := *seed
	if s == 0 {
		s = rand.Uint64()
	}
	t.Logf("to see this again: -seed %d", s)
	return rand.New(rand.NewPCG(s, 1))
}

// quickOr is the size of a test: the first, or with -long the second.
func quickOr(quick, full int) int {
	if *long {
		return full
	}
	return quick
}

// trial watches a world while something is wrong with it.
type trial struct {
	*world
	client    *http.Client
	producing sync.WaitGroup
	stop      chan struct{} // closed when nothing more is produced
	ended     sync.Once
	observers []*observer
	pace      time.Duration // between two revocations of a producer; set before produce

	mu     sync.Mutex
	claims []claim // guarded by mu
}

func newTrial(w *world) *trial {
	t := &trial{world: w, client: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 16}, Timeout: 10 * time.Second}, stop: make(chan struct{})}
	w.Cleanup(func() {
		t.rest()
		for _, o := range t.observers {
			o.leave()
		}
		t.client.CloseIdleConnections()
	})
	return t
}

// produce revokes token after token, with some producers at once, until rest.
// Those with an odd number send again what was not answered, until it is.
func (t *trial) produce(producers int) {
	for p := range producers {
		t.producing.Go(func() {
			for n := 0; ; n++ {
				for tries := 0; ; tries++ {
					select {
					case <-t.stop:
						return
					default:
					}
					if t.ask(p, fmt.Sprintf("p%d-%d", p, n), tries == 0) || p%2 == 0 {
						break
					}
				}
				time.Sleep(t.pace)
			}
		})
	}
}

// rest stops producing, and waits until all is answered.
func (t *trial) rest() {
	t.ended.Do(func() { close(t.stop) })
	t.producing.Wait()
}

// ask revokes one token; false if the outcome is unknown.
func (t *trial) ask(producer int, jti string, first bool) bool {
	t.mu.Lock()
	if first {
		t.claims = append(t.claims, claim{jti: jti, producer: producer, sent: time.Now(), outcome: sent})
	}
	t.mu.Unlock()
	got, seq := t.post(jti)
	if got == refused && !first {
		got = unknown // what became of the first is not known
	}
	now := time.Now()
	t.mu.Lock()
	for i := len(t.claims) - 1; ; i-- {
		if c := &t.claims[i]; c.jti == jti {
			c.outcome, c.told, c.seq = got, now, seq
			break
		}
	}
	t.mu.Unlock()
	if got != acknowledged {
		time.Sleep(5 * time.Millisecond) // nobody needs a thousand of these
	}
	return got != unknown
}

func (t *trial) post(jti string) (outcome, uint64) {
	req, err := http.NewRequest("POST", t.url()+"/v1/revocations", strings.NewReader(order(events.KindToken, jti)))
	t.must(err)
	req.Header.Set("Authorization", "Bearer "+adminKey)
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Idempotency-Key", jti)
	req.GetBody = nil // the client sends nothing twice by itself
	resp, err := t.client.Do(req)
	if err != nil {
		return unknown, 0
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	var answer struct {
		Seq     uint64
		Outcome string
	}
	switch jerr := json.Unmarshal(body, &answer); {
	case resp.StatusCode == http.StatusCreated && err == nil && jerr == nil:
		return acknowledged, answer.Seq
	case resp.StatusCode == http.StatusCreated, err != nil, answer.Outcome == "unknown":
		return unknown, 0
	}
	return refused, 0
}

// acknowledged counts.
func (t *trial) acknowledged() (n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	for _, c := range t.claims {
		if c.outcome == acknowledged {
			n++
		}
	}
	return n
}

// observer asks one subscriber without pause, and keeps what it says.
type observer struct {
	sub   *subscriber.Subscriber
	trial *trial
	stop  chan struct{}
	done  chan struct{}
	once  sync.Once

	// What follows belongs to the goroutine until done is closed.
	heard   testimony
	last    uint64
	resyncs [2]uint64 // how often it had taken a snapshot at the last two looks: the count may show a moment before the position does
	read    int       // claims that are known here
	pending []string  // not refused yet
	denied  []string
}

// observe begins to watch a subscriber with this MaxStaleness.
func (t *trial) observe(name string, sub *subscriber.Subscriber, within time.Duration) {
	o := &observer{
		sub: sub, trial: t, stop: make(chan struct{}), done: make(chan struct{}),
		pending: []string{"good-1", "good-2"}, // which nobody revokes
		heard:   testimony{name: name, within: within, tokens: make(map[string]*sighting), fresh: make(map[uint64]time.Time)},
	}
	t.observers = append(t.observers, o)
	go func() {
		defer close(o.done)
		for n := 0; ; n++ {
			select {
			case <-o.stop:
				return
			default:
			}
			o.look(n)
			time.Sleep(time.Millisecond)
		}
	}()
}

func (o *observer) leave() {
	o.once.Do(func() { close(o.stop) })
	<-o.done
}

// look asks about the position, then about all that may still be allowed, and
// about some that must not be.
func (o *observer) look(n int) {
	t := o.trial
	t.mu.Lock()
	for ; o.read < len(t.claims); o.read++ {
		o.pending = append(o.pending, t.claims[o.read].jti)
	}
	t.mu.Unlock()

	began := time.Now()
	status := o.sub.Status()
	pos, err := events.ParsePosition(status.Position)
	if err == nil {
		var resyncs uint64
		for _, n := range status.Resyncs {
			resyncs += n
		}
		if pos.Epoch == o.heard.epoch && pos.Seq < o.last && resyncs == o.resyncs[0] {
			o.heard.backwards = append(o.heard.backwards, fmt.Sprintf("%d to %d", o.last, pos.Seq))
		}
		o.heard.epoch, o.last = pos.Epoch, pos.Seq
		o.resyncs = [2]uint64{o.resyncs[1], resyncs}
		if status.State == subscriber.Fresh {
			o.heard.fresh[pos.Seq] = began
		}
	}
	rest := o.pending[:0]
	for _, jti := range o.pending {
		if o.check(jti, pos.Seq) == subscriber.Revoked {
			o.denied = append(o.denied, jti)
		} else {
			rest = append(rest, jti)
		}
	}
	o.pending = rest
	for i := range min(8, len(o.denied)) {
		o.check(o.denied[(n*8+i)%len(o.denied)], pos.Seq)
	}
}

func (o *observer) check(jti string, pos uint64) subscriber.Outcome {
	s := o.heard.tokens[jti]
	if s == nil {
		s = new(sighting)
		o.heard.tokens[jti] = s
	}
	began := time.Now()
	v := revokedIn(o.sub, jti)
	switch v.Outcome {
	case subscriber.Revoked:
		if s.revoked.IsZero() {
			s.revoked = time.Now()
		}
	case subscriber.Allowed:
		s.allowed, s.at = began, max(s.at, pos)
		s.forgotten = s.forgotten || !s.revoked.IsZero()
	}
	s.final = v.Outcome.String()
	return v.Outcome
}

// verdict lets everything settle, and compares. The hub has to be up, and in
// the way of the subscribers there must be no fault any more.
func (t *trial) verdict() history {
	t.Helper()
	t.rest()
	head := t.position()
	for _, o := range t.observers {
		t.eventually(o.heard.name+" is fresh at the head", func() bool {
			s := o.sub.Status()
			return s.State == subscriber.Fresh && s.Position == head.String()
		})
		o.leave()
		o.look(0) // the last, on this goroutine
		for _, jti := range o.denied {
			o.check(jti, head.Seq)
		}
	}
	h := history{claims: t.claims, log: t.readLog()}
	for _, o := range t.observers {
		h.heard = append(h.heard, o.heard)
	}
	if found := broken(judge(h)); found != "" {
		t.Errorf("promises were broken:\n%s", found)
	}
	t.Logf("%d asked for, %d acknowledged, enforced everywhere at most %v later", len(h.claims), t.acknowledged(), slowest(h))
	return h
}

// readLog reads the hub's log, in its order. After a long run that takes longer
// than anything that is asked for under way.
func (t *trial) readLog() (list []entry) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, "GET", t.url()+"/v1/audit", nil)
	t.must(err)
	req.Header.Set("Authorization", "Bearer "+adminKey)
	resp, err := (&http.Client{Transport: t.client.Transport}).Do(req)
	t.must(err)
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		body, _ := io.ReadAll(resp.Body)
		t.Fatalf("audit: %d: %s", resp.StatusCode, body)
	}
	lines := bufio.NewScanner(resp.Body)
	lines.Buffer(nil, 1<<20)
	for lines.Scan() {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		var op struct {
			Seq    uint64
			Target events.Target
		}
		if err := json.Unmarshal(lines.Bytes(), &op); err != nil {
			t.Fatalf("line %d of the audit: %v, %v", len(list)+1, err, lines.Err())
		}
		list = append(list, entry{op.Seq, op.Target.Value})
	}
	t.must(lines.Err())
	return list
}
