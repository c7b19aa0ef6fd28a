package events

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"github.com/go-json-experiment/json"
)

// SnapshotHeader says what a snapshot holds.
//
// A snapshot is, in this order, and with all numbers big-endian:
//
//	8 bytes   "RVCSNAP" and the format's version, 1
//	4 bytes   the length of the header
//	          the header: this struct as JSON
//	          for each of the header's Sections, Count entries of Size bytes:
//	            key (16), exp (4)   for outright kinds, Size 20
//	            key (16), term (45) for the others, Size 61
//	            kind (1), key (16), ULID (16), effective (8), term (45), Size 86,
//	              for the section "scheduled"
//	          a term is: exp (4), cutoff (8), sparing cutoff (8), spared (16),
//	          min version (8), suspended (1)
//	32 bytes  SHA-256 of all that comes before
//
// A later release may make entries longer, at their end, or add sections of
// kinds that this one does not know.
type SnapshotHeader struct {
	Feed     string    `json:"feed"`
	Epoch    string    `json:"epoch"`
	Seq      uint64    `json:"seq"`
	Chain    Chain     `json:"chain"` // at Seq
	At       Time      `json:"at"`    // when it was made
	Salt     Salt      `json:"salt"`
	Sections []Section `json:"sections"`
}

// Section announces the entries of one kind.
type Section struct {
	Kind  string `json:"kind"`
	Count int    `json:"count"`
	Size  int    `json:"size"`
}

// validate reports whether there is what a reader can't do without.
func (h *SnapshotHeader) validate() error {
	if !ValidEpoch(h.Epoch) || h.At <= 0 {
		return fmt.Errorf("header without an epoch or a time")
	}
	return nil
}

// Position is where in the feed's history the snapshot was taken.
func (h *SnapshotHeader) Position() Position { return Position{h.Epoch, h.Seq} }

// Snapshot is a decoded snapshot.
type Snapshot struct {
	SnapshotHeader
	Set *LiveSet
	// Unknown names the kinds that the snapshot has entries of and this
	// release can't enforce.
	Unknown []string
}

const snapshotMagic = "RVCSNAP\x01"

// maxHeader bounds the header, and with it what a reader allocates before it
// has seen anything to trust.
const maxHeader = 64 << 10

const (
	termSize      = 4 + 8 + 8 + KeySize + 8 + 1
	scheduledSize = 1 + KeySize + 16 + 8 + termSize
	// scheduledSection is the section of what takes effect later.
	scheduledSection = "scheduled"
)

func entrySize(k Kind) int {
	if k.Outright() {
		return KeySize + 4
	}
	return KeySize + termSize
}

func appendTerm(b []byte, t Term) []byte {
	b = binary.BigEndian.AppendUint32(b, t.Exp)
	b = binary.BigEndian.AppendUint64(b, uint64(t.Cutoff))
	b = binary.BigEndian.AppendUint64(b, uint64(t.SparingCutoff))
	b = append(b, t.Spared[:]...)
	b = binary.BigEndian.AppendUint64(b, uint64(t.MinVersion))
	if t.Suspended {
		return append(b, 1)
	}
	return append(b, 0)
}

func decodeTerm(b []byte) Term {
	return Term{
		Exp:           binary.BigEndian.Uint32(b),
		Cutoff:        int64(binary.BigEndian.Uint64(b[4:])),
		SparingCutoff: int64(binary.BigEndian.Uint64(b[12:])),
		Spared:        Key(b[20:36]),
		MinVersion:    int64(binary.BigEndian.Uint64(b[36:])),
		Suspended:     b[44] != 0,
	}
}

// WriteSnapshot writes what is live at a unix second. The set must not change
// meanwhile. It fills in h.Sections.
func WriteSnapshot(w io.Writer, h SnapshotHeader, set *LiveSet, now int64) error {
	if err := h.validate(); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	h.Sections = nil
	for _, k := range Kinds() {
		n := 0
		for _, t := range set.All(k) {
			if t.Live(now) {
				n++
			}
		}
		if n > 0 {
			h.Sections = append(h.Sections, Section{k.String(), n, entrySize(k)})
		}
	}
	if n := len(set.Scheduled()); n > 0 {
		h.Sections = append(h.Sections, Section{scheduledSection, n, scheduledSize})
	}
	head, err := json.Marshal(h)
	if err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	sum := sha256.New()
	bw := bufio.NewWriterSize(io.MultiWriter(w, sum), 64<<10)
	bw.WriteString(snapshotMagic)
	bw.Write(binary.BigEndian.AppendUint32(nil, uint32(len(head))))
	bw.Write(head)
	for _, kind := range Kinds() {
		for key, t := range set.All(kind) {
			if !t.Live(now) {
				continue
			}
			b := append(bw.AvailableBuffer(), key[:]...)
			if kind.Outright() {
				b = binary.BigEndian.AppendUint32(b, t.Exp)
			} else {
				b = appendTerm(b, t)
			}
			bw.Write(b)
		}
	}
	for _, p := range set.Scheduled() {
		b := append(bw.AvailableBuffer(), byte(p.Kind))
		b = append(b, p.Key[:]...)
		id := p.ID.Bytes()
		b = append(b, id[:]...)
		b = binary.BigEndian.AppendUint64(b, uint64(p.Effective))
		bw.Write(appendTerm(b, p.Term))
	}
	if err := bw.Flush(); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	if _, err := w.Write(sum.Sum(nil)); err != nil {
		return fmt.Errorf("write snapshot: %w", err)
	}
	return nil
}

// ErrSnapshot is what every error about a snapshot's content is, as opposed
// to one of the reader it comes from.
var ErrSnapshot = errors.New("bad snapshot")

// ReadSnapshot reads a snapshot of at most maxBytes to its end, and returns it
// only if the checksum is right. What it allocates is in proportion to what it
// has read, not to what the header claims.
func ReadSnapshot(r io.Reader, maxBytes int64) (*Snapshot, error) {
	s, err := readSnapshot(&snapshotReader{r: bufio.NewReaderSize(r, 64<<10), sum: sha256.New(), left: maxBytes})
	if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%w: cut short", ErrSnapshot)
	}
	if err != nil {
		return nil, fmt.Errorf("read snapshot: %w", err)
	}
	return s, nil
}

func readSnapshot(r *snapshotReader) (*Snapshot, error) {
	var buf [64]byte
	lead := buf[:len(snapshotMagic)+4]
	if err := r.full(lead); err != nil {
		return nil, err
	}
	if !bytes.HasPrefix(lead, []byte(snapshotMagic)) {
		return nil, fmt.Errorf("%w: not a snapshot, or of a version that this release can't read", ErrSnapshot)
	}
	n := binary.BigEndian.Uint32(lead[len(snapshotMagic):])
	if n > maxHeader {
		return nil, fmt.Errorf("%w: header of %d bytes", ErrSnapshot, n)
	}
	head := make([]byte, n)
	if err := r.full(head); err != nil {
		return nil, err
	}
	s := &Snapshot{Set: NewLiveSet()}
	if err := json.Unmarshal(head, &s.SnapshotHeader); err != nil {
		return nil, fmt.Errorf("%w: header: %w", ErrSnapshot, err)
	}
	if err := s.validate(); err != nil {
		return nil, fmt.Errorf("%w: %w", ErrSnapshot, err)
	}
	for _, sec := range s.Sections {
		if err := s.readSection(r, sec); err != nil {
			return nil, err
		}
	}
	want := r.sum.Sum(nil)
	got := buf[:sha256.Size]
	if err := r.full(got); err != nil {
		return nil, err
	}
	if !bytes.Equal(got, want) {
		return nil, fmt.Errorf("%w: checksum", ErrSnapshot)
	}
	switch _, err := r.r.ReadByte(); err {
	case io.EOF:
		return s, nil
	case nil:
		return nil, fmt.Errorf("%w: something follows it", ErrSnapshot)
	default:
		return nil, err
	}
}

func (s *Snapshot) readSection(r *snapshotReader, sec Section) error {
	kind, err := ParseKind(sec.Kind)
	var least int
	var take func(entry []byte) bool // reports whether the entry makes sense
	switch {
	case err == nil:
		least, take = entrySize(kind), func(b []byte) bool { return s.readEntry(kind, b) }
	case sec.Kind == scheduledSection:
		least, take = scheduledSize, s.readScheduled
	default:
		s.Unknown = append(s.Unknown, sec.Kind)
		least, take = 1, func([]byte) bool { return true }
	}
	if sec.Count < 0 || sec.Size < least || sec.Size > 1024 {
		return fmt.Errorf("%w: section %.32q with %d entries of %d bytes", ErrSnapshot, sec.Kind, sec.Count, sec.Size)
	}
	entry := make([]byte, sec.Size)
	checked := func(i int, entry []byte) error {
		if !take(entry) {
			return fmt.Errorf("%w: entry %d of section %s", ErrSnapshot, i, sec.Kind)
		}
		return nil
	}
	// Room is made in proportion to what has arrived, and before any of it is put
	// there: entries come in the order of the tables, and would all crowd at the
	// beginning of small ones.
	var held []byte
	hold := 0
	if err == nil {
		hold = sec.Count / 16
	}
	for i := range sec.Count {
		if err := r.full(entry); err != nil {
			return err
		}
		if i < hold {
			held = append(held, entry...)
			continue
		}
		if i == hold && err == nil {
			s.Set.Reserve(kind, min(sec.Count, maxReserve))
			for j := range hold {
				if err := checked(j, held[j*sec.Size:(j+1)*sec.Size]); err != nil {
					return err
				}
			}
			held = nil
		}
		if err := checked(i, entry); err != nil {
			return err
		}
	}
	return nil
}

// maxReserve bounds the room that is made for entries before they come: for
// what is more, as they come.
const maxReserve = 1 << 25

func (s *Snapshot) readEntry(kind Kind, b []byte) bool {
	var t Term
	if kind.Outright() {
		t.Exp = binary.BigEndian.Uint32(b[KeySize:])
	} else {
		t = decodeTerm(b[KeySize:])
	}
	if !t.valid(kind) {
		return false
	}
	s.Set.Join(kind, Key(b[:KeySize]), t)
	return true
}

// readScheduled takes one in as not yet in effect; what is in effect at the
// time of the snapshot stands among the entries, too.
func (s *Snapshot) readScheduled(b []byte) bool {
	p := Scheduled{
		Kind:      Kind(b[0]),
		Key:       Key(b[1:17]),
		ID:        IDFrom([16]byte(b[17:33])),
		Effective: int64(binary.BigEndian.Uint64(b[33:])),
		Term:      decodeTerm(b[41:]),
	}
	if p.Kind >= numKinds {
		if name := p.Kind.String(); !slices.Contains(s.Unknown, name) {
			s.Unknown = append(s.Unknown, name)
		}
		return true
	}
	if !p.Kind.Valid() || !p.Term.valid(p.Kind) || p.Effective <= 0 {
		return false
	}
	s.Set.Schedule(p, 0)
	return true
}

// snapshotReader reads whole pieces, sums them, and keeps to a limit.
type snapshotReader struct {
	r    *bufio.Reader
	sum  hash.Hash
	left int64
}

func (r *snapshotReader) full(b []byte) error {
	if r.left -= int64(len(b)); r.left < 0 {
		return fmt.Errorf("%w: larger than allowed", ErrSnapshot)
	}
	if _, err := io.ReadFull(r.r, b); err != nil {
		return err
	}
	r.sum.Write(b)
	return nil
}
