package events

import "math"

// Never is the Exp of what matters until it is restored.
const Never = math.MaxUint32

// Term says which of a target's tokens are revoked, and until when that has
// to be remembered. For outright kinds it is only an expiry: every token of
// the target is revoked. For the others it holds conditions, at least one, and
// a token is revoked if it meets any of them.
type Term struct {
	// Cutoff revokes tokens issued at or before it, in unix milliseconds.
	Cutoff int64 `json:"cutoff,omitzero"`
	// SparingCutoff is a cutoff that spares one token or session. It is later
	// than Cutoff, or both it and Spared are zero.
	SparingCutoff int64 `json:"sparing_cutoff,omitzero"`
	// Spared is the key of that token or session.
	Spared Key `json:"spared,omitzero"`
	// MinVersion revokes tokens whose version claim is lower or missing.
	MinVersion int64 `json:"min_version,omitzero"`
	// Suspended revokes every token, whenever it was or will be issued.
	Suspended bool `json:"suspended,omitzero"`
	// Exp is the unix second at which no token that the term matches can be
	// valid any more, or Never.
	Exp uint32 `json:"exp,omitzero"`
}

// Join is what two terms say together. It is commutative, associative and
// idempotent, so that duplicates and reordering can't take anything away. What
// either says is remembered for as long as the longer of the two. It revokes
// exactly what either revokes, but for one thing: a token that both spare, the
// one by its jti and the other by its sid, is revoked by the earlier cutoff.
func (t Term) Join(u Term) Term {
	j := Term{
		Cutoff:     max(t.Cutoff, u.Cutoff),
		MinVersion: max(t.MinVersion, u.MinVersion),
		Suspended:  t.Suspended || u.Suspended,
		Exp:        max(t.Exp, u.Exp),
	}
	// Two cutoffs that spare different tokens spare none that is as old as the
	// earlier of them: (nearly) nobody is both.
	later, earlier := t, u
	if u.SparingCutoff > t.SparingCutoff ||
		u.SparingCutoff == t.SparingCutoff && string(u.Spared[:]) > string(t.Spared[:]) {
		later, earlier = u, t
	}
	if later.Spared != earlier.Spared {
		j.Cutoff = max(j.Cutoff, earlier.SparingCutoff)
	}
	if later.SparingCutoff > j.Cutoff {
		j.SparingCutoff, j.Spared = later.SparingCutoff, later.Spared
	}
	return j
}

// Live reports whether the term still matters at a unix second.
func (t Term) Live(now int64) bool { return t.Exp == Never || int64(t.Exp) > now }

// Matches reports whether the term, about a target of this kind that the token
// has the key of, revokes the token: outright, or because it meets one of the
// conditions. It does not look at Exp.
func (t *Term) Matches(kind Kind, k *Keys) bool {
	return kind.Outright() || t.Suspended ||
		t.Cutoff != 0 && k.issuedAt <= t.Cutoff ||
		t.SparingCutoff != 0 && k.issuedAt <= t.SparingCutoff && t.Spared != k.token && t.Spared != k.session ||
		t.MinVersion != 0 && k.version < t.MinVersion
}

// valid reports whether the term is one that a record may carry for a kind.
func (t Term) valid(kind Kind) bool {
	conditions := t.Cutoff != 0 || t.SparingCutoff != 0 || t.MinVersion != 0 || t.Suspended
	return t.Exp != 0 && t.Cutoff >= 0 && t.MinVersion >= 0 &&
		(t.SparingCutoff == 0 || t.SparingCutoff > t.Cutoff) && (t.SparingCutoff == 0) == (t.Spared == Key{}) &&
		conditions != kind.Outright()
}
