package feed

import (
	"bytes"
	"crypto/tls"
	"errors"
	"io"
	"net"
	"sync"
	"testing"
	"time"
)

// wire is one end of a connection, and counts how often it is written to.
type wire struct {
	net.Conn

	mu     sync.Mutex
	writes int   // guarded by mu
	fail   error // guarded by mu: what writes return from now on
}

func (w *wire) Write(b []byte) (int, error) {
	w.mu.Lock()
	w.writes++
	err := w.fail
	w.mu.Unlock()
	if err != nil {
		return 0, err
	}
	return w.Conn.Write(b)
}

func (w *wire) Accept() (net.Conn, error) { return w, nil }
func (w *wire) Addr() net.Addr            { return w.LocalAddr() }

// secretLine is TLS over a wire, with a reader at its other end.
type secretLine struct {
	*testing.T
	wire   *wire
	secret *tls.Conn
	gather *gatherer
	reader *tls.Conn
	room   gatherRoom
}

func newSecretLine(t *testing.T) *secretLine {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	far, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	near, err := l.Accept()
	if err != nil {
		t.Fatal(err)
	}
	s := &secretLine{T: t, wire: &wire{Conn: near}, room: newGatherRoom(1)}
	gathering, err := Gathering(s.wire).Accept()
	if err != nil {
		t.Fatal(err)
	}
	s.gather = gathering.(*gatherer)
	s.secret = tls.Server(gathering, &tls.Config{Certificates: []tls.Certificate{(&world{TB: t}).certificate()}, DynamicRecordSizingDisabled: true})
	s.reader = tls.Client(far, &tls.Config{InsecureSkipVerify: true})
	t.Cleanup(func() { far.Close(); near.Close() })
	var shook sync.WaitGroup
	shook.Go(func() {
		if err := s.secret.Handshake(); err != nil {
			t.Error(err)
		}
	})
	if err := s.reader.Handshake(); err != nil {
		t.Fatal(err)
	}
	shook.Wait()
	return s
}

// send sends b, has the reader read it, and returns how many writes it took.
func (s *secretLine) send(b []byte) (writes int) {
	s.Helper()
	s.wire.mu.Lock()
	before := s.wire.writes
	s.wire.mu.Unlock()
	var reading sync.WaitGroup
	reading.Go(func() {
		got := make([]byte, len(b))
		_ = s.reader.SetReadDeadline(time.Now().Add(20 * time.Second))
		if _, err := io.ReadFull(s.reader, got); err != nil || !bytes.Equal(got, b) {
			s.Errorf("the reader did not get what was sent: %v", err)
		}
	})
	if n, err := s.gather.send(s.secret, b, s.room); n != len(b) || err != nil {
		s.Errorf("%d of %d sent: %v", n, len(b), err)
	}
	reading.Wait()
	s.wire.mu.Lock()
	defer s.wire.mu.Unlock()
	return s.wire.writes - before
}

func TestRecordsAreGathered(t *testing.T) {
	s := newSecretLine(t)
	long := bytes.Repeat([]byte("0123456789abcdef"), 40*tlsRecord/16) // 40 records
	if writes := s.send(long); writes != 5 {
		t.Errorf("40 records took %d writes, want 5", writes)
	}
	if writes := s.send(long[:10]); writes != 1 {
		t.Errorf("a short text took %d writes", writes)
	}
	// Nothing is kept back, and what is written otherwise goes at once.
	if _, err := s.secret.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if _, err := io.ReadFull(s.reader, make([]byte, 1)); err != nil {
		t.Fatal(err)
	}

	// Others have all the room: it goes on, less quickly.
	buf := s.room.take()
	if s.room.take() != nil {
		t.Error("there is more room than there should be")
	}
	if writes := s.send(long); writes != 40 {
		t.Errorf("40 records took %d writes without room to gather", writes)
	}
	s.room.give(buf)
	if writes := s.send(long); writes != 5 {
		t.Errorf("40 records took %d writes once there was room again", writes)
	}
}

// What could not be sent is not taken for sent, whichever write it was that
// failed, and the room is given back.
func TestGatheredWritesFail(t *testing.T) {
	for _, size := range []int{2 * tlsRecord, 40 * tlsRecord} { // in the last write, and before
		s := newSecretLine(t)
		s.wire.mu.Lock()
		s.wire.fail = errors.New("the cable is out")
		s.wire.mu.Unlock()
		if n, err := s.gather.send(s.secret, make([]byte, size), s.room); n != 0 || !errors.Is(err, s.wire.fail) {
			t.Errorf("%d bytes: %d sent, %v", size, n, err)
		}
		if s.room.take() == nil {
			t.Error("the room is not given back")
		}
	}
}
