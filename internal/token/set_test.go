package token

import (
	"context"
	"reflect"
	"testing"
	"time"
)

func mustVerifySET(t *testing.T, v *Verifier, raw string) *SET {
	t.Helper()
	s, err := v.VerifySET(context.Background(), raw)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func TestSET(t *testing.T) {
	v := eventVerifier(t)
	for library, sign := range signers {
		t.Run(library, func(t *testing.T) {
			got := mustVerifySET(t, v, sign("secevent+jwt", setClaims.with(claimSet{"toe": ago(time.Hour)})))
			at, err := got.DetailTime("event_timestamp")
			if err != nil || at != noon.Add(-time.Minute).UnixMilli() {
				t.Errorf("event_timestamp %d, %v", at, err)
			}
			want := &SET{
				Issuer: ours, ID: "e-1", KeyID: "rsa", IssuedAt: noon.Add(-time.Second).UnixMilli(), ToldAt: noon.Add(-time.Hour).UnixMilli(), Txn: "t-1",
				Subject: Subject{Format: FormatIssSub, Iss: ours, Sub: "alice-secret"},
				Event:   sessionRevoked, Details: got.Details, Payload: got.Payload,
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%+v", got)
			}
		})
	}
	for name, change := range map[string]claimSet{
		"no txn":            {"txn": nil},
		"old":               {"iat": ago(1000 * time.Hour)},
		"unknown event":     {"events": claimSet{otherEvent: claimSet{}}},
		"several audiences": {"aud": []string{"x", us}},
		"claims of its own": {"sid": "s", "nonce": "n"},
	} {
		if _, err := v.VerifySET(context.Background(), signSET(setClaims.with(change))); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

// Each line breaks one rule.
func TestSETRefused(t *testing.T) {
	v := eventVerifier(t)
	details := setClaims["events"].(claimSet)[sessionRevoked]
	for name, c := range map[string]struct {
		code   Code
		change claimSet
	}{
		"unknown issuer":       {CodeUnknownIssuer, claimSet{"iss": ours + "/"}},
		"another issuer's key": {CodeSignature, claimSet{"iss": theirs}},
		"no aud":               {CodeAudience, claimSet{"aud": nil}},
		"another aud":          {CodeAudience, claimSet{"aud": "revocast"}},
		"no iat":               {CodeClaims, claimSet{"iat": nil}},
		"from the future":      {CodeNotYetValid, claimSet{"iat": ago(-2001 * time.Millisecond)}},
		"not valid before":     {CodeNotYetValid, claimSet{"nbf": ago(-2001 * time.Millisecond)}},
		"no jti":               {CodeClaims, claimSet{"jti": nil}},
		"exp":                  {CodeClaims, claimSet{"exp": ago(-time.Hour)}},
		"exp 0":                {CodeClaims, claimSet{"exp": 0}},
		"sub":                  {CodeClaims, claimSet{"sub": "alice-secret"}},
		"sub empty":            {CodeClaims, claimSet{"sub": ""}},
		"txn a number":         {CodeMalformed, claimSet{"txn": 8675309}},
		"toe a string":         {CodeMalformed, claimSet{"toe": "now"}},
		"toe in milliseconds":  {CodeMalformed, claimSet{"toe": noon.UnixMilli()}},
		"no events":            {CodeClaims, claimSet{"events": nil}},
		"events empty":         {CodeClaims, claimSet{"events": claimSet{}}},
		"events an array":      {CodeMalformed, claimSet{"events": []string{sessionRevoked}}},
		"two events":           {CodeClaims, claimSet{"events": claimSet{sessionRevoked: details, otherEvent: claimSet{}}}},
		"event a string":       {CodeClaims, claimSet{"events": claimSet{sessionRevoked: "x"}}},
		"event without a type": {CodeClaims, claimSet{"events": claimSet{"": claimSet{}}}},
		"no sub_id":            {CodeClaims, claimSet{"sub_id": nil}},
		"sub_id a string":      {CodeClaims, claimSet{"sub_id": "alice-secret"}},
		"sub_id without":       {CodeClaims, claimSet{"sub_id": claimSet{"iss": ours, "sub": "s"}}},
	} {
		t.Run(name, func(t *testing.T) { mustRefuseEvent(t, v.VerifySET, c.code, signSET(setClaims.with(c.change))) })
	}
}

func TestDetailTime(t *testing.T) {
	v := eventVerifier(t)
	for name, c := range map[string]struct {
		value any
		want  int64
		ok    bool
	}{
		"absent":          {nil, 0, true},
		"seconds":         {1615304991, 1615304991000, true},
		"with a fraction": {1615304991.643, 1615304991643, true},
		"milliseconds":    {1615304991643, 0, false},
		"a string":        {"1615304991", 0, false},
		"negative":        {-1, 0, false},
	} {
		details := claimSet{}.with(claimSet{"event_timestamp": c.value})
		s := mustVerifySET(t, v, signSET(setClaims.with(claimSet{"events": claimSet{sessionRevoked: details}})))
		if at, err := s.DetailTime("event_timestamp"); at != c.want || (err == nil) != c.ok {
			t.Errorf("%s: %d, %v", name, at, err)
		}
	}
}

func TestSubjectIdentifiers(t *testing.T) {
	v := eventVerifier(t)
	opaque := claimSet{"format": "opaque", "id": "x"}
	for name, c := range map[string]struct {
		id   claimSet
		want *Subject // nil: refused
	}{
		"iss_sub":          {issSub("a"), &Subject{Format: "iss_sub", Iss: ours, Sub: "a"}},
		"with more":        {issSub("a").with(claimSet{"more": 1}), &Subject{Format: "iss_sub", Iss: ours, Sub: "a"}},
		"opaque":           {opaque, &Subject{Format: "opaque", ID: "x"}},
		"jwt_id":           {claimSet{"format": "jwt_id", "iss": ours, "jti": "j"}, &Subject{Format: "jwt_id", Iss: ours, JTI: "j"}},
		"email":            {claimSet{"format": "email", "email": "a@b.example"}, &Subject{Format: "email"}},
		"account":          {claimSet{"format": "account", "uri": "acct:a@b.example"}, &Subject{Format: "account"}},
		"phone_number":     {claimSet{"format": "phone_number", "phone_number": "+12065550100"}, &Subject{Format: "phone_number"}},
		"did":              {claimSet{"format": "did", "url": "did:example:1"}, &Subject{Format: "did"}},
		"uri":              {claimSet{"format": "uri", "uri": "urn:x"}, &Subject{Format: "uri"}},
		"of somebody else": {claimSet{"format": "catalog_item", "n": 1}, &Subject{Format: "catalog_item"}},
		"aliases": {claimSet{"format": "aliases", "identifiers": []any{issSub("a"), opaque}},
			&Subject{Format: "aliases", Identifiers: []Subject{{Format: "iss_sub", Iss: ours, Sub: "a"}, {Format: "opaque", ID: "x"}}}},
		"complex": {claimSet{"format": "complex", "user": issSub("a"), "session": opaque},
			&Subject{Format: "complex", Members: map[string]Subject{"user": {Format: "iss_sub", Iss: ours, Sub: "a"}, "session": {Format: "opaque", ID: "x"}}}},
		"complex of aliases": {claimSet{"format": "complex", "user": claimSet{"format": "aliases", "identifiers": []any{opaque}}},
			&Subject{Format: "complex", Members: map[string]Subject{"user": {Format: "aliases", Identifiers: []Subject{{Format: "opaque", ID: "x"}}}}}},

		"format a number":      {claimSet{"format": 1}, nil},
		"format empty":         {claimSet{"format": ""}, nil},
		"no sub":               {claimSet{"format": "iss_sub", "iss": ours}, nil},
		"sub empty":            {issSub(""), nil},
		"sub a number":         {issSub("").with(claimSet{"sub": 5}), nil},
		"no id":                {claimSet{"format": "opaque"}, nil},
		"no jti":               {claimSet{"format": "jwt_id", "iss": ours}, nil},
		"no email":             {claimSet{"format": "email"}, nil},
		"complex, empty":       {claimSet{"format": "complex"}, nil},
		"complex of a text":    {claimSet{"format": "complex", "user": "a"}, nil},
		"complex of no format": {claimSet{"format": "complex", "user": claimSet{}}, nil},
		"complex of complex":   {claimSet{"format": "complex", "user": claimSet{"format": "complex", "user": opaque}}, nil},
		"complex, broken":      {claimSet{"format": "complex", "user": issSub("a"), "session": claimSet{"format": "opaque"}}, nil},
		"aliases, empty":       {claimSet{"format": "aliases", "identifiers": []any{}}, nil},
		"aliases, none":        {claimSet{"format": "aliases"}, nil},
		"aliases of aliases":   {claimSet{"format": "aliases", "identifiers": []any{claimSet{"format": "aliases"}}}, nil},
		"aliases of complex":   {claimSet{"format": "aliases", "identifiers": []any{claimSet{"format": "complex", "user": opaque}}}, nil},
		"aliases of a text":    {claimSet{"format": "aliases", "identifiers": []any{"a"}}, nil},
	} {
		raw := signSET(setClaims.with(claimSet{"sub_id": c.id}))
		if c.want == nil {
			mustRefuseEvent(t, v.VerifySET, CodeClaims, raw)
			continue
		}
		if got := mustVerifySET(t, v, raw).Subject; !reflect.DeepEqual(got, *c.want) {
			t.Errorf("%s: %+v", name, got)
		}
	}
}
