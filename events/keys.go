package events

// Keys are the keys of everything that a revocation could match about one
// token, and what conditions are compared with. They cost a few hashes to
// make; keep them beside the verified token. A Keys is read-only once made:
// many goroutines may use one.
type Keys struct {
	issuedAt int64
	version  int64 // -1 if the token has none
	more     []someKeys
	first    someKeys
	token    Key // of the jti, and
	session  Key // of the sid, for what a cutoff spares; zero if there is none
}

// someKeys are as many keys as there are kinds, and so all that most tokens
// have. The kinds are together: a check reads no key of a kind of which nothing
// is revoked.
type someKeys struct {
	n     uint8
	kinds [numKinds - 1]Kind
	keys  [numKinds - 1]Key
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
		k.add(t.Kind, key)
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

func (k *Keys) add(kind Kind, key Key) {
	to := &k.first
	if len(k.more) > 0 {
		to = &k.more[len(k.more)-1]
	}
	if int(to.n) == len(to.keys) {
		k.more = append(k.more, someKeys{})
		to = &k.more[len(k.more)-1]
	}
	to.kinds[to.n], to.keys[to.n] = kind, key
	to.n++
}

// Len is how many keys the token has.
func (k *Keys) Len() int {
	n := int(k.first.n)
	for i := range k.more {
		n += int(k.more[i].n)
	}
	return n
}

// All yields the keys with their kinds, in the order in which a check asks.
func (k *Keys) All(yield func(Kind, Key) bool) {
	if !k.first.all(yield) {
		return
	}
	for i := range k.more {
		if !k.more[i].all(yield) {
			return
		}
	}
}

func (s *someKeys) all(yield func(Kind, Key) bool) bool {
	for i, kind := range s.kinds[:s.n] {
		if !yield(kind, s.keys[i]) {
			return false
		}
	}
	return true
}
