package test

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
)

// job is what goes through the queue: what is to be done, and on whose word.
// It has the claims of the token and not the token, which whoever reads the
// queue could use.
type job struct {
	Order string
	// Lineage is the verified token's, and those that it was made of, if it
	// was exchanged: the work ends with any of them.
	Lineage []events.Claims
}

// worker does jobs that a service of ours has put into the queue. The queue
// has to be trusted: claims that anybody can write prove nothing.
type worker struct {
	sub *subscriber.Subscriber
	do  func(ctx context.Context, order string) error // ends with ctx
}

var errTooStale = errors.New("it is not known whether the token is revoked: put the job back")

// take does one job, if the tokens behind it are good, for as long as they
// are. The error is what ended it: a *subscriber.RevokedError,
// subscriber.ErrExpired, errTooStale, or the work's own.
func (w worker) take(ctx context.Context, message []byte) error {
	var j job
	if err := json.Unmarshal(message, &j); err != nil || len(j.Lineage) == 0 {
		return errors.New("no job")
	}
	for _, claims := range j.Lineage {
		if claims.Expires == 0 { // such a token is forgotten while it is good
			return subscriber.ErrExpired
		}
		token := w.sub.Prepare(claims)
		// First the guard, so that nothing falls between check and guard.
		var stop func()
		ctx, stop = w.sub.Guard(ctx, token)
		defer stop()
		switch v := w.sub.CheckPrepared(token); v.Outcome {
		case subscriber.Revoked:
			return &subscriber.RevokedError{Verdict: v}
		case subscriber.Unknown:
			return errTooStale
		}
	}
	if ctx.Err() != nil { // expired in the queue
		return context.Cause(ctx)
	}
	if err := w.do(ctx, j.Order); ctx.Err() == nil {
		return err
	}
	return context.Cause(ctx)
}

// A job is checked when it is taken up, and ended when its token is revoked
// while it runs; and whoever waits for it is told.
func TestQueuedWork(t *testing.T) {
	w := newWorld(t)
	w.startHub()
	messages := make(chan []byte, 1)
	front := w.subscribe()
	accept := httptest.NewServer(front.Protect(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		token, _ := subscriber.FromContext(r.Context())
		message, err := json.Marshal(job{Order: "report", Lineage: []events.Claims{token.Claims}})
		w.must(err)
		messages <- message
		rw.WriteHeader(http.StatusAccepted)
	}), subscriber.Audience("orders")))
	defer accept.Close()
	enqueue := func(jti string, more jwt.MapClaims) []byte {
		t.Helper()
		claims := jwt.MapClaims{"jti": jti, "sub": "user of " + jti}
		for name, v := range more {
			claims[name] = v
		}
		if got := w.status("POST", accept.URL, w.mint(claims)); got != http.StatusAccepted {
			t.Fatalf("%d", got)
		}
		return <-messages
	}

	told := make(chan subscriber.Revocation, 1)
	running, done := make(chan context.Context, 1), make(chan struct{})
	works := worker{
		sub: w.subscribe(func(c *subscriber.Config) {
			c.OnRevoked = func(r subscriber.Revocation) { told <- r }
		}),
		do: func(ctx context.Context, order string) error {
			running <- ctx
			select {
			case <-ctx.Done():
				return ctx.Err()
			case <-done:
				return nil
			}
		},
	}
	revoked := func(err error) bool { return errors.As(err, new(*subscriber.RevokedError)) }
	mustApply := func(kind events.Kind, value string) {
		t.Helper()
		w.revoke(kind, value)
		head := w.position()
		w.eventually("the worker has it", func() bool { return works.sub.Status().Position == head.String() })
	}

	waiting := enqueue("waiting", nil)
	mustApply(events.KindToken, "waiting")
	if err := works.take(t.Context(), waiting); !revoked(err) {
		t.Errorf("revoked while it waited: %v", err)
	}

	// Its own token is good, the one that it was exchanged for is not.
	var child job
	w.must(json.Unmarshal(enqueue("child", nil), &child))
	child.Lineage = append(child.Lineage, events.Claims{Issuer: issuer, ID: "parent", Subject: "alice", IssuedAt: 1, Expires: time.Now().Add(time.Hour).UnixMilli()})
	ofChild, err := json.Marshal(child)
	w.must(err)
	mustApply(events.KindToken, "parent")
	if err := works.take(t.Context(), ofChild); !revoked(err) {
		t.Errorf("its parent is revoked: %v", err)
	}

	var late job
	w.must(json.Unmarshal(enqueue("late", nil), &late))
	late.Lineage[0].Expires = time.Now().Add(-time.Second).UnixMilli()
	expired, err := json.Marshal(late)
	w.must(err)
	soon, cancel := context.WithTimeout(t.Context(), 30*time.Second)
	defer cancel()
	if err := works.take(soon, expired); !errors.Is(err, subscriber.ErrExpired) {
		t.Errorf("expired while it waited: %v", err)
	}
	for _, message := range []string{`{}`, `x`, `{"Order":"report","Lineage":[]}`} {
		if err := works.take(t.Context(), []byte(message)); err == nil {
			t.Errorf("%s was done", message)
		}
	}
	select {
	case <-running:
		t.Fatal("one of these was begun")
	default:
	}

	begin := func(message []byte) <-chan error {
		ended := make(chan error, 1)
		go func() { ended <- works.take(t.Context(), message) }()
		select {
		case <-running:
		case err := <-ended:
			t.Fatalf("it was not begun: %v", err)
		}
		return ended
	}
	ended := begin(enqueue("running", nil))
	w.revoke(events.KindSubject, "user of running")
	select {
	case err := <-ended:
		if !revoked(err) {
			t.Errorf("revoked while it ran: %v", err)
		}
	case <-time.After(30 * time.Second):
		t.Fatal("it runs on without its token")
	}
	if r := <-told; r.Token.Claims.ID != "running" || r.Verdict.Kind != events.KindSubject {
		t.Errorf("told of %+v", r.Token.Claims)
	}
	ended = begin(enqueue("good", nil))
	close(done)
	if err := <-ended; err != nil {
		t.Errorf("a good job: %v", err)
	}
}
