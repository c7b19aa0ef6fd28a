package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"sync"
	"time"

	"github.com/coder/websocket"
)

// pushService stores revocations, each synced, and pushes them to whoever has
// a socket open. It numbers nothing: who was away has missed what came.
type pushService struct {
	store   *plain
	handled sync.WaitGroup // sockets: their handlers are not the server's any more

	mu      sync.Mutex
	sockets map[*websocket.Conn]struct{} // guarded by mu
}

type pushedRevocation struct {
	JTI string    `json:"jti"`
	Exp time.Time `json:"exp"`
}

func (p *pushService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path == "/feed" {
		p.feed(w, r)
		return
	}
	message, err := json.Marshal(pushedRevocation{r.PostFormValue("jti"), time.Now().Add(time.Hour)})
	if err == nil {
		err = p.store.put(r.Context(), message)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for socket := range p.sockets {
		_ = socket.Write(r.Context(), websocket.MessageText, message) // it is closed then, which feed sees
	}
}

func (p *pushService) feed(w http.ResponseWriter, r *http.Request) {
	p.handled.Add(1)
	defer p.handled.Done()
	socket, err := websocket.Accept(w, r, nil)
	if err != nil {
		return
	}
	defer socket.CloseNow()
	gone := socket.CloseRead(context.WithoutCancel(r.Context()))
	p.mu.Lock()
	p.sockets[socket] = struct{}{}
	p.mu.Unlock()
	<-gone.Done()
	p.mu.Lock()
	delete(p.sockets, socket)
	p.mu.Unlock()
}

func (p *pushService) connected() bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.sockets) > 0
}

// pushedList is a deny list that is told over a socket.
type pushedList struct {
	mu      sync.RWMutex
	revoked map[string]time.Time // guarded by mu
}

func (l *pushedList) add(r pushedRevocation) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.revoked[r.JTI] = r.Exp
}

func (l *pushedList) listed(b bearer) check {
	return func(context.Context) (bool, error) {
		l.mu.RLock()
		exp, ok := l.revoked[b.jti]
		l.mu.RUnlock()
		return ok && time.Now().Before(exp), nil
	}
}

// follow reads until the socket ends.
func (l *pushedList) follow(socket *websocket.Conn) {
	for {
		_, message, err := socket.Read(context.Background())
		if err != nil {
			return
		}
		var r pushedRevocation
		if json.Unmarshal(message, &r) == nil {
			l.add(r)
		}
	}
}

// startWebSocket starts a service that pushes over WebSocket, and a deny list
// that follows it. The list begins complete, as that of the poller.
func startWebSocket(s *suite, _ keyring) (_ []*strategy, err error) {
	const name = "push over WebSocket"
	s.step(name)
	store, err := startPlain(s)
	if err != nil {
		return nil, err
	}
	service := &pushService{store: store, sockets: make(map[*websocket.Conn]struct{})}
	server, err := startWeb(service)
	if err != nil {
		store.close()
		return nil, err
	}
	end := func() error {
		err := server.close()
		service.handled.Wait()
		store.close()
		return err
	}
	socket, _, err := websocket.Dial(s.ctx, server.url+"/feed", nil)
	if err != nil {
		return nil, errors.Join(err, end())
	}
	list := &pushedList{revoked: make(map[string]time.Time)}
	for i := range s.scale.Standing {
		list.add(pushedRevocation{fmt.Sprint("t", i), time.Now().Add(time.Hour)})
	}
	followed := make(chan struct{})
	go func() { list.follow(socket); close(followed) }()
	closeAll := func() error {
		_ = socket.CloseNow()
		<-followed
		return end()
	}
	if err := until(s.ctx, func() error {
		if !service.connected() {
			return errors.New("the socket is not there")
		}
		return nil
	}); err != nil {
		return nil, errors.Join(err, closeAll())
	}
	return []*strategy{{
		name: name, calls: "0", local: true, close: closeAll,
		down: "what was known stays in force; what is revoked then is missing for good, silently, unless all is loaded again",
		revoke: func(ctx context.Context, jti string) error {
			_, err := server.post(ctx, "/revoke", url.Values{"jti": {jti}})
			return err
		},
		prepare: list.listed,
	}}, nil
}
