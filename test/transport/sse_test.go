package transport_test

import (
	"bufio"
	"bytes"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

const key = "rvk_good"

// sse is HTTP. The man in the middle is a handler around the hub's.
type sse struct {
	w     *world
	sites map[string]*httptest.Server // by hub

	mu      sync.Mutex
	hubs    map[string]http.Handler             // guarded by mu: those that are there
	streams map[http.ResponseWriter]*sync.Mutex // guarded by mu: those that are open
}

func newSSE(w *world) wire {
	s := &sse{w: w, sites: make(map[string]*httptest.Server), hubs: make(map[string]http.Handler), streams: make(map[http.ResponseWriter]*sync.Mutex)}
	for _, id := range []string{"hub-1", "hub-2"} {
		srv := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			s.mu.Lock()
			hub := s.hubs[id]
			s.mu.Unlock()
			switch {
			case hub == nil || w.middle.isDown():
				http.Error(rw, "", http.StatusServiceUnavailable)
			case r.Header.Get("Authorization") != "Bearer "+key:
				http.Error(rw, "", http.StatusUnauthorized)
			default:
				hub.ServeHTTP(rw, r)
			}
		}))
		s.sites[id] = srv
		w.Cleanup(func() {
			srv.CloseClientConnections()
			srv.Close()
		})
	}
	return s
}

func (s *sse) serve(h *hub) func() {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/feed", func(rw http.ResponseWriter, r *http.Request) {
		c := &changing{ResponseWriter: rw, middle: s.w.middle}
		s.mu.Lock()
		s.streams[rw] = &c.mu
		s.mu.Unlock()
		defer func() {
			s.mu.Lock()
			defer s.mu.Unlock()
			delete(s.streams, rw)
		}()
		if err := h.feed.ServeStream(c, r, "tester", nil); err != nil {
			http.Error(rw, "", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /v1/snapshot", func(rw http.ResponseWriter, r *http.Request) {
		if h.feed.ServeSnapshot(rw, r) != nil {
			http.Error(rw, "", http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("POST /v1/feed/report", func(rw http.ResponseWriter, r *http.Request) {
		var report events.Report
		if json.UnmarshalRead(r.Body, &report) != nil {
			http.Error(rw, "", http.StatusBadRequest)
			return
		}
		answer, err := h.feed.Report(r.Context(), "tester", report)
		body, _ := json.Marshal(answer)
		if body = s.w.middle.passAnswer(body); err != nil || body == nil {
			<-r.Context().Done() // held back
			return
		}
		rw.Write(body)
	})
	s.mu.Lock()
	defer s.mu.Unlock()
	s.hubs[h.id] = mux
	return func() { s.kill(h) }
}

func (s *sse) kill(h *hub) {
	s.mu.Lock()
	delete(s.hubs, h.id)
	s.mu.Unlock()
	s.sites[h.id].CloseClientConnections()
}

func (s *sse) follow(c *subscriber.Config, credential bool) {
	c.Hubs, c.Credential = []string{s.sites["hub-1"].URL, s.sites["hub-2"].URL}, key
	if !credential {
		c.Credential = "rvk_wrong"
	}
}

func (s *sse) sever() {
	for _, srv := range s.sites {
		srv.CloseClientConnections()
	}
}

// flood writes comments until a write has to wait.
func (s *sse) flood() {
	s.mu.Lock()
	defer s.mu.Unlock()
	comments := bytes.Repeat([]byte(":\n\n"), 1<<20)
	for rw, mu := range s.streams {
		mu.Lock()
		rc := http.NewResponseController(rw)
		for range 100 {
			rc.SetWriteDeadline(time.Now().Add(time.Second))
			if _, err := rw.Write(comments); err != nil {
				break
			}
		}
		mu.Unlock()
	}
}

// changing is a stream as the man in the middle passes it on.
type changing struct {
	http.ResponseWriter
	middle *middle
	mu     sync.Mutex // one write at a time
	rest   string
}

func (c *changing) Unwrap() http.ResponseWriter { return c.ResponseWriter }

// Hijack gives the connection to nobody: what is written on it passes here.
func (c *changing) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	return nil, nil, http.ErrNotSupported
}

// FlushError is what http.ResponseController calls; a flood is a writer, too.
func (c *changing) FlushError() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return http.NewResponseController(c.ResponseWriter).Flush()
}

func (c *changing) Write(p []byte) (int, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.middle.isDown() {
		return 0, http.ErrHandlerTimeout
	}
	text := c.rest + string(p)
	i := strings.LastIndex(text, "\n\n") + 2
	if i < 2 {
		i = 0
	}
	c.rest = text[i:]
	var b strings.Builder
	for _, e := range eventsIn(text[:i]) {
		b.WriteString(c.middle.pass(e))
	}
	if b.Len() > 0 {
		if _, err := c.ResponseWriter.Write([]byte(b.String())); err != nil {
			return 0, err
		}
	}
	return len(p), nil
}
