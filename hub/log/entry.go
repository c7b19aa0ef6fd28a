package log

import (
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
)

// The headers of a message: the chain before and after its record. Before lets
// a reader start at any record; after lets it see that this very record is
// whole, without waiting for the next.
const (
	headerBefore = "Revocast-Chain"
	headerAfter  = "Revocast-Chain-After"
)

// Entry is one record as the log holds it. The record's parts are the reader's
// to keep, not to change.
type Entry struct {
	Seq uint64
	At  time.Time // when the log stored it, by the server's clock
	events.Record
	FeedHash, AuditHash events.Hash
	Chain               events.Chain // after this record
}

// decode reads a message and checks that the record fits the chain that its
// headers tell. It returns the chain before the record, too.
func decode(seq uint64, at time.Time, header nats.Header, data []byte) (e Entry, before events.Chain, err error) {
	e = Entry{Seq: seq, At: at}
	var after events.Chain
	if err := before.UnmarshalText([]byte(header.Get(headerBefore))); err != nil {
		return e, before, fmt.Errorf("header %s: %w", headerBefore, err)
	}
	if err := after.UnmarshalText([]byte(header.Get(headerAfter))); err != nil {
		return e, before, fmt.Errorf("header %s: %w", headerAfter, err)
	}
	if e.Record, err = events.DecodeRecord(data); err != nil {
		return e, before, err
	}
	e.FeedHash = events.HashPart(e.Record.Feed)
	e.AuditHash = events.HashPart(e.Record.Audit)
	e.Chain = before.Next(e.FeedHash, e.AuditHash)
	switch {
	case e.Chain != after:
		return e, before, errors.New("the record does not hash to its chain")
	case seq == 1 && before != events.Chain{}:
		return e, before, errors.New("the first record follows a chain")
	}
	return e, before, nil
}

// encode makes the message for a record, which is what Draft.Message returns,
// and returns the chain after it.
func encode(subject string, record []byte, before events.Chain) (*nats.Msg, events.Chain) {
	rec, _ := events.DecodeRecord(record) // no error: a draft's is one
	after := before.Next(events.HashPart(rec.Feed), events.HashPart(rec.Audit))
	return &nats.Msg{
		Subject: subject,
		Header:  nats.Header{headerBefore: {before.String()}, headerAfter: {after.String()}},
		Data:    record,
	}, after
}
