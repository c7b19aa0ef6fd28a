package test

import (
	"bufio"
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"io"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/net/http2"
	"golang.org/x/net/http2/hpack"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// honest is a subscriber that shares a hub with whoever attacks it.
type honest struct {
	*trial
	sub *subscriber.Subscriber
}

func (w *world) honest() *honest {
	const within = 3 * time.Second
	sub := w.subscribe(func(c *subscriber.Config) { c.MaxStaleness = within })
	h := &honest{newTrial(w), sub}
	h.pace = 5 * time.Millisecond
	h.observe("honest", sub, within)
	h.produce(1)
	return h
}

// served makes sure that revocations are taken and enforced now.
func (h *honest) served() {
	h.Helper()
	enough := h.acknowledged() + 20
	h.eventually("revocations are taken", func() bool { return h.acknowledged() > enough })
	h.eventually("they are enforced", func() bool {
		h.mu.Lock()
		last := h.claims[len(h.claims)-2].jti
		h.mu.Unlock()
		return h.sub.Status().State == subscriber.Fresh && revokedIn(h.sub, last).Outcome == subscriber.Revoked
	})
}

// dial opens connections that are closed when the test ends.
func (w *world) dial(n int) []net.Conn {
	w.Helper()
	list := make([]net.Conn, n)
	for i := range list {
		var err error
		list[i], err = net.DialTimeout("tcp", w.listen, 30*time.Second)
		w.must(err)
		w.Cleanup(func() { list[i].Close() })
	}
	return list
}

// Promise 6, against those who mean harm: while they do their worst, whoever
// is honest is served, and afterwards everything is in order.
func TestHostileConnections(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	h := w.honest()
	h.served()

	t.Run("slowloris", func(t *testing.T) {
		conns := w.dial(quickOr(200, 5000))
		begun := time.Now()
		var trickling sync.WaitGroup
		for _, c := range conns {
			trickling.Go(func() {
				for i := 0; ; i++ {
					if _, err := fmt.Fprintf(c, "%c", "GET /v1/feed HTTP/1.1\r\nHost: hub\r\nX-A: aaaaaaaaaaaaaaaaaaaaaaaaaa"[min(i, 60)]); err != nil {
						return
					}
					time.Sleep(200 * time.Millisecond)
				}
			})
		}
		h.served()
		for _, c := range conns {
			c.SetReadDeadline(time.Now().Add(30 * time.Second))
			if _, err := io.Copy(io.Discard, c); isTimeout(err) {
				t.Fatal("a connection that trickles its headers is still open")
			}
			c.Close()
		}
		trickling.Wait()
		t.Logf("all were closed after %v", time.Since(begun))
	})

	t.Run("floods of headers", func(t *testing.T) {
		for _, c := range w.dial(20) {
			go func() { // ends when the hub closes, or the test
				fmt.Fprint(c, "GET /v1/status HTTP/1.1\r\nHost: hub\r\n")
				for {
					if _, err := fmt.Fprintf(c, "X-Flood: %s\r\n", strings.Repeat("f", 1000)); err != nil {
						return
					}
				}
			}()
			if status := statusOf(t, c); status != http.StatusRequestHeaderFieldsTooLarge && status != 0 {
				t.Errorf("status %d", status)
			}
			c.Close()
		}
	})

	t.Run("what is too long or no text", func(t *testing.T) {
		long := strings.Repeat("l", 64<<10)
		for _, c := range []struct {
			name, request string
			want          []int
		}{
			{"request line", "GET /" + long + " HTTP/1.1\r\nHost: hub\r\n\r\n", []int{414, 431}},
			{"header", "GET /v1/feed HTTP/1.1\r\nHost: hub\r\nLast-Event-ID: " + long + "\r\n\r\n", []int{431}},
			{"body", post(strings.Repeat("[", 2<<20)), []int{400, 413}},
			{"depth", post(strings.Repeat("[", 500<<10)), []int{400}},
			{"value", post(order(events.KindToken, long)), []int{400}},
			{"no UTF-8 in a value", post(strings.Replace(order(events.KindToken, "XX"), "XX", "\xff\xfe", 1)), []int{400}},
			{"half a surrogate in a value", post(strings.Replace(order(events.KindToken, "XX"), "XX", `\ud800`, 1)), []int{400}},
			{"no UTF-8 in a name", request("GET", "/v1/feed", "Revocast-Subscriber: \xff\xfe\r\n", ""), []int{400}},
			{"a position that is none", request("GET", "/v1/feed", "Last-Event-ID: \xff:99999999999999999999\r\n", ""), []int{400}},
			{"no HTTP at all", "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", []int{400}},
			{"two lengths", request("POST", "/v1/revocations", "Content-Length: 5\r\nContent-Length: 6\r\n", "12345"), []int{400}},
			{"a length and chunks", "POST /v1/revocations HTTP/1.1\r\nHost: hub\r\nContent-Length: 5\r\nTransfer-Encoding: chunked, chunked\r\n\r\n", []int{400, 501}},
		} {
			conn := w.dial(1)[0]
			go func() { _, _ = io.WriteString(conn, c.request) }() // ends with the connection
			status := statusOf(t, conn)
			ok := false
			for _, want := range c.want {
				ok = ok || status == want
			}
			if !ok {
				t.Errorf("%s: %d, want one of %v", c.name, status, c.want)
			}
			conn.Close()
		}
	})

	t.Run("idle connections", func(t *testing.T) {
		conns := w.dial(quickOr(1000, 5000))
		h.served()
		for _, c := range conns {
			c.Close()
		}
	})

	h.served()
	h.verdict()
}

// Whoever takes too many connections or streams is refused, others are not.
func TestLimitsPerAddressAndCredential(t *testing.T) {
	w := newWorld(t)
	w.own = &ownHub{MaxConnectionsPerAddress: 40, MaxStreamsPerCredential: 5}
	w.startHub()
	made, err := w.call("POST", "/v1/keys", `{"name":"other","roles":["subscribe"]}`)
	w.must(err)
	var other struct{ Key string }
	w.must(json.Unmarshal(made.body, &other))

	w.dialReaders(5, false)
	if _, err := w.dialReader(false); err == nil || !strings.Contains(err.Error(), "429") {
		t.Errorf("the sixth stream of a credential: %v", err)
	}
	refusal, err := w.call("GET", "/v1/feed", "")
	w.must(err)
	if refusal.status != http.StatusTooManyRequests || !bytes.Contains(refusal.body, []byte(`"too_many_streams"`)) {
		t.Errorf("it says %d: %s", refusal.status, refusal.body)
	}
	sub := w.subscribe(func(c *subscriber.Config) { c.Credential = other.Key })
	if s := sub.Status(); s.State != subscriber.Fresh {
		t.Errorf("another credential is %s", s.State)
	}

	open := w.dial(60)
	w.eventually("those beyond the limit are closed", func() bool { return w.metric("revocast_connections_refused_total") >= 20 })
	from := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	client := &http.Client{Transport: &http.Transport{DialContext: from.DialContext, DisableKeepAlives: true}}
	req, err := http.NewRequest("GET", w.url()+"/v1/status", nil)
	w.must(err)
	req.Header.Set("Authorization", "Bearer "+adminKey)
	resp, err := client.Do(req)
	w.must(err)
	resp.Body.Close()
	if resp.StatusCode != http.StatusOK {
		t.Errorf("from another address: %d", resp.StatusCode)
	}
	for _, c := range open {
		c.Close()
	}
	w.eventually("there are places again", func() bool {
		a, err := w.call("GET", "/v1/status", "")
		return err == nil && a.status == http.StatusOK
	})
}

// HTTP/2: streams that are opened and reset by the thousand (CVE-2023-44487)
// cost the one who does it, not the hub.
func TestRapidReset(t *testing.T) {
	w := newWorld(t)
	cert, key, pool := w.selfSigned()
	w.args = []string{"--tls-cert", cert, "--tls-key", key}
	w.trust = &tls.Config{RootCAs: pool}
	w.startHub()
	before := w.use()

	var attack sync.WaitGroup
	for range 4 {
		attack.Go(func() {
			c, err := tls.Dial("tcp", w.listen, &tls.Config{RootCAs: pool, NextProtos: []string{"h2"}})
			if err != nil {
				t.Error(err)
				return
			}
			defer c.Close()
			go io.Copy(io.Discard, c) // ends with the connection
			_, _ = io.WriteString(c, http2.ClientPreface)
			f := http2.NewFramer(c, nil)
			_ = f.WriteSettings()
			var block bytes.Buffer
			enc := hpack.NewEncoder(&block)
			for n := range uint32(quickOr(5000, 200_000)) {
				block.Reset()
				for _, h := range [][2]string{{":method", "GET"}, {":scheme", "https"}, {":authority", "hub"}, {":path", "/v1/feed"}, {"authorization", "Bearer " + adminKey}} {
					_ = enc.WriteField(hpack.HeaderField{Name: h[0], Value: h[1]})
				}
				if f.WriteHeaders(http2.HeadersFrameParam{StreamID: 2*n + 1, BlockFragment: block.Bytes(), EndStream: true, EndHeaders: true}) != nil ||
					f.WriteRSTStream(2*n+1, http2.ErrCodeCancel) != nil {
					return // the hub has had enough
				}
			}
		})
	}
	for n := range 20 {
		w.revoke(events.KindToken, fmt.Sprint("meanwhile-", n))
	}
	if now := w.use(); now.goroutines > before.goroutines+3000 {
		t.Errorf("%v goroutines, from %v", now.goroutines, before.goroutines)
	}
	attack.Wait()
	w.eventually("nothing of it is left", func() bool {
		now := w.use()
		return now.goroutines <= before.goroutines+10 && now.descriptors <= before.descriptors+10
	})
}

// selfSigned makes a certificate for the hub's address.
func (w *world) selfSigned() (cert, key string, pool *x509.CertPool) {
	w.Helper()
	priv, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	w.must(err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, priv.Public(), priv)
	w.must(err)
	pkcs8, err := x509.MarshalPKCS8PrivateKey(priv)
	w.must(err)
	dir := w.TempDir()
	cert, key = filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	w.must(os.WriteFile(cert, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	w.must(os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: pkcs8}), 0o600))
	parsed, err := x509.ParseCertificate(der)
	w.must(err)
	pool = x509.NewCertPool()
	pool.AddCert(parsed)
	return cert, key, pool
}

func request(method, path, headers, body string) string {
	return fmt.Sprintf("%s %s HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer %s\r\nContent-Type: application/json\r\n%s\r\n%s", method, path, adminKey, headers, body)
}

func post(body string) string {
	return request("POST", "/v1/revocations", fmt.Sprintf("Content-Length: %d\r\n", len(body)), body)
}

// statusOf reads an answer's status; 0 if the connection was closed without.
func statusOf(t *testing.T, c net.Conn) int {
	c.SetReadDeadline(time.Now().Add(30 * time.Second))
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if isTimeout(err) {
		t.Error("no answer")
	}
	if err != nil {
		return 0
	}
	resp.Body.Close()
	return resp.StatusCode
}

func isTimeout(err error) bool {
	e, ok := err.(net.Error)
	return ok && e.Timeout()
}
