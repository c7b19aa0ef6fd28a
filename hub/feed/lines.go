package feed

import (
	"context"
	"net/http"
	"runtime"
	"sync"
	"sync/atomic"
)

// lines are the streams whose connections were taken from the HTTP server. A
// few goroutines write on all of them, so that a reader for whom there is
// nothing to do costs a few hundred bytes, and a record costs each reader one
// write(2).
//
// # Who writes
//
// A line is begun by the goroutine of its request, which sends the hello and
// what the reader has missed. Then it belongs to one of the writers, who asks
// the system to take what is new without waiting. If the system can't take
// all of it, because the reader has not read what came before, the line goes
// out: a goroutine of its own waits for the reader, a deadline for each piece,
// and brings the line back when the reader has everything. Over TLS nothing
// can be written without perhaps waiting, so there a line goes out for each
// write, and the records of a long one are gathered. No writer ever waits for a
// reader.
//
// # Who notices that a reader has gone
//
// Nobody reads from a line. Each is looked at now and then, at a time of its
// own: has the reader closed it, is the credential still good, is it time for
// a heartbeat. What a reader sends is thrown away as it is found.
type lines struct {
	writers []*writer
	next    atomic.Uint32 // whose turn it is to get a line
	room    gatherRoom    // for lines over TLS
}

// gatherers is how many lines of each processor gather at once: 1 MiB for each.
const gatherers = 8

// newLines makes one writer for each processor that Go may use.
func newLines(f *Feed) *lines {
	ls := &lines{room: newGatherRoom(gatherers * runtime.GOMAXPROCS(0))}
	for range runtime.GOMAXPROCS(0) {
		ls.writers = append(ls.writers, newWriter(f))
	}
	return ls
}

// run writes until ctx ends; then it cuts all lines that are left and returns
// when nobody writes on them any more.
func (ls *lines) run(ctx context.Context) {
	var running sync.WaitGroup
	for _, w := range ls.writers {
		running.Go(func() { w.run(ctx) })
	}
	running.Wait()
}

// take carries a stream on the connection of its request, if that can be
// taken. It returns when the reader has what there was.
func (ls *lines) take(w http.ResponseWriter, r *http.Request, s stream, valid func() bool) bool {
	s.rest = append(head(w.Header()), s.rest...)
	conn := hijack(w, r)
	if conn == nil {
		return false
	}
	l := newLine(s, conn, valid, ls.writers[int(ls.next.Add(1))%len(ls.writers)])
	if l.writer.adopt(l) {
		l.push()
	} else {
		l.cut()
		l.end(feedClosed)
	}
	return true
}
