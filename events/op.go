package events

// Verb is what an operation does. A reader that meets a verb it does not know
// can't enforce the record, must say so, and is not fresh.
type Verb string

// The verbs of this release.
const (
	Revoke  Verb = "revoke"
	Restore Verb = "restore"
)

// Op is one operation as the feed carries it: keys, no identifiers.
type Op struct {
	Verb Verb `json:"op"`
	Key  Key  `json:"k"`
	Kind Kind `json:"kind"`
	// Term is what a revoke adds. A restore has none.
	Term
	ID ID `json:"id"`
	// Effective is when a revoke takes effect, in unix milliseconds by the
	// hub's clock; zero: at once.
	Effective int64 `json:"effective,omitzero"`
	// Left is what other revocations still say about the target after a
	// restore; nil if nothing. It replaces what was known about the key,
	// and is right because the hub appends a restore only at the very
	// position at which it computed Left.
	Left *Term `json:"left,omitzero"`
}

// Reason is why something was revoked or restored: one word of a fixed list.
type Reason string

// The reasons. A revocation for Compromised is not restored unless forced.
const (
	Logout         Reason = "logout"
	PasswordChange Reason = "password_change"
	Compromised    Reason = "compromised"
	RotationReuse  Reason = "rotation_reuse"
	Policy         Reason = "policy"
	Offboarding    Reason = "offboarding"
	Admin          Reason = "admin"
	Other          Reason = "other"
)

// Reasons lists the reasons.
func Reasons() []Reason {
	return []Reason{Logout, PasswordChange, Compromised, RotationReuse, Policy, Offboarding, Admin, Other}
}

// AuditOp is one operation in full, as the audit part keeps it.
type AuditOp struct {
	Verb   Verb   `json:"op"`
	ID     ID     `json:"id"`
	Target Target `json:"target"`
	// One of Cutoff, MinVersion and Suspend is set for kinds that are not
	// outright. Except goes with Cutoff.
	Cutoff     Time    `json:"cutoff,omitzero"`
	Except     *Except `json:"except,omitzero"`
	MinVersion int64   `json:"min_version,omitzero"`
	Suspend    bool    `json:"suspend,omitzero"`
	// EffectiveAt is when it takes effect; zero: at once.
	EffectiveAt Time `json:"effective_at,omitzero"`
	// ExpiresAt is what the caller said about a single token's exp, if anything.
	ExpiresAt Time `json:"expires_at,omitzero"`
	// RetainUntil is Term.Exp as a time; zero for Never, and on a restore.
	RetainUntil Time   `json:"retain_until,omitzero"`
	Reason      Reason `json:"reason"`
	Note        string `json:"note,omitzero"`
	// Actor is the name of the credential that asked.
	Actor string `json:"actor"`
	// Source is the door it came through, such as "api".
	Source string `json:"source"`
	// Forced says that a restore overrode the protection of Compromised.
	Forced bool `json:"forced,omitzero"`
	// Request is set on the first operation of a request that carried an
	// Idempotency-Key.
	Request *Request `json:"request,omitzero"`
}

// Except names the one token or session of the target's issuer that a cutoff
// spares; one of its fields is set.
type Except struct {
	JTI string `json:"jti,omitzero"`
	SID string `json:"sid,omitzero"`
}

// Validate reports what is wrong with sparing this by a cutoff of a target, as
// a *FieldError, or nil. What is spared is named by its issuer, too, and that
// is the target's: so nothing can be spared where the target's issuer is not
// the token's, or where no cutoff decides.
func (e Except) Validate(of Target) error {
	problem := ""
	switch {
	case of.Kind.Outright():
		problem = "goes with a cutoff only"
	case (e.JTI == "") == (e.SID == ""):
		problem = "want one of jti and sid"
	case of.Kind == KindActor:
		problem = "not for kind actor, whose issuer need not be the token's"
	case of.Kind == KindSession && e.SID == of.Value:
		problem = "spares all that is revoked"
	default:
		return CheckText("except", e.JTI+e.SID, MaxValueLen)
	}
	return &FieldError{"except", problem}
}

// Term is what the operation, a revoke, says about its target in the feed with
// this salt.
func (a AuditOp) Term(salt Salt) Term {
	t := Term{Cutoff: int64(a.Cutoff), MinVersion: a.MinVersion, Suspended: a.Suspend, Exp: Never}
	if a.RetainUntil != 0 {
		t.Exp = uint32(min(a.RetainUntil/1000, Never))
	}
	if a.Except != nil {
		spared := Target{Kind: KindToken, Iss: a.Target.Iss, Value: a.Except.JTI}
		if a.Except.SID != "" {
			spared.Kind, spared.Value = KindSession, a.Except.SID
		}
		t.Cutoff, t.SparingCutoff, t.Spared = 0, t.Cutoff, salt.Key(spared)
	}
	return t
}

// Request remembers a request that may be sent again.
type Request struct {
	// Key is a hash of who asked and of the Idempotency-Key.
	Key Key `json:"key"`
	// Body is a hash of what was asked. The same key with another body is
	// a mistake of the caller's.
	Body Key `json:"body"`
	// Ops is how many operations, from this one on, the request made.
	Ops int `json:"ops"`
}
