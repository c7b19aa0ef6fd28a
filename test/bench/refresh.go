package main

import (
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/nats-io/nats.go/jetstream"
)

// tokenLife is how long an access token lives that nobody can take back.
const tokenLife = 5 * time.Minute

// tokenService gives a session a new access token for its refresh token, which
// is good once: the next one comes with it. Of those it keeps the hashes, each
// write synced. Ending a session is deleting its hash.
type tokenService struct {
	key      signer
	sessions jetstream.KeyValue
}

type grant struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
	Expires int    `json:"expires_in"`
}

func (t *tokenService) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	session, presented := r.PostFormValue("session"), sha256.Sum256([]byte(r.PostFormValue("refresh_token")))
	entry, err := t.sessions.Get(r.Context(), session)
	if err != nil || subtle.ConstantTimeCompare(entry.Value(), presented[:]) == 0 {
		http.Error(w, "invalid_grant", http.StatusBadRequest)
		return
	}
	g := grant{Refresh: rand.Text(), Expires: int(tokenLife.Seconds())}
	next := sha256.Sum256([]byte(g.Refresh))
	if _, err := t.sessions.Update(r.Context(), session, next[:], entry.Revision()); err != nil {
		http.Error(w, "invalid_grant", http.StatusBadRequest) // somebody else was sooner
		return
	}
	if g.Access, err = t.key.sign(rand.Text()); err == nil {
		err = json.NewEncoder(w).Encode(g)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusInternalServerError)
	}
}

// shortLived measures what it takes to renew tokens that live so shortly that
// nobody takes them back, and returns the row of that strategy.
func shortLived(s *suite, key signer) (row []string, err error) {
	const name = "short-lived tokens with refresh"
	s.step(name)
	store, err := startPlain(s)
	if err != nil {
		return nil, err
	}
	defer store.close()
	kv, err := store.js.CreateKeyValue(s.ctx, jetstream.KeyValueConfig{Bucket: "SESSIONS", Storage: jetstream.FileStorage})
	if err != nil {
		return nil, err
	}
	server, err := startWeb(&tokenService{key, kv})
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, server.close()) }()
	took, err := refreshes(s, server, kv)
	if err != nil {
		return nil, err
	}
	each := int(time.Hour / tokenLife)
	p50 := took.at(.5)
	minutes := fmt.Sprintf("%.0f min", tokenLife.Minutes())
	s.report.say("*Short-lived tokens* are good for %s, and nobody asks about them. What a session costs instead: %d refreshes an hour, each with an HTTP request, a refresh token that is changed for the next one in a durable store, and a signature; that is %s of one caller's time in each session-hour, and for 100,000 sessions %.0f synced writes a second. A revocation is enforced when the last token has expired. The moment of it is as likely as any other, so what is left then follows from the lifetime: computed, not measured.",
		minutes, each, span(time.Duration(each)*p50), 100_000/tokenLife.Seconds())
	computed := func(q float64) string {
		return fmt.Sprintf("%s (computed)", span(time.Duration(q*float64(tokenLife))))
	}
	return []string{name, "0; a refresh " + span(p50), "0; a refresh " + span(took.at(.99)), computed(.5), computed(.99), computed(1),
		fmt.Sprintf("0; 1 for each session and %s", minutes), "nobody gets another token: every session ends within the lifetime"}, nil
}

// refreshes takes the latencies of refreshes of sessions in turn, one caller at
// a time.
func refreshes(s *suite, server *web, kv jetstream.KeyValue) (took quantiles, err error) {
	tokens := make([]string, 64)
	for i := range tokens {
		tokens[i] = rand.Text()
		first := sha256.Sum256([]byte(tokens[i]))
		if _, err := kv.Create(s.ctx, fmt.Sprint("s", i), first[:]); err != nil {
			return nil, err
		}
	}
	refresh := func(session int) (time.Duration, error) {
		begun := time.Now()
		answer, err := server.post(s.ctx, "/token", url.Values{"session": {fmt.Sprint("s", session)}, "refresh_token": {tokens[session]}})
		if err != nil {
			return 0, err
		}
		var g grant
		if err := json.Unmarshal(answer, &g); err != nil {
			return 0, err
		}
		tokens[session] = g.Refresh
		return time.Since(begun), nil
	}
	for i := range s.scale.Requests {
		d, err := refresh(i % len(tokens))
		if err != nil {
			return nil, err
		}
		if i >= len(tokens) { // the first ones warm up
			took = append(took, d)
		}
	}
	used := tokens[0]
	if _, err := refresh(0); err != nil {
		return nil, err
	}
	tokens[0] = used
	if _, err := refresh(0); err == nil {
		return nil, fmt.Errorf("%w: a refresh token was good twice", errWrongAnswer)
	}
	return took, nil
}
