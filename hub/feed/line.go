package feed

import (
	"bytes"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"os"
	"syscall"
	"time"
)

// line is a connection that was taken from the HTTP server, and the stream on
// it. Its writer owns it, but for the time in which it is out: then a
// goroutine of its own does, which writes what would have blocked the writer.
type line struct {
	stream

	// Set once.
	conn   net.Conn
	secret *tls.Conn       // conn, if it is one
	gather *gatherer       // beneath secret; nil if something else is
	raw    syscall.RawConn // the socket beneath; nil if it can't be had
	direct bool            // what is written to raw is what the reader gets
	valid  func() bool     // nil: always
	writer *writer

	// The writer's, always.
	out     bool
	known   bool   // it is among the writer's lines, or was
	gone    bool   // it was dropped
	slot    int    // of the writer's slots
	index   int    // in its slot
	over    string // why the line was cut while it was out
	leaveAt time.Time

	// Whoever owns the line.
	sentAt time.Time // about
	heard  bool      // the reader has sent something that only secret can read
	why    string    // the stream has ended
}

// hijack takes the connection of a request from the HTTP server; nil if that
// can't be done, and then nothing was. Of HTTP/1.1 it takes what has no body:
// whatever else the reader sends is not for us.
func hijack(w http.ResponseWriter, r *http.Request) net.Conn {
	if r.ProtoMajor != 1 || r.ProtoMinor != 1 || r.Method != http.MethodGet || r.ContentLength != 0 {
		return nil
	}
	conn, _, err := http.NewResponseController(w).Hijack()
	if err != nil {
		return nil
	}
	return conn
}

// head is the head of an answer that lasts until the connection is closed
// (RFC 9112 section 6.3), with the headers that handlers have set.
func head(h http.Header) []byte {
	h = h.Clone()
	h.Set("Date", time.Now().UTC().Format(http.TimeFormat))
	h.Set("Connection", "close")
	var b bytes.Buffer
	b.WriteString("HTTP/1.1 200 OK\r\n")
	_ = h.Write(&b) // a buffer takes everything
	b.WriteString("\r\n")
	return b.Bytes()
}

// newLine makes a line, which is out. A connection that has a system's socket,
// as syscall.Conn says, has to send by its Write what it is given, and nothing
// else.
func newLine(s stream, conn net.Conn, valid func() bool, w *writer) *line {
	l := &line{stream: s, conn: conn, valid: valid, writer: w, out: true}
	if l.secret, _ = conn.(*tls.Conn); l.secret != nil {
		conn = l.secret.NetConn()
		l.gather, _ = conn.(*gatherer)
	}
	if c, ok := conn.(syscall.Conn); ok && socketsTry {
		if raw, err := c.SyscallConn(); err == nil {
			l.raw = raw
		}
	}
	l.direct = l.raw != nil && l.secret == nil
	return l
}

// push writes what the reader has not got, for as long as that takes, and
// gives the line back to its writer.
func (l *line) push() {
	if l.why = l.catchUp(); l.why == drainedOff {
		l.conn.Close() // as TLS wants it
	} else if l.why != "" {
		l.cut()
	}
	l.writer.back(l)
}

// catchUp returns "" when the reader has everything, or why the stream ends.
func (l *line) catchUp() (why string) {
	if l.heard && !l.hearSecret() {
		return readerGone
	}
	var buf [][]byte
	for {
		v, ok := l.feed.frames.from(l.offset, l.tickNo, buf[:0])
		if !ok {
			return fellBehind
		}
		if buf = v.records; len(l.rest) == 0 && len(v.records) == 0 && v.tick == nil {
			// Where no goroutine waits, a deadline would stop the next write.
			_ = l.conn.SetWriteDeadline(time.Time{})
			return ""
		}
		switch err := l.send(v, l.write); {
		case errors.Is(err, os.ErrDeadlineExceeded):
			return writeFailed
		case err != nil:
			return readerGone
		case l.last:
			return drainedOff
		}
		l.sentAt = time.Now()
	}
}

// write sends a piece, which has a deadline of its own.
func (l *line) write(b []byte) (int, error) {
	_ = l.conn.SetWriteDeadline(time.Now().Add(l.feed.cfg.WriteTimeout))
	if l.gather != nil && len(b) > tlsRecord {
		return l.gather.send(l.secret, b, l.feed.lines.room)
	}
	return l.conn.Write(b)
}

// hearSecret reads what has come over TLS, to see whether it is the end. The
// rest is for nobody. A record of which a part has come is not waited for.
func (l *line) hearSecret() bool {
	l.heard = false
	var b [512]byte
	_ = l.conn.SetReadDeadline(time.Now().Add(hearFor))
	_, err := l.conn.Read(b[:])
	// A deadline that has passed would be met by the next look at the socket.
	_ = l.conn.SetReadDeadline(time.Time{})
	return err == nil || errors.Is(err, os.ErrDeadlineExceeded)
}

const hearFor = 10 * time.Millisecond

// cut closes the connection at once, whatever is under way on it. It may be
// called by any goroutine, and again.
func (l *line) cut() {
	if l.secret != nil {
		l.secret.NetConn().Close() // secret itself would wait for its last words
		return
	}
	l.conn.Close()
}
