package api

import (
	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
	"github.com/revocast/revocast/internal/plain"
)

// RevokeRequest is the body of POST /v1/revocations: one revocation, or a
// list of at most events.MaxOps, all or none of which take effect.
type RevokeRequest struct {
	RevocationRequest
	Revocations []RevocationRequest `json:"revocations,omitzero"`
}

// RevocationRequest asks for one revocation.
type RevocationRequest struct {
	Target events.Target `json:"target,omitzero"`
	// At most one of Cutoff, MinVersion and Suspend; none for kinds that are
	// revoked outright, and otherwise by default a cutoff of now.
	Cutoff      events.Time    `json:"cutoff,omitzero"`
	Except      *events.Except `json:"except,omitzero"` // goes with a cutoff: what it spares
	MinVersion  int64          `json:"min_version,omitzero"`
	Suspend     bool           `json:"suspend,omitzero"`
	EffectiveAt events.Time    `json:"effective_at,omitzero"` // default: at once
	ExpiresAt   events.Time    `json:"expires_at,omitzero"`   // the exp of a token or handle, if it is known
	Reason      events.Reason  `json:"reason,omitzero"`
	Note        string         `json:"note,omitzero"` // at most feed.MaxNoteLen bytes
}

// RevokeAnswer says what became of a RevokeRequest, in its order.
type RevokeAnswer struct {
	Revocations []Accepted  `json:"revocations"`
	Epoch       string      `json:"epoch"`
	Seq         uint64      `json:"seq"` // of the record that holds them
	Reach       *feed.Reach `json:"reach,omitzero"`
}

// Accepted is one revocation that was made.
type Accepted struct {
	ID          events.ID   `json:"id"`
	EffectiveAt events.Time `json:"effective_at"`
	RetainUntil events.Time `json:"retain_until,omitzero"` // absent: until restored
	// ReissueAfter comes with a cutoff: a token issued from then on is good.
	ReissueAfter events.Time `json:"reissue_after,omitzero"`
}

// What goes in and out of POST /v1/revocations can be long, and comes often.
// So it is read and written without reflection where it is plain, and as
// everything else where it is not: what is accepted, and what is said about
// the rest, is the JSON library's either way.

// parseRevoke reads the body of a request. Errors are *Problem.
func parseRevoke(body []byte) (RevokeRequest, error) {
	if req, ok := readRevoke(body); ok {
		return req, nil
	}
	return decodeRevoke(body)
}

func decodeRevoke(body []byte) (req RevokeRequest, err error) {
	if err := json.Unmarshal(body, &req, json.RejectUnknownMembers(true)); err != nil {
		return req, jsonProblem(err)
	}
	return req, nil
}

// readRevoke is decodeRevoke for bodies that are plain; false if this one is
// anything else.
func readRevoke(body []byte) (req RevokeRequest, ok bool) {
	const shortest = 64 // of revocations, about
	r := plain.NewReader(body)
	for name := range r.Fields {
		if string(name) != "revocations" {
			req.read(r, name, new(RevocationRequest))
			continue
		}
		list := make([]RevocationRequest, 0, min(events.MaxOps, len(body)/shortest+1))
		before := new(RevocationRequest)
		for i := range r.Elements {
			list = append(list, RevocationRequest{})
			for name := range r.Fields {
				list[i].read(r, name, before)
			}
			before = &list[i]
		}
		req.Revocations = list
	}
	return req, r.Done()
}

// read reads one field. It shares the text that is the same as in the
// revocation before.
func (req *RevocationRequest) read(r *plain.Reader, name []byte, before *RevocationRequest) {
	switch string(name) {
	case "target":
		req.readTarget(r, before)
	case "cutoff":
		readText(r, &req.Cutoff)
	case "except":
		req.Except = new(events.Except)
		for name := range r.Fields {
			switch string(name) {
			case "jti":
				req.Except.JTI = string(r.Text())
			case "sid":
				req.Except.SID = string(r.Text())
			default:
				r.Odd()
			}
		}
	case "min_version":
		req.MinVersion = r.Number()
	case "suspend":
		req.Suspend = r.Bool()
	case "effective_at":
		readText(r, &req.EffectiveAt)
	case "expires_at":
		readText(r, &req.ExpiresAt)
	case "reason":
		req.Reason = events.Reason(r.TextLike(string(before.Reason)))
	case "note":
		req.Note = r.TextLike(before.Note)
	default:
		r.Odd()
	}
}

func (req *RevocationRequest) readTarget(r *plain.Reader, before *RevocationRequest) {
	t := &req.Target
	for name := range r.Fields {
		switch string(name) {
		case "kind":
			if t.Kind.UnmarshalText(r.Text()) != nil {
				r.Odd()
			}
		case "iss":
			t.Iss = r.TextLike(before.Target.Iss)
		case "claim":
			t.Claim = r.TextLike(before.Target.Claim)
		case "value":
			t.Value = string(r.Text())
		case "client":
			t.Client = r.TextLike(before.Target.Client)
		default:
			r.Odd()
		}
	}
}

func readText(r *plain.Reader, t *events.Time) {
	if t.UnmarshalText(r.Text()) != nil {
		r.Odd()
	}
}

// encodeRevoked writes a RevokeAnswer.
func encodeRevoked(res feed.Result, reach *feed.Reach) ([]byte, error) {
	w := plain.Writer{Text: make([]byte, 0, 256+len(res.Revocations)*192)}
	w.Begin()
	w.Name("revocations")
	w.Text = append(w.Text, '[')
	for i := range res.Revocations {
		if i > 0 {
			w.Text = append(w.Text, ',')
		}
		a := &res.Revocations[i]
		w.Begin()
		w.String("id", string(a.ID))
		plain.WriteText(&w, "effective_at", a.EffectiveAt)
		if a.RetainUntil != 0 {
			plain.WriteText(&w, "retain_until", a.RetainUntil)
		}
		if a.ReissueAfter != 0 {
			plain.WriteText(&w, "reissue_after", a.ReissueAfter)
		}
		w.End()
	}
	w.Text = append(w.Text, ']')
	w.String("epoch", res.Position.Epoch)
	w.Uint("seq", res.Position.Seq)
	if reach != nil {
		data, err := json.Marshal(reach)
		w.Fail(err)
		w.Name("reach")
		w.Text = append(w.Text, data...)
	}
	w.End()
	return w.Text, w.Err
}
