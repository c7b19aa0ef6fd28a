package feed

import (
	"context"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// Hubs that share a log answer for each other's subscribers: whichever of them
// is asked who has applied a record, who is connected and how the hubs are, it
// asks the others and adds up. Who does not answer in time is named in what it
// says, so that a number is never smaller in silence.

// question is what one hub asks another.
type question struct {
	Ask    string `json:"ask"` // askReach, askSubscribers or askStatus
	Epoch  string `json:"epoch"`
	Seq    uint64 `json:"seq,omitzero"`     // askReach
	WaitMS int64  `json:"wait_ms,omitzero"` // askReach: how long to wait for everybody
	Skip   int    `json:"skip,omitzero"`    // askSubscribers: how many were told already
}

const (
	askReach       = "reach"
	askSubscribers = "subscribers"
	askStatus      = "status"

	// page is how many subscribers one answer holds, so that it stays well
	// below the largest message that NATS takes.
	page = 400
	// peerTime is how long other hubs have for what they know at once.
	peerTime = 2 * time.Second
	// answerMargin is how much earlier than who asks a hub that is asked gives up
	// waiting, so that its answer is still in time.
	answerMargin = 300 * time.Millisecond
)

// subscriberPage is the answer to askSubscribers.
type subscriberPage struct {
	Subscribers []Subscriber `json:"subscribers"`
	More        bool         `json:"more,omitzero"`
}

// HubStatus is how one hub of the feed is.
type HubStatus struct {
	Hub         string      `json:"hub"`
	Silent      bool        `json:"silent,omitzero"` // it did not answer: nothing else is known
	Head        uint64      `json:"head"`
	TickAgeMS   int64       `json:"tick_age_ms"`
	Subscribers int         `json:"subscribers"`
	Draining    bool        `json:"draining,omitzero"`
	StartedAt   events.Time `json:"started_at,omitzero"`
}

// Reach says how many of the connected subscribers have applied a record.
// Streams of readers that don't name themselves, such as curl, don't count.
type Reach struct {
	Applied   int `json:"applied"`
	Connected int `json:"connected"`
	// Hubs is how many hubs the numbers are from, this one included; Silent
	// names those that did not answer in time.
	Hubs   int      `json:"hubs"`
	Silent []string `json:"silent,omitzero"`
}

// WaitReach waits until every subscriber that is connected to any hub has
// reported that it applied the record at seq, or until ctx, which has to have
// a deadline, ends. It returns how far that got.
func (f *Feed) WaitReach(ctx context.Context, seq uint64) Reach {
	q := question{Ask: askReach, Seq: seq, WaitMS: 1}
	if end, ok := ctx.Deadline(); ok {
		wait := time.Until(end)
		q.WaitMS = max(1, (wait - min(wait/4, answerMargin)).Milliseconds())
	}
	others := make(chan answers[Reach], 1)
	go func() { others <- askAll[Reach](ctx, f, q) }() // ends with ctx at the latest, and is waited for
	sum := f.waitReach(ctx, seq)
	theirs := <-others
	for _, r := range theirs.list {
		sum.Applied += r.Applied
		sum.Connected += r.Connected
		sum.Hubs++
	}
	sum.Silent = theirs.silent
	return sum
}

// waitReach is WaitReach for the subscribers of this hub.
func (f *Feed) waitReach(ctx context.Context, seq uint64) Reach {
	for {
		reach, changed := f.audience.reach(seq)
		if reach.Applied == reach.Connected {
			return reach
		}
		select {
		case <-ctx.Done():
			return reach
		case <-changed:
		}
		// A crowd reports within moments. To count it takes a small part of
		// this for each of them, so it is not done for each of them.
		select {
		case <-ctx.Done():
		case <-time.After(time.Duration(reach.Connected) * time.Microsecond):
		}
	}
}

// Subscribers lists the open streams of all hubs by name, and the hubs that
// did not say.
func (f *Feed) Subscribers(ctx context.Context) (list []Subscriber, silent []string) {
	ctx, cancel := context.WithTimeout(ctx, peerTime)
	defer cancel()
	list = f.ownSubscribers()
	theirs := eachPeer(f, func(p log.Peer) ([]Subscriber, error) {
		var all []Subscriber
		for len(all) <= maxListed {
			next, err := ask[subscriberPage](ctx, f, p, question{Ask: askSubscribers, Skip: len(all)})
			if err != nil {
				return nil, err
			}
			all = append(all, next.Subscribers...)
			if !next.More || len(next.Subscribers) == 0 {
				break
			}
		}
		return all, nil
	})
	for _, l := range theirs.list {
		list = append(list, l...)
	}
	sortSubscribers(list)
	return list, theirs.silent
}

// maxListed bounds what is taken from one other hub.
const maxListed = 100_000

// Hubs says how the hubs of the feed are, this one first.
func (f *Feed) Hubs(ctx context.Context) []HubStatus {
	ctx, cancel := context.WithTimeout(ctx, peerTime)
	defer cancel()
	list := []HubStatus{f.hubStatus()}
	theirs := askAll[HubStatus](ctx, f, question{Ask: askStatus})
	list = append(list, theirs.list...)
	for _, name := range theirs.silent {
		list = append(list, HubStatus{Hub: name, Silent: true})
	}
	return list
}

func (f *Feed) hubStatus() HubStatus {
	s := f.Status()
	return HubStatus{Hub: s.Hub, Head: s.Head, TickAgeMS: s.TickAgeMS, Subscribers: s.Subscribers, Draining: s.Draining, StartedAt: s.StartedAt}
}

// answer answers another hub; nil if this one can't, which it will notice.
func (f *Feed) answer(ctx context.Context, data []byte) []byte {
	var q question
	if json.Unmarshal(data, &q) != nil || q.Epoch != f.log.Epoch() {
		return nil
	}
	var a any
	switch q.Ask {
	case askReach:
		ctx, cancel := context.WithTimeout(ctx, time.Duration(min(max(q.WaitMS, 0), 60_000))*time.Millisecond)
		defer cancel()
		a = f.waitReach(ctx, q.Seq)
	case askSubscribers:
		all := f.ownSubscribers()
		rest := all[min(max(q.Skip, 0), len(all)):]
		a = subscriberPage{rest[:min(page, len(rest))], len(rest) > page}
	case askStatus:
		a = f.hubStatus()
	default:
		return nil // of a later release
	}
	data, err := json.Marshal(a)
	if err != nil {
		return nil
	}
	return data
}

// answers are those of the other hubs, and the names of those that gave none.
type answers[T any] struct {
	list   []T
	silent []string
}

// askAll puts one question to all other hubs at once.
func askAll[T any](ctx context.Context, f *Feed, q question) answers[T] {
	return eachPeer(f, func(p log.Peer) (T, error) { return ask[T](ctx, f, p, q) })
}

// eachPeer asks all other hubs at once, and waits for all of them. A hub that
// was started again is another one to the log; if its earlier run says
// nothing, that is because it has ended.
func eachPeer[T any](f *Feed, ask func(log.Peer) (T, error)) (a answers[T]) {
	peers := f.hubs.Present()
	got := make([]T, len(peers))
	errs := make([]error, len(peers))
	var asking sync.WaitGroup
	for i, p := range peers {
		asking.Go(func() { got[i], errs[i] = ask(p) })
	}
	asking.Wait()
	for i, p := range peers {
		switch {
		case errs[i] == nil:
			a.list = append(a.list, got[i])
		case !p.Replaced:
			a.silent = append(a.silent, p.Name)
		}
	}
	return a
}

func ask[T any](ctx context.Context, f *Feed, p log.Peer, q question) (t T, err error) {
	q.Epoch = f.log.Epoch()
	data, err := json.Marshal(q)
	if err != nil {
		return t, err
	}
	if data, err = f.hubs.Ask(ctx, p, data); err != nil {
		return t, err
	}
	return t, json.Unmarshal(data, &t)
}
