package events_test

import (
	"fmt"
	"log"
	"strings"
	"time"

	"github.com/revocast/revocast/events"
)

// A token is checked against everything that could be revoked about it. The
// keys are made once, when the token's signature is verified; asking the set
// costs a few look-ups.
func ExampleLiveSet_Match() {
	salt := events.Salt{1, 2, 3} // a subscriber has it from the hub's hello

	claims, err := events.ParseClaims([]byte(`{"iss":"https://issuer.example","sub":"alice","jti":"j-1","iat":1764000000,"exp":1764000900}`))
	if err != nil {
		log.Fatal(err)
	}
	keys := salt.Keys(claims)
	now := int64(1764000060)

	set := events.NewLiveSet()
	_, revoked := set.Match(&keys, now)
	fmt.Println("nothing was revoked:", revoked)

	// Alice changes her password half a second after the token was issued.
	alice := salt.Key(events.Target{Kind: events.KindSubject, Iss: "https://issuer.example", Value: "alice"})
	set.Join(events.KindSubject, alice, events.Term{Cutoff: 1764000000_500, Exp: 1764003600})
	verdict, revoked := set.Match(&keys, now)
	fmt.Println("all of alice's were:", revoked, "by", verdict.Kind)

	// She logs in again. The next full second is late enough.
	claims.IssuedAt = 1764000001_000
	keys = salt.Keys(claims)
	_, revoked = set.Match(&keys, now)
	fmt.Println("a token issued later:", revoked)

	// Output:
	// nothing was revoked: false
	// all of alice's were: true by subject
	// a token issued later: false
}

// A hub writes an operation in both its forms; a subscriber applies the one
// and extends the chain by the hash of the other.
func Example_record() {
	salt := events.Salt{1, 2, 3}
	target := events.Target{Kind: events.KindToken, Iss: "https://issuer.example", Value: "j-1"}
	if err := target.Validate(); err != nil {
		log.Fatal(err)
	}
	at := time.Date(2025, 11, 24, 16, 0, 0, 0, time.UTC)
	id, err := events.NewID(at, strings.NewReader("0123456789")) // crypto/rand.Reader, outside of examples
	if err != nil {
		log.Fatal(err)
	}
	until := at.Add(15 * time.Minute)

	// The hub.
	var draft events.Draft
	if err := draft.Add(
		events.Op{Verb: events.Revoke, Key: salt.Key(target), Kind: target.Kind, Term: events.Term{Exp: uint32(until.Unix())}, ID: id},
		events.AuditOp{Verb: events.Revoke, ID: id, Target: target, RetainUntil: events.At(until), Reason: events.Logout, Actor: "shop", Source: "api"},
	); err != nil {
		log.Fatal(err)
	}
	record := draft.Record(events.At(at))
	message := record.Encode() // what the log keeps

	// Whoever follows the log.
	record, err = events.DecodeRecord(message)
	if err != nil {
		log.Fatal(err)
	}
	chain := events.Chain{}.Next(events.HashPart(record.Feed), events.HashPart(record.Audit))

	// A subscriber.
	part, err := events.ParseFeed(record.Feed)
	if err != nil {
		log.Fatal(err)
	}
	if len(part.Unknown) > 0 {
		log.Fatal("can't enforce ", part.Unknown) // and is not fresh from here on
	}
	set := events.NewLiveSet()
	for _, op := range part.Ops {
		set.Apply(op, int64(part.At))
	}
	keys := salt.Keys(events.Claims{Issuer: "https://issuer.example", ID: "j-1"})
	_, revoked := set.Match(&keys, at.Unix())
	fmt.Println("revoked:", revoked)
	_, revoked = set.Match(&keys, until.Unix())
	fmt.Println("once it has expired anyway:", revoked)
	fmt.Printf("%s\n", record.Feed)
	fmt.Println(chain)

	// Output:
	// revoked: true
	// once it has expired anyway: false
	// {"at":"2025-11-24T16:00:00.000Z","ops":[{"op":"revoke","k":"qKh655R9W33zSaA-i_rmFA","kind":"token","exp":1764000900,"id":"rev_01KAV9FT0060RK4CSM6MV3EE1S"}]}
	// mw3bWbP-00EIfnJnmnbIbli0r2R4-8OoOSUUyjm5DCk
}
