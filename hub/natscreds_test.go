package hub_test

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/jwt/v2"
	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nkeys"

	"github.com/revocast/revocast/hub"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/log"
	"github.com/revocast/revocast/internal/natstest"
)

// operator is who signs accounts, and its one account, of the hubs, who signs
// users: servers then have no users in their configuration.
type operator struct {
	t             *testing.T
	account       nkeys.KeyPair
	accountPublic string
	config        string
}

func newOperator(t *testing.T) *operator {
	t.Helper()
	op, opPublic := newPair(t, nkeys.CreateOperator)
	o := &operator{t: t}
	o.account, o.accountPublic = newPair(t, nkeys.CreateAccount)
	account := jwt.NewAccountClaims(o.accountPublic)
	account.Limits.JetStreamLimits = jwt.JetStreamLimits{MemoryStorage: 64 << 20, DiskStorage: 1 << 30, Streams: -1, Consumer: -1}
	_, system := newPair(t, nkeys.CreateAccount) // which JetStream does not run without
	o.config = fmt.Sprintf("operator: %s\nsystem_account: %s\nresolver: MEMORY\nresolver_preload: { %s: %s, %s: %s }\n",
		encode(t, jwt.NewOperatorClaims(opPublic), op), system,
		o.accountPublic, encode(t, account, op), system, encode(t, jwt.NewAccountClaims(system), op))
	return o
}

func newPair(t *testing.T, create func() (nkeys.KeyPair, error)) (nkeys.KeyPair, string) {
	t.Helper()
	pair, err := create()
	if err != nil {
		t.Fatal(err)
	}
	public, _ := pair.PublicKey()
	return pair, public
}

func encode(t *testing.T, claims interface {
	Encode(nkeys.KeyPair) (string, error)
}, by nkeys.KeyPair) string {
	t.Helper()
	text, err := claims.Encode(by)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

// credentials writes the file of a new user into a place, and returns the
// user's public key.
func (o *operator) credentials(file string, may []string, expires time.Time) string {
	o.t.Helper()
	user, public := newPair(o.t, nkeys.CreateUser)
	claims := jwt.NewUserClaims(public)
	claims.Permissions.Pub.Allow.Add(may...)
	claims.Permissions.Sub.Allow.Add(may...)
	claims.Expires = expires.Unix()
	seed, _ := user.Seed()
	creds, err := jwt.FormatUserConfig(encode(o.t, claims, o.account), seed)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := os.WriteFile(file, creds, 0o600); err != nil {
		o.t.Fatal(err)
	}
	return public
}

func withCreds(url, file string) func(*hub.Config) {
	return func(c *hub.Config) {
		c.Name, c.Replicas = "one", 1
		c.NATS = log.NATS{Servers: []string{url}, Creds: file}
	}
}

// connectedAs is the user of the one client of the account, or "".
func connectedAs(s *server.Server) string {
	conns, err := s.Connz(&server.ConnzOptions{Username: true})
	if err != nil || len(conns.Conns) != 1 {
		return ""
	}
	return conns.Conns[0].AuthorizedUser
}

// A hub with a credentials file works with servers that trust an operator; and
// when what is in the file is renewed before it ends, nobody notices.
func TestAHubRenewsItsCredentials(t *testing.T) {
	t.Parallel() // it waits more than it works
	o := newOperator(t)
	s := serveNATS(t, o.config)
	file := filepath.Join(t.TempDir(), "hub.creds")
	soon := time.Unix(time.Now().Unix()+12, 0) // a JWT tells whole seconds
	first := o.credentials(file, documented, soon)
	w := newWorld(t, withCreds(s.ClientURL(), file))
	w.start(nil)
	must[api.RevokeAnswer](w, "POST", "/v1/revocations", subject, 201)
	if as := connectedAs(s); as != first {
		t.Fatalf("the hub is connected as %q, want %q", as, first)
	}
	second := o.credentials(file, documented, time.Now().Add(time.Hour))
	w.until("the first user has expired, and the hub is another", func() bool { return connectedAs(s) == second })
	w.until("the hub revokes again", func() bool {
		status, _ := w.ask("POST", "/v1/revocations", subject)
		return status == 201
	})
	if time.Now().Before(soon) {
		t.Error("it did not wait for the first to expire")
	}
	if log := w.log.String(); strings.Contains(log, "SEED") || strings.Contains(log, "eyJ") {
		t.Errorf("something of a credential is in the log:\n%s", log)
	}
}

func TestAHubSaysWhatItsCredentialsMayNot(t *testing.T) {
	o := newOperator(t)
	s := serveNATS(t, o.config)
	file := filepath.Join(t.TempDir(), "hub.creds")
	const lacks = "$KV.REVOCAST_default_KEYS.>"
	o.credentials(file, slices.DeleteFunc(slices.Clone(documented), func(s string) bool { return s == lacks }), time.Now().Add(time.Hour))
	w := newWorld(t, withCreds(s.ClientURL(), file))
	ctx, cancel := context.WithTimeout(t.Context(), natstest.Patience)
	defer cancel()
	h, err := hub.Open(ctx, w.cfg)
	if err == nil {
		h.Close()
		t.Fatalf("it opens:\n%s", w.log)
	}
	if !strings.Contains(err.Error(), strings.TrimSuffix(lacks, ">")) {
		t.Errorf("it says: %v", err)
	}
}
