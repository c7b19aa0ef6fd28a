package hub_test

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/natstest"
)

// What docs/operations.md says that a hub's user needs, and that of a hub in
// another region.
var (
	documented       = []string{"revocast.>", "_INBOX.>", "$JS.API.>", "$KV.REVOCAST_default_KEYS.>"}
	documentedAtEdge = []string{"revocast.>", "_INBOX.>", "$JS.API.>", "$JS.home.API.>"}
)

// natsUser makes an nkey, and returns its file and the entry of its user.
func natsUser(t *testing.T, may []string) (file, entry string) {
	t.Helper()
	file, public := nkey(t)
	subjects := `["` + strings.Join(may, `", "`) + `"]`
	return file, fmt.Sprintf(`{nkey: %s, permissions: {publish: %s, subscribe: %s}}`, public, subjects, subjects)
}

// nkey makes one: the file of its seed, and its public half.
func nkey(t *testing.T) (file, public string) {
	t.Helper()
	pair, err := nkeys.CreateUser()
	if err != nil {
		t.Fatal(err)
	}
	public, _ = pair.PublicKey()
	seed, _ := pair.Seed()
	file = filepath.Join(t.TempDir(), "user.nk")
	if err := os.WriteFile(file, seed, 0o600); err != nil {
		t.Fatal(err)
	}
	return file, public
}

// startNATS starts one server with an account for hubs that has one user.
func startNATS(t *testing.T, user, more string) *server.Server {
	t.Helper()
	return serveNATS(t, fmt.Sprintf("accounts { HUBS { jetstream: enabled, users: [%s] } }\n%s\n", user, more))
}

// serveNATS starts one server with JetStream; who may do what, more says.
func serveNATS(t *testing.T, more string) *server.Server {
	t.Helper()
	return startConfigured(t, fmt.Sprintf("listen: \"127.0.0.1:-1\"\njetstream { store_dir: %q, max_file_store: 1GB }\n%s", t.TempDir(), more))
}

// startDocumented starts a server as docs/operations.md configures those of a
// JetStream domain, with the hub's user, and other things replaced in pairs.
func startDocumented(t *testing.T, domain, user string, replace ...string) *server.Server {
	t.Helper()
	doc, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	for block := range strings.SplitSeq(string(doc), "```") {
		if strings.Contains(block, "domain: "+domain+" }") {
			return startConfigured(t, strings.NewReplacer(append(replace, "{nkey: $HUB}", user,
				"0.0.0.0:4222", "127.0.0.1:-1", "store_dir: /var/lib/nats", fmt.Sprintf("max_file_store: 1GB, store_dir: %q", t.TempDir()))...).Replace(block))
		}
	}
	t.Fatalf("the domain %s is not documented", domain)
	return nil
}

func startConfigured(t *testing.T, conf string) *server.Server {
	t.Helper()
	file := filepath.Join(t.TempDir(), "nats.conf")
	if err := os.WriteFile(file, []byte(conf), 0o600); err != nil {
		t.Fatal(err)
	}
	opts, err := server.ProcessConfigFile(file)
	if err != nil {
		t.Fatal(err)
	}
	opts.NoLog, opts.NoSigs = true, true
	s, err := server.NewServer(opts)
	if err != nil {
		t.Fatal(err)
	}
	s.Start()
	t.Cleanup(func() { s.Shutdown(); s.WaitForShutdown() })
	if !s.ReadyForConnections(natstest.Patience) {
		t.Fatal("NATS is not ready")
	}
	return s
}

func onNATS(url, nkey string) func(*hub.Config) {
	return func(c *hub.Config) {
		c.Name, c.Replicas = "one", 1
		c.NATS = log.NATS{Servers: []string{url}, NKey: nkey}
	}
}

func TestAHubNeedsWhatIsDocumented(t *testing.T) {
	nkey, user := natsUser(t, documented)
	w := newWorld(t, onNATS(startNATS(t, user, "").ClientURL(), nkey))
	w.start(nil) // which waits for a tick
	made := must[api.RevokeAnswer](w, "POST", "/v1/revocations", subject, 201)
	w.until("it is followed", func() bool { return must[api.Status](w, "GET", "/v1/status", "", 200).Head >= made.Seq })
	key := must[api.NewKey](w, "POST", "/v1/keys", `{"name":"auditor","roles":["audit"]}`, 201)
	if status, _ := w.send("GET", w.url+"/v1/status", "", key.Secret); status != http.StatusOK {
		t.Errorf("the key that was made: %d", status)
	}
	if status, body := w.ask("DELETE", "/v1/keys/"+key.ID, ""); status != http.StatusNoContent {
		t.Errorf("delete the key: %d %s", status, body)
	}
	if s := w.log.String(); strings.Contains(s, "ermissions") {
		t.Errorf("something was forbidden:\n%s", s)
	}
}

// Without any one of them the hub does not open, and says what it lacks.
func TestAHubSaysWhatItMayNot(t *testing.T) {
	for _, lacks := range documented {
		t.Run(lacks, func(t *testing.T) {
			t.Parallel() // most of it is waiting for answers
			nkey, user := natsUser(t, slices.DeleteFunc(slices.Clone(documented), func(s string) bool { return s == lacks }))
			w := newWorld(t, onNATS(startNATS(t, user, "").ClientURL(), nkey))
			mustLack(w, lacks)
		})
	}
}

// mustLack opens a hub that may not do something.
func mustLack(w *world, lacks string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), natstest.Patience)
	defer cancel()
	h, err := hub.Open(ctx, w.cfg)
	if err == nil {
		h.Close()
		w.Fatalf("it opens:\n%s", w.log)
	}
	if !strings.Contains(err.Error(), strings.TrimSuffix(lacks, ">")) || !strings.Contains(strings.ToLower(err.Error()), "permissions violation") {
		w.Errorf("it says: %v", err)
	}
}

// startLog starts a server that has the log, made by a hub there, and returns
// how to start another one that is a leaf node of it.
func startLog(t *testing.T) (home *world, leaf func(t *testing.T, user string) *server.Server) {
	t.Helper()
	file, public := nkey(t)
	seed, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	nkey, user := natsUser(t, documented)
	s := startDocumented(t, "home", user, "$EDGE", public, "port: 7422", `listen: "127.0.0.1:-1"`)
	home = newWorld(t, onNATS(s.ClientURL(), nkey))
	home.start(nil)
	about, err := s.Varz(nil)
	if err != nil {
		t.Fatal(err)
	}
	return home, func(t *testing.T, user string) *server.Server {
		t.Helper()
		return startDocumented(t, "edge", user, "$EDGE_SEED", string(seed), "n1:7422", fmt.Sprint("127.0.0.1:", about.LeafNode.Port))
	}
}

func onLeaf(url, nkey string) func(*hub.Config) {
	return func(c *hub.Config) {
		onNATS(url, nkey)(c)
		c.Name, c.NATSHome = "two", "home"
	}
}

func TestAHubInAnotherRegionNeedsWhatIsDocumented(t *testing.T) {
	home, leaf := startLog(t)
	nkey, user := natsUser(t, documentedAtEdge)
	w := newWorld(t, onLeaf(leaf(t, user).ClientURL(), nkey))
	w.start(nil) // which waits for a tick
	made := must[api.RevokeAnswer](w, "POST", "/v1/revocations", subject, 201)
	home.until("it is followed", func() bool { return must[api.Status](home, "GET", "/v1/status", "", 200).Head >= made.Seq })
	key := must[api.NewKey](w, "POST", "/v1/keys", `{"name":"auditor","roles":["audit"]}`, 201)
	for _, hub := range []*world{w, home} {
		hub.until("the key is taken", func() bool {
			status, _ := hub.send("GET", hub.url+"/v1/status", "", key.Secret)
			return status == http.StatusOK
		})
		hub.until("each knows the other", func() bool { return len(must[api.Status](hub, "GET", "/v1/status", "", 200).Hubs) == 2 })
		if s := hub.log.String(); strings.Contains(s, "ermissions") {
			t.Errorf("something was forbidden:\n%s", s)
		}
	}
}

func TestAHubInAnotherRegionSaysWhatItMayNot(t *testing.T) {
	_, leaf := startLog(t)
	for _, lacks := range documentedAtEdge {
		t.Run(lacks, func(t *testing.T) {
			t.Parallel() // most of it is waiting for answers
			nkey, user := natsUser(t, slices.DeleteFunc(slices.Clone(documentedAtEdge), func(s string) bool { return s == lacks }))
			w := newWorld(t, onLeaf(leaf(t, user).ClientURL(), nkey))
			mustLack(w, lacks)
		})
	}
}

// pemFile writes a block.
func pemFile(t *testing.T, name, kind string, der []byte) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), name)
	if err := os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// authority is a CA and a certificate of its own for 127.0.0.1, as files.
func authority(t *testing.T) (ca, cert, key string) {
	t.Helper()
	caKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	parent := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "test"}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	caDER, err := x509.CreateCertificate(rand.Reader, parent, parent, caKey.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	own, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	leaf := &x509.Certificate{SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
		NotBefore:   time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour)}
	der, err := x509.CreateCertificate(rand.Reader, leaf, parent, own.Public(), caKey)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalPKCS8PrivateKey(own)
	if err != nil {
		t.Fatal(err)
	}
	return pemFile(t, "ca.pem", "CERTIFICATE", caDER), pemFile(t, "cert.pem", "CERTIFICATE", der), pemFile(t, "key.pem", "PRIVATE KEY", keyDER)
}

// A hub speaks TLS with servers that ask for its certificate, and with none
// that another authority has signed.
func TestAHubTrustsItsAuthorityOnly(t *testing.T) {
	ca, cert, key := authority(t)
	other, _, _ := authority(t)
	nkey, user := natsUser(t, documented)
	s := startNATS(t, user, fmt.Sprintf("tls { cert_file: %q, key_file: %q, ca_file: %q, verify: true }", cert, key, ca))
	trust := func(ca, cert, key string) func(*hub.Config) {
		return func(c *hub.Config) {
			onNATS(s.ClientURL(), nkey)(c)
			c.NATS.CA, c.NATS.Cert, c.NATS.Key = ca, cert, key
		}
	}
	w := newWorld(t, trust(ca, cert, key))
	w.start(nil)
	must[api.RevokeAnswer](w, "POST", "/v1/revocations", subject, 201)
	if strings.Contains(w.log.String(), "NO TLS") {
		t.Error("it says that there is no TLS")
	}
	for name, c := range map[string]struct {
		change func(*hub.Config)
		want   string
	}{
		"another authority":  {trust(other, cert, key), "unknown authority"},
		"no own certificate": {trust(ca, "", ""), "waiting for NATS"},
	} {
		w := newWorld(t, c.change)
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		h, err := hub.Open(ctx, w.cfg)
		cancel()
		if err == nil {
			h.Close()
			t.Errorf("%s: it opens", name)
		} else if !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
