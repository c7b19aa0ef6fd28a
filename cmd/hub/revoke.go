package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/internal/token"
)

type revokeCmd struct {
	Kind  string `arg:"" enum:"${kinds},jwt" help:"What to revoke, see above."`
	Value string `arg:"" optional:"" help:"The jti, sub, sid, client_id or kid; none for issuer; - for jwt."`

	Iss            string        `placeholder:"ISS" help:"The issuer of the tokens, as in their iss claim."`
	Reason         string        `default:"logout" enum:"${reasons}" help:"${reasonsText}."`
	Note           string        `help:"A word for the audit."`
	Client         string        `help:"The client_id, for subject_client."`
	Claim          string        `help:"The name of the claim, for claim."`
	EffectiveAt    events.Time   `placeholder:"TIME" help:"When it takes effect: a margin for signing in again. Default: at once."`
	ExceptJTI      string        `name:"except-jti" placeholder:"JTI" help:"The one token that the cutoff spares."`
	ExceptSID      string        `name:"except-sid" placeholder:"SID" help:"The one session that the cutoff spares."`
	MinVersion     int64         `placeholder:"N" help:"Revoke tokens whose version is lower, instead of by a cutoff."`
	Suspend        bool          `help:"Revoke all tokens, future ones too, until restored."`
	Cutoff         events.Time   `placeholder:"TIME" help:"Revoke what was issued up to then, such as 2026-11-22T03:00:00Z. Default: now."`
	ExpiresAt      events.Time   `placeholder:"TIME" help:"The exp of a token or handle: how long to remember it."`
	Wait           bool          `help:"Wait until the connected subscribers have applied it, and say how many have."`
	WaitTimeout    time.Duration `default:"2s" help:"How long to wait for them."`
	IdempotencyKey string        `placeholder:"KEY" help:"Makes calls with the same key take effect once. Default: a random one, for the retries of this call."`
	Remote
}

func (revokeCmd) Help() string {
	return `What is revoked:

    token VALUE     one token, by its jti
    handle VALUE    one token without a jti: SHA-256 of header.payload, base64url
    subject VALUE   all tokens of a sub that were issued up to the cutoff
    session VALUE   likewise of a sid
    grant VALUE     likewise of a refresh family or exchange lineage
    client VALUE    likewise of a client_id
    subject_client VALUE --client ID
                    likewise of a sub for a client_id
    actor VALUE     likewise of everybody for whom this sub acts
    device VALUE    likewise of a device_id
    claim VALUE --claim NAME
                    likewise of a value of a claim that the hub is configured for
    issuer          likewise of the issuer
    key VALUE       all tokens signed with a kid, until restored
    jwt -           the one token on stdin, by its jti or else its handle

A token is never an argument: others on this machine could see it. If the hub
can't be reached or does not know whether it is done, the same request is sent
again; it takes effect once.

Examples:

    hub revoke subject alice --iss https://issuer.example --reason password_change
    hub revoke token 7f0c --iss https://issuer.example --expires-at 2026-11-22T04:00:00Z
    hub revoke session s-9 --iss https://issuer.example --wait
    hub revoke subject alice --iss https://issuer.example --except-sid s-9
    hub revoke subject alice --iss https://issuer.example --suspend --reason policy
    hub revoke jwt - --reason compromised < token.jwt`
}

func (c revokeCmd) Run(ctx context.Context, std streams) error {
	order, err := c.order(std)
	if err != nil {
		return err
	}
	hub, err := c.client(std)
	if err != nil {
		return err
	}
	if c.IdempotencyKey == "" {
		c.IdempotencyKey = rand.Text()
	}
	q := question{
		method: http.MethodPost, path: "/v1/revocations", query: url.Values{}, body: order,
		header: map[string]string{"Idempotency-Key": c.IdempotencyKey},
	}
	if c.Wait {
		q.query.Set("wait", "applied")
		q.query.Set("timeout", c.WaitTimeout.String())
		hub.wait += c.WaitTimeout
	}
	var made api.RevokeAnswer
	var raw []byte
	err = retried(ctx, std, func() (err error) {
		raw, err = hub.ask(ctx, q, &made)
		return err
	})
	if err != nil {
		if outcomeUnknown(err) {
			std.note("It is not known whether it is revoked. The same command with --idempotency-key %s makes sure of it.", c.IdempotencyKey)
		}
		return err
	}
	if c.JSON {
		_, err = std.out.Write(raw)
		return err
	}
	return c.print(std, order.Target, made)
}

// order is what to ask the hub for.
func (c revokeCmd) order(std streams) (api.RevocationRequest, error) {
	o := api.RevocationRequest{
		Cutoff: c.Cutoff, MinVersion: c.MinVersion, Suspend: c.Suspend, EffectiveAt: c.EffectiveAt,
		ExpiresAt: c.ExpiresAt, Reason: events.Reason(c.Reason), Note: c.Note,
	}
	if c.ExceptJTI != "" || c.ExceptSID != "" {
		o.Except = &events.Except{JTI: c.ExceptJTI, SID: c.ExceptSID}
	}
	if c.Kind == "jwt" {
		if c.Value != "-" {
			return o, usagef("a token on the command line can be seen by others: pipe it in, as in hub revoke jwt - < token.jwt")
		}
		t, err := readToken(std.in)
		if err != nil {
			return o, err
		}
		err = c.fromToken(t, &o)
		return o, err
	}
	kind, err := events.ParseKind(c.Kind)
	o.Target = events.Target{Kind: kind, Iss: c.Iss, Claim: c.Claim, Value: c.Value, Client: c.Client}
	switch {
	case err != nil:
		return o, err
	case c.Iss == "":
		return o, usagef("--iss is missing: a token is identified by its issuer and a value")
	case kind == events.KindIssuer && c.Value != "":
		return o, usagef("issuer takes no VALUE: its name is --iss")
	case kind != events.KindIssuer && c.Value == "":
		return o, usagef("%s needs a VALUE", kind)
	case (kind == events.KindSubjectClient) != (c.Client != ""):
		return o, usagef("--client goes with subject_client, which needs it")
	case (kind == events.KindClaim) != (c.Claim != ""):
		return o, usagef("--claim goes with claim, which needs it")
	}
	return o, nil
}

// fromToken makes the order for a token that was not verified, and need not
// be: whoever may revoke may revoke any token.
func (c revokeCmd) fromToken(t *token.Token, o *api.RevocationRequest) error {
	claims := t.Claims
	switch {
	case claims.Issuer == "":
		return usagef("the token has no iss, so nothing can be said about it")
	case c.Iss != "" && c.Iss != claims.Issuer:
		return usagef("the token is of another issuer than --iss says")
	case c.Cutoff != 0 || c.ExpiresAt != 0:
		return usagef("--cutoff and --expires-at don't go with jwt: the token says when it expires")
	}
	o.Target = events.Target{Kind: events.KindToken, Iss: claims.Issuer, Value: claims.ID}
	if claims.ID == "" {
		o.Target.Kind, o.Target.Value = events.KindHandle, claims.Handle
	}
	o.ExpiresAt = events.Time(claims.Expires)
	return nil
}

// readToken reads the one token on stdin. Its errors show nothing of it.
func readToken(in io.Reader) (*token.Token, error) {
	raw, err := readRawToken(in)
	if err != nil {
		return nil, err
	}
	t, err := token.ReadUnverified(raw, events.ClaimNames{})
	if e := (*token.Error)(nil); errors.As(err, &e) {
		return nil, usagef("stdin: %s (%s)", e.Detail, e.Code)
	}
	return t, err
}

func readRawToken(in io.Reader) (string, error) {
	data, err := io.ReadAll(io.LimitReader(in, token.MaxSize+1<<10))
	if err != nil {
		return "", fmt.Errorf("read the token from stdin: %w", err)
	}
	data = bytes.TrimSpace(data)
	if len(data) > len("Bearer ") && strings.EqualFold(string(data[:len("Bearer ")]), "Bearer ") {
		data = bytes.TrimSpace(data[len("Bearer "):]) // copied from a header
	}
	if len(data) == 0 {
		return "", usagef("stdin is empty: pipe the token in")
	}
	return string(data), nil
}

// outcomeUnknown reports whether a request that failed may have been done.
func outcomeUnknown(err error) bool {
	var p *problem
	var none *noAnswerError
	var strange *strangeError
	return errors.As(err, &p) && p.Outcome == "unknown" || errors.As(err, &none) && none.sent ||
		errors.As(err, &strange) && strange.code >= 500
}

func (c revokeCmd) print(std streams, target events.Target, made api.RevokeAnswer) error {
	if len(made.Revocations) != 1 {
		return fmt.Errorf("the hub answered with %d revocations, want 1", len(made.Revocations))
	}
	rev := made.Revocations[0]
	t := newTable(std.out)
	t.row("revoked", describe(target))
	t.row("id", rev.ID)
	t.row("effective_at", rev.EffectiveAt)
	if rev.RetainUntil == 0 {
		t.row("retain_until", "(until it is restored)")
	} else {
		t.row("retain_until", rev.RetainUntil)
	}
	if rev.ReissueAfter != 0 {
		t.row("reissue_after", fmt.Sprintf("%s (tokens issued from then on are good)", rev.ReissueAfter))
	}
	if made.Reach != nil {
		t.row("reach", fmt.Sprintf("applied by %d of %s", made.Reach.Applied, count(made.Reach.Connected, "connected subscriber")))
	}
	if err := t.flush(); err != nil {
		return err
	}
	if made.Reach != nil && len(made.Reach.Silent) > 0 {
		std.note("hub %s did not answer: those who are connected to it are not counted; without news from it, they stop being fresh, and know it.", strings.Join(made.Reach.Silent, ", "))
	}
	if made.Reach != nil && made.Reach.Applied < made.Reach.Connected {
		std.note("the others have not said so within %v; hub status shows which. One that hears nothing new stops being fresh, and knows it.", c.WaitTimeout)
	}
	return nil
}

// describe names a target for people.
func describe(t events.Target) string {
	if t.Kind == events.KindIssuer {
		return "issuer " + t.Iss
	}
	return fmt.Sprintf("%s %s of %s", t.Kind, t.Value, t.Iss)
}
