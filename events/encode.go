package events

import "github.com/revocast/revocast/internal/plain"

// encoder writes operations as the JSON library would write Op and AuditOp,
// byte for byte, without its detours: a hub writes each operation twice, and
// that was a quarter of what a revocation cost. A test holds the two together.
type encoder struct{ plain.Writer }

func (e *encoder) op(op *Op) {
	e.Begin()
	e.String("op", string(op.Verb))
	e.key("k", op.Key)
	e.kind(op.Kind)
	e.term(&op.Term)
	e.String("id", string(op.ID))
	e.OptNumber("effective", op.Effective)
	if op.Left != nil {
		e.Name("left")
		e.Begin()
		e.term(op.Left)
		e.End()
	}
	e.End()
}

func (e *encoder) term(t *Term) {
	e.OptNumber("cutoff", t.Cutoff)
	e.OptNumber("sparing_cutoff", t.SparingCutoff)
	if t.Spared != (Key{}) {
		e.key("spared", t.Spared)
	}
	e.OptNumber("min_version", t.MinVersion)
	e.OptBool("suspended", t.Suspended)
	e.OptNumber("exp", int64(t.Exp))
}

func (e *encoder) auditOp(op *AuditOp) {
	e.Begin()
	e.String("op", string(op.Verb))
	e.String("id", string(op.ID))
	e.Name("target")
	e.Begin()
	e.kind(op.Target.Kind)
	e.String("iss", op.Target.Iss)
	e.OptString("claim", op.Target.Claim)
	e.OptString("value", op.Target.Value)
	e.OptString("client", op.Target.Client)
	e.End()
	e.time("cutoff", op.Cutoff)
	if op.Except != nil {
		e.Name("except")
		e.Begin()
		e.OptString("jti", op.Except.JTI)
		e.OptString("sid", op.Except.SID)
		e.End()
	}
	e.OptNumber("min_version", op.MinVersion)
	e.OptBool("suspend", op.Suspend)
	e.time("effective_at", op.EffectiveAt)
	e.time("expires_at", op.ExpiresAt)
	e.time("retain_until", op.RetainUntil)
	e.String("reason", string(op.Reason))
	e.OptString("note", op.Note)
	e.String("actor", op.Actor)
	e.String("source", op.Source)
	e.OptBool("forced", op.Forced)
	if q := op.Request; q != nil {
		e.Name("request")
		e.Begin()
		e.key("key", q.Key)
		e.key("body", q.Body)
		e.Number("ops", int64(q.Ops))
		e.End()
	}
	e.End()
}

func (e *encoder) time(name string, t Time) {
	if t != 0 {
		plain.WriteText(&e.Writer, name, t)
	}
}

func (e *encoder) key(name string, k Key) { plain.WriteText(&e.Writer, name, k) }

func (e *encoder) kind(k Kind) {
	if !k.Valid() {
		_, err := k.MarshalText()
		e.Fail(err)
	}
	e.String("kind", k.String())
}
