package feed

import (
	"context"
	"errors"
	"runtime"
	"sync"
	"time"
)

// writer writes on its share of the lines.
type writer struct {
	feed *Feed
	wake chan struct{} // there is something in the inbox

	mu     sync.Mutex
	inbox  []*line // guarded by mu: lines that are new, and lines that come back
	closed bool    // guarded by mu: no new line is taken

	// The rest is run's.
	slots    [slots][]*line // a line stays in its slot, and its times with it
	known    int            // lines in the slots, those that are out among them
	fill     int            // the slot for the next new line
	spare    []*line        // the inbox to be
	look     *time.Ticker   // one slot is due each time; stopped while there are no lines
	lookAt   time.Time      // when the next slot is due
	due      int            // that slot
	draining bool
	now      time.Time // about
	socket   socket

	// What the line served last was to get, for most are at the same place.
	view   view
	offset int64
	tickNo uint64
	viewed bool
}

const (
	// slots spreads the looks at a writer's lines, and so the heartbeats,
	// evenly over the time between two looks at one line.
	slots = 16
	// visit is how many bytes a writer gives one line before it sees to the
	// next; a line that needs more goes out.
	visit = 1 << 20
	// turn is how many lines a writer sees to before others get the processor
	// that it runs on: those who append, for example. It is about 0.1 ms.
	turn = 16
	// leaveSteps is how evenly lines leave over the window of a drain.
	leaveSteps = 64
)

func newWriter(f *Feed) *writer {
	w := &writer{feed: f, wake: make(chan struct{}, 1), look: time.NewTicker(time.Hour)}
	w.look.Stop()
	w.socket.init()
	return w
}

// adopt takes a new line, which is out; it refuses with false when the feed
// is closed.
func (w *writer) adopt(l *line) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return false
	}
	w.put(l)
	return true
}

// back takes a line that was out.
func (w *writer) back(l *line) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.put(l)
}

// put is called with mu held.
func (w *writer) put(l *line) {
	w.inbox = append(w.inbox, l)
	select {
	case w.wake <- struct{}{}:
	default: // it will look
	}
}

// run serves the lines until ctx ends, and returns when there are none left.
func (w *writer) run(ctx context.Context) {
	defer w.look.Stop()
	drain := w.feed.drain
	var leave <-chan time.Time
	// Who is served after this was asked for has what came before it.
	changed := w.feed.frames.watch()
	for {
		watched := changed
		if w.known == 0 {
			watched = nil
		}
		select {
		case <-watched:
			changed = w.feed.frames.watch()
			w.begin()
			w.serveAll()
		case <-w.wake:
			w.begin()
			w.takeIn()
		case <-w.look.C:
			w.begin()
			w.lookAround()
		case <-drain:
			drain, w.draining = nil, true
			step := time.NewTicker(max(w.feed.window/leaveSteps, time.Millisecond))
			defer step.Stop()
			leave = step.C
			w.begin()
			w.each(w.dismiss)
		case <-leave:
			w.begin()
			w.each(w.sendAway)
		case <-ctx.Done():
			w.shut()
			return
		}
	}
}

// begin begins to do something: what was seen before is old.
func (w *writer) begin() {
	w.now, w.viewed = time.Now(), false
	clear(w.view.records) // it may keep much alive
}

// each calls do for each line; do may take that line away.
func (w *writer) each(do func(*line)) {
	n := 0
	for s := range w.slots {
		for i := len(w.slots[s]) - 1; i >= 0; i-- {
			do(w.slots[s][i])
			if n++; n%turn == 0 {
				runtime.Gosched()
			}
		}
	}
}

// serveAll gives each line what is new. Whatever comes meanwhile is given to
// all of them the next time, in one piece.
func (w *writer) serveAll() { w.each(w.serve) }

// serve gives a line what is new, unless it is out.
func (w *writer) serve(l *line) {
	if l.out {
		return
	}
	if !w.viewed || w.offset != l.offset || w.tickNo != l.tickNo {
		v, ok := w.feed.frames.from(l.offset, l.tickNo, w.view.records[:0])
		if !ok {
			w.drop(l, fellBehind)
			return
		}
		w.view, w.offset, w.tickNo, w.viewed = v, l.offset, l.tickNo, true
	}
	if len(l.rest) == 0 && len(w.view.records) == 0 && w.view.tick == nil {
		return
	}
	if !l.direct || w.view.end-l.offset > visit {
		w.sendOut(l)
		return
	}
	w.socket.raw = l.raw
	switch err := l.send(w.view, w.socket.write); {
	case err == nil:
		l.sentAt = w.now
	case errors.Is(err, errWouldBlock):
		w.sendOut(l)
	default:
		w.drop(l, readerGone)
	}
}

// sendOut leaves a line to a goroutine of its own until it comes back.
func (w *writer) sendOut(l *line) {
	l.out = true
	go l.push() // ends with the line's being put into the inbox, for which shut waits
}

// takeIn sees to the lines in the inbox.
func (w *writer) takeIn() {
	w.mu.Lock()
	in := w.inbox
	w.inbox = w.spare
	w.mu.Unlock()
	for _, l := range in {
		switch {
		case !l.known:
			w.add(l)
		case l.over != "":
			w.drop(l, l.over)
		case l.why != "":
			w.drop(l, l.why)
		default:
			l.out = false
			w.serve(l)
		}
	}
	clear(in)
	w.spare = in[:0]
}

func (w *writer) add(l *line) {
	if w.known == 0 {
		w.lookAt = w.now
		w.look.Reset(w.lookEvery() / slots)
	}
	l.known = true
	l.slot = w.fill
	w.fill = (w.fill + 1) % slots
	l.index = len(w.slots[l.slot])
	w.slots[l.slot] = append(w.slots[l.slot], l)
	w.known++
	if w.draining {
		w.dismiss(l)
	}
}

// drop ends the stream on a line that nobody else writes on.
func (w *writer) drop(l *line, why string) {
	s := w.slots[l.slot]
	last := len(s) - 1
	s[l.index] = s[last]
	s[l.index].index = l.index
	s[last] = nil
	w.slots[l.slot] = s[:last]
	if w.known--; w.known == 0 {
		w.look.Stop()
	}
	l.gone = true
	l.cut()
	l.end(why)
}

// cut ends the stream on a line, when it comes back if it is out.
func (w *writer) cut(l *line, why string) {
	if !l.out {
		w.drop(l, why)
	} else if l.over == "" {
		l.over = why
		l.cut()
	}
}

// lookEvery is how often each line is looked at: four times in the time in
// which something is promised to it, and once a second for the credential's
// sake.
func (w *writer) lookEvery() time.Duration { return min(w.feed.cfg.Heartbeat/4, time.Second) }

// lookAround looks at the lines in the slots that are due.
func (w *writer) lookAround() {
	for range slots {
		if w.lookAt.After(w.now) {
			return
		}
		w.lookAt = w.lookAt.Add(w.lookEvery() / slots)
		s := w.slots[w.due]
		for i := len(s) - 1; i >= 0; i-- {
			w.lookAtLine(s[i])
		}
		w.due = (w.due + 1) % slots
	}
	w.lookAt = w.now // it has been away for longer than all of them take
}

// lookAtLine sees whether a stream should end, and whether it needs a
// heartbeat: whether the next look would find it with less than an eighth of
// the promised time left. Where a tick comes in half of that time, as it does
// by default, none is ever needed.
func (w *writer) lookAtLine(l *line) {
	if l.valid != nil && !l.valid() {
		w.cut(l, credentialOver)
		return
	}
	if l.out {
		return
	}
	if l.raw != nil {
		switch n, err := w.socket.hear(l.raw, l.secret != nil); {
		case err != nil:
			w.drop(l, readerGone)
			return
		case n > 0 && l.secret != nil:
			l.heard = true
			w.sendOut(l)
			return
		}
	}
	if w.now.Sub(l.sentAt)+w.lookEvery() > w.feed.cfg.Heartbeat*7/8 {
		l.rest = heartbeat
		w.serve(l)
	}
}

// dismiss decides when a line is to leave.
func (w *writer) dismiss(l *line) { l.leaveAt = w.now.Add(w.feed.leaveAfter()) }

// sendAway tells a line whose time has come to leave. A goroutine of its own
// says it, and closes the connection in good manner.
func (w *writer) sendAway(l *line) {
	if l.leaveAt.After(w.now) {
		return
	}
	if w.serve(l); !l.out && !l.gone {
		l.leave()
		w.sendOut(l)
	}
}

// shut takes no new lines, cuts all that there are, and waits for those that
// are out.
func (w *writer) shut() {
	w.mu.Lock()
	w.closed = true
	w.mu.Unlock()
	for {
		w.begin()
		w.takeIn()
		w.each(func(l *line) { w.cut(l, feedClosed) })
		if w.known == 0 {
			return
		}
		<-w.wake
	}
}
