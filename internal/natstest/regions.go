package natstest

import (
	"context"
	"fmt"
	"io"
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

// Regions is a cluster and, in another region, a server of its own that is a
// leaf node of it. Each has its JetStream domain, and between them is a link
// that can be cut.
type Regions struct {
	Home, Edge *Cluster
	link       *link
}

// StartRegions starts both, with n servers at home, and returns when the leaf
// node is connected.
func StartRegions(n int) (*Regions, error) {
	ports, err := freePorts(1)
	if err != nil {
		return nil, err
	}
	r := new(Regions)
	r.Home, err = start(n, func(i int, o *server.Options) {
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
	r.Edge, err = start(1, func(_ int, o *server.Options) {
		o.ServerName, o.JetStreamDomain = "e0", EdgeDomain
		o.LeafNode.ReconnectInterval = retry
		o.LeafNode.Remotes = []*server.RemoteLeafOpts{{URLs: []*url.URL{r.link.url()}}}
	})
	if err == nil {
		err = eventually("the leaf node is connected", r.Linked)
	}
	if err != nil {
		r.Shutdown()
		return nil, err
	}
	return r, nil
}

// Linked reports whether the leaf node is connected.
func (r *Regions) Linked() bool {
	s := r.Edge.Server(0)
	return s != nil && s.NumLeafNodes() > 0
}

// Cut cuts the link, and returns when both ends have noticed.
func (r *Regions) Cut() error {
	r.link.cut(true)
	return eventually("the leaf node is cut off", func() bool { return !r.Linked() && r.Home.Server(0).NumLeafNodes() == 0 })
}

// Heal lets the link work again, and returns when it does.
func (r *Regions) Heal() error {
	r.link.cut(false)
	return eventually("the leaf node is connected again", r.Linked)
}

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

	mu    sync.Mutex
	dead  bool                  // guarded by mu
	conns map[net.Conn]struct{} // guarded by mu: both sides of each
}

func newLink(port int) (*link, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	k := &link{listener: l, to: (&net.TCPAddr{IP: net.IPv4(127, 0, 0, 1), Port: port}).String(), conns: make(map[net.Conn]struct{})}
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
		_, _ = io.Copy(in, out)
		in.Close()
	}()
	_, _ = io.Copy(out, in)
	out.Close()
	<-back
	k.mu.Lock()
	defer k.mu.Unlock()
	delete(k.conns, in)
	delete(k.conns, out)
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
