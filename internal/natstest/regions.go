package natstest

import (
	"context"
	"fmt"
	"net"
	"net/url"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
)

// The JetStream domains of Regions.
const (
	HomeDomain = "home"
	EdgeDomain = "edge"
)

// Regions is a cluster and, in another region, another, whose servers are leaf
// nodes of it. Each has its JetStream domain, and between them is a link that can
// be cut.
type Regions struct {
	Home, Edge *Cluster
	link       *link
}

// StartRegions starts both, with so many servers, and returns when the leaf nodes
// are connected.
func StartRegions(home, edge int) (*Regions, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	r := new(Regions)
	r.Home, err = start(home, func(i int, o *server.Options) {
		o.JetStreamDomain = HomeDomain
		if i == 0 {
			// Not advertised, or the leaf node would find a way round the link.
			o.LeafNode = server.LeafNodeOpts{Host: "127.0.0.1", Port: ports[0], NoAdvertise: true}
		}
	})
	if err != nil {
		return nil, err
	}
	if r.link, err = newLink(r.Home.options[0].LeafNode.Port); err != nil {
		r.Shutdown()
		return nil, err
	}
	r.Edge, err = start(edge, func(i int, o *server.Options) {
		o.ServerName, o.Cluster.Name, o.JetStreamDomain = fmt.Sprintf("e%d", i), "edge", EdgeDomain
		if edge == 1 {
			o.Cluster.Name = "" // it is none
		}
		o.LeafNode.ReconnectInterval = retry
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{r.link.url()}}}
	})
	if err == nil {
		err = eventually("the leaf nodes are connected", r.Linked)
	}
	if err != nil {
		r.Shutdown()
		return nil, err
	}
	return r, nil
}

// Linked reports whether all leaf nodes that run are connected.
func (r *Regions) Linked() bool {
	for i := range r.Edge.options {
		if s := r.Edge.Server(i); s != nil && s.NumLeafNodes() == 0 {
			return false
		}
	}
	return true
}

// Cut cuts the link, and returns when home has noticed. The other end has by
// then: it is a reset to both.
func (r *Regions) Cut() error {
	r.link.cut(true)
	return eventually("the leaf nodes are cut off", func() bool { return r.Home.Server(0).NumLeafNodes() == 0 && !r.Linked() })
}

// Heal lets the link work again, and returns when it does.
func (r *Regions) Heal() error {
	r.link.cut(false)
	return eventually("the leaf nodes are connected again", r.Linked)
}

// Stall has the link hand on nothing, and say nothing about it, until Flow: then
// all of it arrives, late.
func (r *Regions) Stall() { r.link.stall(true) }

// Flow ends Stall.
func (r *Regions) Flow() { r.link.stall(false) }

// Hold has the mirror of a stream at home get nothing more, while its servers
// believe that there is nothing to get, until it is let go. Home has to be one
// server: a cluster can't be asked to pause that consumer.
func (r *Regions) Hold(ctx context.Context, stream string) (letGo func() error, err error) {
	name, err := r.mirrorer(stream)
	if err != nil {
		return nil, err
	}
	js, nc, err := r.Home.JetStream()
	if err != nil {
		return nil, err
	}
	if _, err := js.PauseConsumer(ctx, stream, name, time.Now().Add(time.Hour)); err != nil {
		nc.Close()
		return nil, err
	}
	return func() error {
		defer nc.Close()
		_, err := js.ResumeConsumer(ctx, stream, name)
		return err
	}, nil
}

// mirrorer is the consumer of a mirror, which no list of consumers has.
func (r *Regions) mirrorer(stream string) (name string, err error) {
	info, err := r.Home.Server(0).Jsz(&server.JSzOptions{Streams: true, Consumer: true, DirectConsumer: true})
	if err != nil {
		return "", err
	}
	for _, a := range info.AccountDetails {
		for _, s := range a.Streams {
			if s.Name == stream && len(s.DirectConsumer) == 1 {
				return s.DirectConsumer[0].Name, nil
			}
		}
	}
	return "", fmt.Errorf("natstest: nobody mirrors %s", stream)
}

// Shutdown stops all servers and removes their data.
func (r *Regions) Shutdown() {
	for _, c := range []*Cluster{r.Edge, r.Home} {
		if c != nil {
			c.Shutdown()
		}
	}
	if r.link != nil {
		r.link.close()
	}
}

// link hands on what it gets on a port to another.
type link struct {
	listener net.Listener
	to       string
	wg       sync.WaitGroup

	mu      sync.Mutex
	dead    bool                  // guarded by mu
	stalled bool                  // guarded by mu
	changed *sync.Cond            // of mu: dead or stalled
	conns   map[net.Conn]struct{} // guarded by mu: both sides of each
}

func newLink(port int) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{listener: l, to: (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String(), conns: make(map[net.Conn]struct{})}
	k.changed = sync.NewCond(&k.mu)
	k.wg.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			k.wg.Go(func() { k.carry(c) })
		}
	})
	return k, nil
}

func (k *link) url() *url.URL {
	return &url.URL{Scheme: "nats-leaf", Host: k.listener.Addr().String()}
}

// carry hands on one connection until either side ends it.
func (k *link) carry(in net.Conn) {
	defer in.Close()
	out, err := net.Dial("tcp", k.to)
	if err != nil || !k.add(in, out) {
		return
	}
	defer out.Close()
	back := make(chan struct{})
	go func() {
		defer close(back)
		k.hand(in, out)
		in.Close()
	}()
	k.hand(out, in)
	out.Close()
	<-back
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, in)
	delete(k.conns, out)
}

// hand hands on what one side says to the other, until either ends.
func (k *link) hand(to, from net.Conn) {
	b := make([]byte, 64<<10)
	for {
		n, err := from.Read(b)
		k.mu.Lock()
		for k.stalled && !k.dead {
			k.changed.Wait()
		}
		k.mu.Unlock()
		if n > 0 {
			if _, err := to.Write(b[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

func (k *link) stall(stalled bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.stalled = stalled
	k.changed.Broadcast()
}

func (k *link) add(conns ...net.Conn) bool {
	k.mu.Lock()
	defer k.mu.Unlock()
	for _, c := range conns {
		if k.dead {
			c.Close()
		} else {
			k.conns[c] = struct{}{}
		}
	}
	return !k.dead
}

func (k *link) cut(dead bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.dead = dead
	k.changed.Broadcast()
	for c := range k.conns {
		if dead {
			c.Close()
		}
	}
}

func (k *link) close() {
	k.listener.Close()
	k.cut(true)
	k.wg.Wait()
}
