package events

import (
	"errors"
	"fmt"
	"math/big"
	"reflect"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// claimsTable also seeds FuzzParseClaims. A row without want is refused.
var claimsTable = []struct {
	name    string
	payload string
	want    *Claims
}{
	{"empty object", `{}`, &Claims{}},
	{"all of them", `{"iss":"i","jti":"j","sub":"s","sid":"d","client_id":"c","azp":"a","iat":1764000000,"exp":1764000060}`,
		&Claims{Issuer: "i", ID: "j", Subject: "s", Session: "d", Client: "c", IssuedAt: 1764000000_000, Expires: 1764000060_000}},
	{"white space", " \t\r\n{ \"jti\" : \"j\" } \n", &Claims{ID: "j"}},
	{"unknown ones of any type", `{"aud":["a","b"],"x":{"y":[1,null,true]},"jti":"j"}`, &Claims{ID: "j"}},
	{"unknown number of any size", `{"x":[1e999,-0,1e-999,123456789012345678901234567890]}`, &Claims{}},
	{"escapes", `{"jti":"\u006a\n\ud83d\ude00"}`, &Claims{ID: "j\n😀"}},
	{"escaped name", `{"\u006ati":"j"}`, &Claims{ID: "j"}},
	{"byte-exact", `{"sub":" Alice\u0301 ","iss":"HTTPS://I/"}`, &Claims{Subject: " Alice\u0301 ", Issuer: "HTTPS://I/"}},

	// Names are exact.
	{"other case is another name", `{"jti":"j","JTI":"x","Jti":"y"}`, &Claims{ID: "j"}},
	{"other case alone", `{"JTI":"x","ISS":"x","Sub":"x","SID":"x","Client_ID":"x","clientid":"x","AZP":"x","IAT":1,"Exp":1}`, &Claims{}},
	{"other case of another type", `{"JTI":5,"IAT":"x"}`, &Claims{}},
	{"long s and Kelvin sign", `{"ſub":"x","ſid":"x"}`, &Claims{}},
	{"nested", `{"x":{"jti":"x","iat":1}}`, &Claims{}},

	// client_id, else azp.
	{"azp alone", `{"azp":"a"}`, &Claims{Client: "a"}},
	{"client_id alone", `{"client_id":"c"}`, &Claims{Client: "c"}},
	{"client_id after azp", `{"azp":"a","client_id":"c"}`, &Claims{Client: "c"}},
	{"client_id wins, azp must still be text", `{"client_id":"c","azp":1}`, nil},

	// A null claim says as much as an absent one.
	{"null", `{"iss":null,"jti":null,"sub":null,"sid":null,"client_id":null,"azp":"a","iat":null,"exp":null}`, &Claims{Client: "a"}},

	// No name twice, at any depth.
	{"twice", `{"jti":"a","jti":"b"}`, nil},
	{"twice the same", `{"jti":"a","jti":"a"}`, nil},
	{"twice, once null", `{"jti":null,"jti":"a"}`, nil},
	{"twice, once escaped", `{"jti":"a","j\u0074i":"b"}`, nil},
	{"twice, unknown", `{"x":1,"x":2}`, nil},
	{"twice, empty name", `{"":1,"":2}`, nil},
	{"twice, nested", `{"x":{"a":1,"a":2}}`, nil},
	{"twice, in an array", `{"x":[[{"a":1,"\u0061":2}]]}`, nil},
	{"twice, far apart", `{"exp":1,` + manyMembers(100) + `,"exp":2}`, nil},
	{"same name, another object", `{"x":{"a":1},"y":{"a":1}}`, &Claims{}},

	// No other types.
	{"iss is a number", `{"iss":1}`, nil},
	{"jti is a number", `{"jti":1}`, nil},
	{"sub is an array", `{"sub":["a"]}`, nil},
	{"sid is an object", `{"sid":{}}`, nil},
	{"client_id is true", `{"client_id":true}`, nil},
	{"azp is false", `{"azp":false}`, nil},
	{"iat is text", `{"iat":"1764000000"}`, nil},
	{"exp is an array", `{"exp":[1764000000]}`, nil},
	{"exp is an object", `{"exp":{}}`, nil},
	{"exp is true", `{"exp":true}`, nil},

	// One object, and nothing else.
	{"nothing", ``, nil},
	{"only white space", " \n", nil},
	{"null alone", `null`, nil},
	{"array", `[]`, nil},
	{"array of an object", `[{}]`, nil},
	{"text", `"{}"`, nil},
	{"number", `1`, nil},
	{"cut short", `{"jti":"j"`, nil},
	{"cut short in text", `{"jti":"j`, nil},
	{"two objects", `{}{}`, nil},
	{"trailing comma", `{"jti":"j",}`, nil},
	{"trailing bracket", `{}}`, nil},
	{"trailing text", `{} x`, nil},
	{"trailing NUL", "{}\x00", nil},
	{"byte order mark", "\ufeff{}", nil},
	{"comment", `{/**/}`, nil},
	{"single quotes", `{'jti':'j'}`, nil},
	{"bare name", `{jti:"j"}`, nil},
	{"too deep", `{"x":` + strings.Repeat("[", 1<<16) + strings.Repeat("]", 1<<16) + `}`, nil},

	// Unicode only.
	{"invalid UTF-8", "{\"jti\":\"\xff\"}", nil},
	{"invalid UTF-8 in what is unknown", "{\"x\":\"\xc0\xaf\"}", nil},
	{"invalid UTF-8 in a name", "{\"\xff\":1}", nil},
	{"surrogate in UTF-8", "{\"jti\":\"\xed\xa0\x80\"}", nil},
	{"lone high surrogate", `{"jti":"\ud800"}`, nil},
	{"lone low surrogate", `{"sub":"a\udc00b"}`, nil},
	{"surrogates the wrong way round", `{"sub":"\udc00\ud800"}`, nil},
	{"lone surrogate in what is unknown", `{"x":["\ud800"]}`, nil},
	{"lone surrogate in a name", `{"\ud800":1}`, nil},
	{"line feed in text", "{\"jti\":\"a\nb\"}", nil},
	{"unknown escape", `{"jti":"\x41"}`, nil},
}

func manyMembers(n int) string {
	var m []string
	for i := range n {
		m = append(m, fmt.Sprintf(`"x%d":%d`, i, i))
	}
	return strings.Join(m, ",")
}

func TestParseClaims(t *testing.T) {
	for _, c := range claimsTable {
		t.Run(c.name, func(t *testing.T) {
			got, err := ParseClaims([]byte(c.payload))
			switch {
			case c.want == nil && err == nil:
				t.Errorf("accepted, as %+v", got)
			case c.want == nil && !reflect.DeepEqual(got, Claims{}):
				t.Errorf("refused, with %+v", got)
			case c.want != nil && err != nil:
				t.Error(err)
			case c.want != nil && !reflect.DeepEqual(got, *c.want):
				t.Errorf("got %+v, want %+v", got, *c.want)
			}
		})
	}
}

const refused = -1

// datesTable is how iat and exp are read. It also seeds FuzzParseClaims.
var datesTable = []struct {
	text string
	want int64 // unix milliseconds, or refused
}{
	{"0", 0},
	{"1", 1000},
	{"1764000000", 1764000000_000},
	{"1764000000.0", 1764000000_000},
	{"1764000000.1", 1764000000_100},
	{"1764000000.12", 1764000000_120},
	{"1764000000.123", 1764000000_123},
	{"1764000000.1239", 1764000000_123},
	{"1764000000.9999", 1764000000_999},
	{"1764000000.0009", 1764000000_000},
	{"1764000000." + strings.Repeat("9", 400), 1764000000_999},
	{"0.001", 1},
	{"0.0009", 0},
	{"1e3", 1000_000},
	{"1E3", 1000_000},
	{"1e+3", 1000_000},
	{"1000e-3", 1000},
	{"1.7e9", 1_700_000_000_000},
	{"1.764000000e9", 1764000000_000},
	{"1e-400", 0},
	{"253402300799", 253402300799_000},
	{"253402300799.999", 253402300799_999},

	{"253402300800", refused},
	{"2.534023008e11", refused},
	{"1e18", refused},
	{"1e999", refused},
	{"9223372036854775", refused},
	{"9223372036854775807", refused},
	{"9223372036854775808", refused},
	{"99999999999999999999999", refused},
	{strings.Repeat("9", 400), refused},
	{"-1", refused},
	{"-0.5", refused},
	{"-1e3", refused},
	{"-1e999", refused},
	{"-1764000000.123", refused},
	{`"1764000000"`, refused},
	{`"0"`, refused},
	{`""`, refused},
	{`"2026-11-22T03:00:00Z"`, refused},
	{"true", refused},
	{"[1]", refused},
	{"{}", refused},

	// Not JSON.
	{"01", refused},
	{"+1", refused},
	{".5", refused},
	{"1.", refused},
	{"1.e3", refused},
	{"1e", refused},
	{"0x10", refused},
	{"1_000", refused},
	{"NaN", refused},
	{"Infinity", refused},
	{"1 000", refused},
	{"", refused},
}

func TestNumericDates(t *testing.T) {
	for _, c := range datesTable {
		for _, claim := range []string{"iat", "exp"} {
			got, err := ParseClaims(fmt.Appendf(nil, `{"%s":%s}`, claim, c.text))
			if (err != nil) != (c.want == refused) {
				t.Errorf("%s %.60s: error %v", claim, c.text, err)
				continue
			}
			want := Claims{}
			if err == nil && claim == "iat" {
				want.IssuedAt = c.want
			} else if err == nil {
				want.Expires = c.want
			}
			if !reflect.DeepEqual(got, want) {
				t.Errorf("%s %.60s: got %+v, want %+v", claim, c.text, got, want)
			}
		}
	}
}

// Decimal dates are rounded down to the millisecond exactly, whatever floating
// point makes of them.
func TestDatesAreRoundedDown(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := fmt.Sprint(rapid.Int64Range(0, maxDate).Draw(t, "seconds"))
		if frac := rapid.StringMatching(`[0-9]{0,20}|9{1,20}|0{0,5}[0-9]`).Draw(t, "fraction"); frac != "" {
			text += "." + frac
		}
		exact, _ := new(big.Rat).SetString(text)
		exact.Mul(exact, big.NewRat(1000, 1))
		want := new(big.Int).Quo(exact.Num(), exact.Denom()).Int64()
		c, err := ParseClaims([]byte(`{"iat":` + text + `}`))
		if err != nil || c.IssuedAt != want {
			t.Fatalf("iat %s: %d, %v; want %d", text, c.IssuedAt, err, want)
		}
	})
}

func TestHandleOf(t *testing.T) {
	// SHA-256 of "abc", FIPS 180-2 appendix B.1.
	if got := HandleOf("abc"); got != "ungWv48Bz-pBQUDeXa4iI7ADYaOWF3qctBD_YfIAFa0" {
		t.Error(got)
	}
	if err := (targetOf(KindHandle, testIss, HandleOf(""))).Validate(); err != nil {
		t.Error(err)
	}
}

// configuredTable is how claims with configured names are read. It also seeds
// FuzzClaimNamesParse. A row without want is refused.
var configuredTable = []struct {
	name    string
	names   ClaimNames
	payload string
	want    *Claims
}{
	{"defaults", ClaimNames{}, `{"txn":"t","origin_jti":"o","grant_id":"g","device_id":"d","ver":3}`,
		&Claims{Grants: []string{"g", "o", "t"}, Device: "d", Version: 3, HasVersion: true}},
	{"arrays match by any element", ClaimNames{Extra: []string{"roles"}}, `{"roles":["a","b","a"],"txn":["x","y"]}`,
		&Claims{Grants: []string{"x", "y"}, Extra: []ClaimValue{{"roles", "a"}, {"roles", "b"}, {"roles", "a"}}}},
	{"empty arrays and null", ClaimNames{Extra: []string{"roles"}}, `{"roles":[],"txn":null,"device_id":null,"ver":null,"act":null}`, &Claims{}},
	{"own names turn the defaults off", ClaimNames{Grant: []string{"family"}, Device: "hw", Version: "gen"}, `{"family":"f","txn":"t","hw":"h","device_id":"d","gen":0,"ver":9}`,
		&Claims{Grants: []string{"f"}, Device: "h", HasVersion: true}},
	{"no grants at all", ClaimNames{Grant: []string{}}, `{"txn":5,"grant_id":{}}`, &Claims{}},
	{"what is not configured may be anything", ClaimNames{}, `{"roles":[1,{}],"tenant":7}`, &Claims{}},
	{"names are exact", ClaimNames{Extra: []string{"Tenant"}}, `{"tenant":"t","TENANT":"u","Txn":"x","DEVICE_ID":1}`, &Claims{}},
	{"a name that needs escaping", ClaimNames{Extra: []string{"https://x.example/\"t\""}}, `{"https://x.example/\"\u0074\"":"v"}`, &Claims{Extra: []ClaimValue{{"https://x.example/\"t\"", "v"}}}},
	{"device in an array of one", ClaimNames{}, `{"device_id":["d"]}`, &Claims{Device: "d"}},
	{"sixteen values", ClaimNames{}, `{"txn":[` + strings.Repeat(`"a",`, 15) + `"b"]}`, &Claims{Grants: append(strings.Split(strings.Repeat("a", 15), ""), "b")}},

	{"grant is a number", ClaimNames{}, `{"txn":1}`, nil},
	{"grant is an object", ClaimNames{}, `{"grant_id":{}}`, nil},
	{"grant in an array in an array", ClaimNames{}, `{"grant_id":[["g"]]}`, nil},
	{"one element is a number", ClaimNames{Extra: []string{"roles"}}, `{"roles":["a",1]}`, nil},
	{"extra claim is true", ClaimNames{Extra: []string{"admin"}}, `{"admin":true}`, nil},
	{"two devices", ClaimNames{}, `{"device_id":["d","e"]}`, nil},
	{"device is a number", ClaimNames{}, `{"device_id":1}`, nil},
	{"seventeen values", ClaimNames{}, `{"txn":[` + strings.Repeat(`"a",`, 16) + `"b"]}`, nil},
	{"configured claim twice", ClaimNames{}, `{"txn":"a","txn":"a"}`, nil},

	// Some issuers name the format of their tokens in ver. That is no version,
	// and no reason to refuse the token either.
	{"version is text", ClaimNames{}, `{"ver":"2.0"}`, &Claims{}},
	{"version is a whole number in text", ClaimNames{}, `{"ver":"2"}`, &Claims{}},
	{"version has a fraction", ClaimNames{}, `{"ver":2.0}`, &Claims{}},
	{"version has an exponent", ClaimNames{}, `{"ver":2e0}`, &Claims{}},
	{"version is negative", ClaimNames{}, `{"ver":-1}`, &Claims{}},
	{"version is too large", ClaimNames{}, `{"ver":9223372036854775808}`, &Claims{}},
	{"version is the largest", ClaimNames{}, `{"ver":9223372036854775807}`, &Claims{Version: 1<<63 - 1, HasVersion: true}},
	{"version is zero", ClaimNames{}, `{"ver":0}`, &Claims{HasVersion: true}},
	{"version is an array", ClaimNames{}, `{"ver":[1]}`, &Claims{}},

	{"actors", ClaimNames{}, `{"iss":"i","act":{"sub":"a","act":{"sub":"b","iss":"j","x":1,"act":{"act":{"sub":"c"}}}}}`,
		&Claims{Issuer: "i", Actors: []Actor{{"i", "a"}, {"j", "b"}, {"i", "c"}}}},
	{"actor before iss", ClaimNames{}, `{"act":{"sub":"a"},"iss":"i"}`, &Claims{Issuer: "i", Actors: []Actor{{"i", "a"}}}},
	{"an actor of no name", ClaimNames{}, `{"act":{}}`, &Claims{}},
	{"sixteen actors", ClaimNames{}, `{"act":` + strings.Repeat(`{"act":`, 15) + `{"sub":"a"}` + strings.Repeat("}", 16), &Claims{Actors: []Actor{{"", "a"}}}},
	{"seventeen actors", ClaimNames{}, `{"act":` + strings.Repeat(`{"act":`, 16) + `{"sub":"a"}` + strings.Repeat("}", 17), nil},
	{"act is text", ClaimNames{}, `{"act":"a"}`, nil},
	{"act is an array", ClaimNames{}, `{"act":[{"sub":"a"}]}`, nil},
	{"an actor's sub is a number", ClaimNames{}, `{"act":{"act":{"sub":1}}}`, nil},
	{"an actor's sub twice", ClaimNames{}, `{"act":{"sub":"a","sub":"b"}}`, nil},
	{"act twice", ClaimNames{}, `{"act":{"sub":"a"},"act":{"sub":"b"}}`, nil},
}

func TestConfiguredClaims(t *testing.T) {
	for _, c := range configuredTable {
		t.Run(c.name, func(t *testing.T) {
			got, err := c.names.Parse([]byte(c.payload))
			switch {
			case c.want == nil && (err == nil || !reflect.DeepEqual(got, Claims{})):
				t.Errorf("got %+v, %v", got, err)
			case c.want != nil && (err != nil || !reflect.DeepEqual(got, *c.want)):
				t.Errorf("got %+v, %v; want %+v", got, err, *c.want)
			}
		})
	}
}

func TestClaimNamesValidate(t *testing.T) {
	for _, c := range []struct {
		names ClaimNames
		field string // "" for none
	}{
		{ClaimNames{}, ""},
		{ClaimNames{Grant: []string{}}, ""},
		{ClaimNames{Grant: []string{"a", "b", "c", "d"}, Extra: []string{"e", "f", "g", "h"}}, ""},
		{ClaimNames{Grant: []string{"a", "b", "c", "d", "e"}}, "grant"},
		{ClaimNames{Extra: []string{"a", "b", "c", "d", "e"}}, "extra"},
		{ClaimNames{Extra: []string{""}}, "extra"},
		{ClaimNames{Extra: []string{"a", "a"}}, "extra"},
		{ClaimNames{Extra: []string{"sub"}}, "extra"},
		{ClaimNames{Extra: []string{"act"}}, "extra"},
		{ClaimNames{Extra: []string{"txn"}}, "extra"}, // a grant by default
		{ClaimNames{Grant: []string{}, Extra: []string{"txn"}}, ""},
		{ClaimNames{Extra: []string{"ver"}}, "extra"},
		{ClaimNames{Device: "iat"}, "device"},
		{ClaimNames{Version: "device_id"}, "version"},
		{ClaimNames{Device: strings.Repeat("d", 65)}, "device"},
		{ClaimNames{Version: "a\nb"}, "version"},
		{ClaimNames{Grant: []string{"jti"}}, "grant"},
	} {
		err := c.names.Validate()
		var f *FieldError
		if c.field == "" && err != nil || c.field != "" && (!errors.As(err, &f) || f.Field != c.field) {
			t.Errorf("%+v: %v, want field %q", c.names, err, c.field)
		}
	}
}
