package feed

import (
	"bufio"
	"crypto/ed25519"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"io"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
)

// A state file is, in this order and with all numbers big-endian:
//
//	8 bytes   "RVCSTAT" and the format's version, 1
//	4 bytes   the length of the header
//	          the header: stateHeader as JSON
//	          the names of the issuers, then of the actors, each after its length (2)
//	          the revocations, oldest first:
//	            seq (8), operation (4), ULID (16), key (16), effective (8), at (8),
//	            issuer (4), actor (4), kind (1), reason (1), exp (4); then, unless
//	            the kind is outright, the rest of the term: cutoff (8), sparing
//	            cutoff (8), spared (16), min version (8), suspended (1)
//	          the requests, oldest first:
//	            key (16), body (16), seq (8), operation (4), at (8), operations (4)
//	64 bytes  the hub's signature over SHA-256 of all that comes before
//
// Only the hub that wrote it reads it, and only the same format: after an
// upgrade that changes it, the log is read once. So nothing is optional, and
// nothing is read before the signature was found to be right.
const stateMagic = "RVCSTAT\x01"

const (
	revSize     = 8 + 4 + 16 + events.KeySize + 8 + 8 + 4 + 4 + 1 + 1 + 4
	termRest    = 8 + 8 + events.KeySize + 8 + 1
	requestSize = 2*events.KeySize + 8 + 4 + 8 + 4
)

// write writes the state, sealed with the key, and returns how many bytes.
func (s *state) write(w io.Writer, key events.SigningKey) (int64, error) {
	head, err := json.Marshal(s.stateHeader)
	if err != nil {
		return 0, fmt.Errorf("write state: %w", err)
	}
	sum := sha256.New()
	var size counter
	bw := bufio.NewWriterSize(io.MultiWriter(w, sum, &size), 64<<10)
	bw.WriteString(stateMagic)
	bw.Write(binary.BigEndian.AppendUint32(nil, uint32(len(head))))
	bw.Write(head)
	for _, names := range [][]string{s.issuers.list, s.actors.list} {
		for _, name := range names {
			bw.Write(binary.BigEndian.AppendUint16(bw.AvailableBuffer(), uint16(len(name))))
			bw.WriteString(name)
		}
	}
	for i, r := range s.revs.from(0) {
		if s.dead.has(i) {
			continue
		}
		if _, err := bw.Write(r.appendTo(bw.AvailableBuffer())); err != nil {
			return 0, fmt.Errorf("write state: %w", err)
		}
	}
	for i := range s.requests {
		bw.Write(s.requests[i].appendTo(bw.AvailableBuffer()))
	}
	if err := bw.Flush(); err != nil {
		return 0, fmt.Errorf("write state: %w", err)
	}
	seal := key.SignState(events.Hash(sum.Sum(nil)))
	if _, err := w.Write(seal[:]); err != nil {
		return 0, fmt.Errorf("write state: %w", err)
	}
	return int64(size) + int64(len(seal)), nil
}

type counter int64

func (c *counter) Write(b []byte) (int, error) {
	*c += counter(len(b))
	return len(b), nil
}

func (r *rev) appendTo(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, r.seq)
	b = binary.BigEndian.AppendUint32(b, r.op)
	b = append(b, r.id[:]...)
	b = append(b, r.key[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(r.effective))
	b = binary.BigEndian.AppendUint64(b, uint64(r.at))
	b = binary.BigEndian.AppendUint32(b, r.iss)
	b = binary.BigEndian.AppendUint32(b, r.actor)
	b = append(b, byte(r.kind), r.reason)
	t := &r.term
	b = binary.BigEndian.AppendUint32(b, t.Exp)
	if r.kind.Outright() {
		return b
	}
	b = binary.BigEndian.AppendUint64(b, uint64(t.Cutoff))
	b = binary.BigEndian.AppendUint64(b, uint64(t.SparingCutoff))
	b = append(b, t.Spared[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.MinVersion))
	if t.Suspended {
		return append(b, 1)
	}
	return append(b, 0)
}

func (q *request) appendTo(b []byte) []byte {
	b = append(b, q.key[:]...)
	b = append(b, q.body[:]...)
	b = binary.BigEndian.AppendUint64(b, q.seq)
	b = binary.BigEndian.AppendUint32(b, q.op)
	b = binary.BigEndian.AppendUint64(b, uint64(q.at))
	return binary.BigEndian.AppendUint32(b, q.ops)
}

// readState returns the state that a file holds if it was sealed with the key,
// without the revocations that had expired by a unix second.
func readState(file []byte, key events.PublicKey, expired int64) (s state, err error) {
	size := len(file) - ed25519.SignatureSize
	if size < len(stateMagic)+4 {
		return s, errors.New("it is cut short")
	}
	if string(file[:len(stateMagic)]) != stateMagic {
		return s, errors.New("it is not a state file, or one of another release")
	}
	if key.VerifyState(events.HashPart(file[:size]), events.Signature(file[size:])) != nil {
		return s, errors.New("its signature is wrong: it is damaged, or another hub's")
	}
	r := stateReader{rest: file[len(stateMagic):size]}
	if err := json.Unmarshal(r.take(int(binary.BigEndian.Uint32(r.take(4)))), &s.stateHeader); err != nil {
		return s, fmt.Errorf("header: %w", err)
	}
	s.forgotten = s.Forgotten
	s.issuers, s.actors = r.names(s.Issuers), r.names(s.Actors)
	for range s.Revocations {
		v := r.rev()
		if r.short || !v.kind.Valid() || int(v.iss) >= s.Issuers || int(v.actor) >= s.Actors {
			return s, fmt.Errorf("revocation %d makes no sense", s.revs.len())
		}
		if v.term.Live(expired) {
			s.revs.add(v)
		}
	}
	s.forgotten = max(s.forgotten, expired)
	// A count that is wrong can ask for no more memory than the file has.
	s.requests = make([]request, 0, max(0, min(s.Requests, len(r.rest)/requestSize)))
	for range s.Requests {
		q := r.request()
		if r.short {
			return s, fmt.Errorf("request %d is cut short", len(s.requests))
		}
		s.requests = append(s.requests, q)
	}
	if len(r.rest) > 0 {
		return s, errors.New("something follows the last request")
	}
	return s, nil
}

// stateReader takes one piece after another off the front. When there is not
// enough left it gives zeros and remembers that.
type stateReader struct {
	rest  []byte
	short bool
}

var zeros [revSize + termRest]byte

func (r *stateReader) take(n int) []byte {
	if n < 0 || n > len(r.rest) {
		r.short, r.rest = true, nil
		return zeros[:min(max(n, 0), len(zeros))]
	}
	b := r.rest[:n]
	r.rest = r.rest[n:]
	return b
}

func (r *stateReader) names(n int) (list names) {
	for range n {
		name := r.take(int(binary.BigEndian.Uint16(r.take(2))))
		if r.short {
			break
		}
		list.number(string(name))
	}
	return list
}

func (r *stateReader) rev() rev {
	b := r.take(revSize)
	v := rev{
		place:     place{binary.BigEndian.Uint64(b), binary.BigEndian.Uint32(b[8:])},
		id:        [16]byte(b[12:]),
		key:       events.Key(b[28:]),
		effective: int64(binary.BigEndian.Uint64(b[44:])),
		at:        int64(binary.BigEndian.Uint64(b[52:])),
		iss:       binary.BigEndian.Uint32(b[60:]),
		actor:     binary.BigEndian.Uint32(b[64:]),
		kind:      events.Kind(b[68]),
		reason:    b[69],
		term:      events.Term{Exp: binary.BigEndian.Uint32(b[70:])},
	}
	if v.kind.Outright() || !v.kind.Valid() {
		return v
	}
	b = r.take(termRest)
	v.term.Cutoff = int64(binary.BigEndian.Uint64(b))
	v.term.SparingCutoff = int64(binary.BigEndian.Uint64(b[8:]))
	v.term.Spared = events.Key(b[16:])
	v.term.MinVersion = int64(binary.BigEndian.Uint64(b[32:]))
	v.term.Suspended = b[40] != 0
	return v
}

func (r *stateReader) request() request {
	b := r.take(requestSize)
	return request{
		key:   events.Key(b),
		body:  events.Key(b[16:]),
		place: place{binary.BigEndian.Uint64(b[32:]), binary.BigEndian.Uint32(b[40:])},
		at:    events.Time(binary.BigEndian.Uint64(b[44:])),
		ops:   binary.BigEndian.Uint32(b[52:]),
	}
}
