package events

// Keys are the keys of everything that a revocation could match about one
// token, and what conditions are compared with. They cost a few hashes to
// make; keep them beside the verified token. A Keys is read-only once made:
// many goroutines may use one.
type Keys struct {
	n        int // how many of first are set
	first    [usualKeys]keyOf
	more     []keyOf // the rest, of tokens with very many
	token    Key     // of the jti, and
	session  Key     // of the sid, for what a cutoff spares; zero if there is none
	issuedAt int64
	version  int64 // -1 if the token has none
}

// usualKeys is one of each kind: tokens that have no more need no allocation.
const usualKeys = numKinds - 1

type keyOf struct {
	kind Kind
	key  Key
}

// Keys derives a token's keys in the feed with this salt. Claims that the
// token lacks have no key and cost nothing.
func (s Salt) Keys(c Claims) Keys {
	k := Keys{issuedAt: c.IssuedAt, version: -1}
	if c.HasVersion {
		k.version = c.Version
	}
	add := func(t Target) Key {
		if t.Value == "" && t.Kind != KindIssuer {
			return Key{}
		}
		if t.Iss == "" {
			t.Iss = c.Issuer
		}
		key := s.Key(t)
		k.add(keyOf{t.Kind, key})
		return key
	}
	// The order is that in which a check asks: what is revoked most comes first.
	k.token = add(Target{Kind: KindToken, Value: c.ID})
	add(Target{Kind: KindHandle, Value: c.Handle})
	add(Target{Kind: KindSubject, Value: c.Subject})
	k.session = add(Target{Kind: KindSession, Value: c.Session})
	for _, g := range c.Grants {
		add(Target{Kind: KindGrant, Value: g})
	}
	add(Target{Kind: KindClient, Value: c.Client})
	if c.Client != "" {
		add(Target{Kind: KindSubjectClient, Value: c.Subject, Client: c.Client})
	}
	for _, a := range c.Actors {
		add(Target{Kind: KindActor, Iss: a.Issuer, Value: a.Subject})
	}
	add(Target{Kind: KindDevice, Value: c.Device})
	add(Target{Kind: KindKey, Value: c.KeyID})
	add(Target{Kind: KindIssuer})
	for _, x := range c.Extra {
		add(Target{Kind: KindClaim, Claim: x.Name, Value: x.Value})
	}
	return k
}

func (k *Keys) add(it keyOf) {
	if k.n == len(k.first) {
		k.more = append(k.more, it)
		return
	}
	k.first[k.n] = it
	k.n++
}

// Len is how many keys the token has.
func (k *Keys) Len() int { return k.n + len(k.more) }

// All yields the keys with their kinds, in the order in which a check asks.
func (k *Keys) All(yield func(Kind, Key) bool) {
	for i := range k.n {
		if !yield(k.first[i].kind, k.first[i].key) {
			return
		}
	}
	for _, it := range k.more {
		if !yield(it.kind, it.key) {
			return
		}
	}
}
