package main

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http/httputil"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"
)

// sender sends revocations over one connection, the next when the last is
// answered. It costs next to nothing, for it shares its processors with the
// hub that it measures: the bytes of a request are made once, and from one to
// the next only the jtis change.
type sender struct {
	conn    net.Conn
	answers *bufio.Reader
	request []byte
	jtis    [][]byte // places in request
}

// jtiNo numbers the revocations of all senders.
var jtiNo atomic.Int64

const jtiWidth = 20

// sendTimeout is how long an answer is waited for: a disk may stall, but a
// measurement that hangs says nothing.
const sendTimeout = time.Minute

// newSender connects to a hub, to revoke n tokens in each request.
func (h *servedHub) newSender(ctx context.Context, n int, exp time.Time) (*sender, error) {
	var one strings.Builder
	for i := range n {
		if i > 0 {
			one.WriteByte(',')
		}
		fmt.Fprintf(&one, `{"target":{"kind":"token","iss":%q,"value":"%0*d"},"expires_at":%q,"reason":"logout"}`,
			issuer, jtiWidth, 0, exp.UTC().Format(time.RFC3339))
	}
	body := one.String()
	if n > 1 {
		body = `{"revocations":[` + body + `]}`
	}
	addr := strings.TrimPrefix(h.url, "http://")
	s := &sender{request: fmt.Appendf(nil, "POST /v1/revocations HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\n\r\n%s", addr, adminKey, len(body), body)}
	zeros := []byte(`"value":"` + strings.Repeat("0", jtiWidth))
	for rest := s.request; ; {
		_, after, ok := bytes.Cut(rest, zeros)
		if !ok {
			break
		}
		s.jtis = append(s.jtis, s.request[len(s.request)-len(after)-jtiWidth:][:jtiWidth])
		rest = after
	}
	var d net.Dialer
	var err error
	if s.conn, err = d.DialContext(ctx, "tcp", addr); err != nil {
		return nil, err
	}
	s.answers = bufio.NewReaderSize(s.conn, 64<<10)
	return s, nil
}

func (s *sender) close() { s.conn.Close() }

// senders are connections to a hub, of which each call uses one alone.
type senders struct {
	connect func(context.Context) (*sender, error)

	mu   sync.Mutex
	idle []*sender // guarded by mu
}

// newSenders are to revoke n tokens in each request.
func (h *servedHub) newSenders(n int, exp time.Time) *senders {
	return &senders{connect: func(ctx context.Context) (*sender, error) { return h.newSender(ctx, n, exp) }}
}

func (p *senders) send(ctx context.Context) (seq uint64, err error) {
	var s *sender
	p.mu.Lock()
	if n := len(p.idle); n > 0 {
		s, p.idle = p.idle[n-1], p.idle[:n-1]
	}
	p.mu.Unlock()
	if s == nil {
		if s, err = p.connect(ctx); err != nil {
			return 0, err
		}
	}
	if seq, err = s.send(); err != nil {
		s.close()
		return 0, err
	}
	p.mu.Lock()
	p.idle = append(p.idle, s)
	p.mu.Unlock()
	return seq, nil
}

// close is for when nothing is being sent any more.
func (p *senders) close() {
	for _, s := range p.idle {
		s.close()
	}
}

// send revokes as many tokens as no sender has before, and returns the record
// that holds them.
func (s *sender) send() (seq uint64, err error) {
	last := jtiNo.Add(int64(len(s.jtis)))
	for i, jti := range s.jtis {
		for n, at := last-int64(i), len(jti)-1; at >= 0; n, at = n/10, at-1 {
			jti[at] = byte('0' + n%10)
		}
	}
	if err := s.conn.SetDeadline(time.Now().Add(sendTimeout)); err != nil {
		return 0, err
	}
	if _, err := s.conn.Write(s.request); err != nil {
		return 0, fmt.Errorf("send revocations: %w", err)
	}
	if seq, err = s.answer(); err != nil {
		return 0, fmt.Errorf("read the answer to revocations: %w", err)
	}
	return seq, nil
}

// answer reads an answer, whose status has to be 201.
func (s *sender) answer() (seq uint64, err error) {
	status, err := s.answers.ReadSlice('\n')
	if err != nil {
		return 0, err
	}
	if !bytes.HasPrefix(status, []byte("HTTP/1.1 201 ")) {
		return 0, fmt.Errorf("the answer is %s", bytes.TrimSpace(status))
	}
	length := -1
	for {
		line, err := s.answers.ReadSlice('\n')
		if err != nil {
			return 0, err
		}
		if line = bytes.TrimSpace(line); len(line) == 0 {
			break
		}
		if value, ok := bytes.CutPrefix(line, []byte("Content-Length: ")); ok {
			if length, err = strconv.Atoi(string(value)); err != nil {
				return 0, err
			}
		}
	}
	// The seq comes last.
	end := tail{}
	if length >= 0 {
		_, err = io.CopyN(&end, s.answers, int64(length))
	} else if _, err = io.Copy(&end, httputil.NewChunkedReader(s.answers)); err == nil {
		_, err = s.answers.ReadSlice('\n') // after the trailer, of which there is none
	}
	if err != nil {
		return 0, err
	}
	_, text, ok := strings.Cut(string(end.last), `"seq":`)
	if !ok {
		return 0, errors.New("the answer has no seq")
	}
	text, _, _ = strings.Cut(text, "}")
	return strconv.ParseUint(text, 10, 64)
}

// tail keeps the end of what is written to it.
type tail struct{ last []byte }

const tailSize = 64

func (t *tail) Write(b []byte) (int, error) {
	t.last = append(t.last, b[max(0, len(b)-tailSize):]...)
	t.last = t.last[max(0, len(t.last)-tailSize):]
	return len(b), nil
}
