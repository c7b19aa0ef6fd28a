package api

import (
	"reflect"
	"strings"
	"testing"

	"github.com/go-json-experiment/json"
	"pgregory.net/rapid"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/feed"
)

const plainRevocation = `{"target":{"kind":"token","iss":"https://issuer.example","value":"4711"},"expires_at":"2026-11-22T04:00:00Z","reason":"logout"}`

// Whatever is read quickly, the library reads as the same; so what it refuses
// is refused, whatever that is.
func FuzzReadRevoke(f *testing.F) {
	for _, body := range []string{
		plainRevocation,
		`{"revocations":[` + plainRevocation + `,` + plainRevocation + `]}`, `{"revocations":[]}`, `{"revocations":[{}]}`, `{}`,
		`{ "target" : { "kind":"subject_client", "client":"web","iss":"i","value":"ä" } , "cutoff":"2026-11-22T03:00:00.123+01:00","except":{"jti":"a","sid":"b"},` +
			`"note":"x","effective_at":"2026-11-22T04:00:00Z" }`,
		`{"target":{"kind":"claim","claim":"role","iss":"i","value":"v"},"min_version":3,"suspend":true,"reason":"because"}`,
		`{"reason":"logout","reason":"logout"}`, `{"reason":null}`, `{"reas\u006fn":"logout"}`, `{"Reason":"logout"}`, `{"min_version":-1}`, `{"min_version":1.0}`,
		`{"expires_at":"2026-11-22T04:00:00.0001Z"}`, `{"target":{"kind":"planet"}}`, `{"except":null}`, `{"suspend":"true"}`, `[]`, `null`, ``,
	} {
		f.Add([]byte(body))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		quick, ok := readRevoke(body)
		if !ok {
			return
		}
		want, err := decodeRevoke(body)
		if err != nil || !reflect.DeepEqual(quick, want) {
			t.Fatalf("%s is read as %+v; by the library as %+v, %v", body, quick, want, err)
		}
	})
}

func TestOrdinaryRequestsAreReadQuickly(t *testing.T) {
	for _, body := range []string{plainRevocation, `{"revocations":[` + strings.Repeat(plainRevocation+",", events.MaxOps-1) + plainRevocation + `]}`} {
		if _, ok := readRevoke([]byte(body)); !ok {
			t.Errorf("%.300s is odd", body)
		}
	}
}

func TestAnAnswerIsWhatTheLibraryWrites(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		res := rapid.Make[feed.Result]().Draw(t, "result")
		var reach *feed.Reach
		if rapid.Bool().Draw(t, "waited") {
			reach = &feed.Reach{Applied: 1, Connected: 2, Hubs: 1}
		}
		whole := RevokeAnswer{Epoch: res.Position.Epoch, Seq: res.Position.Seq, Reach: reach}
		for _, acc := range res.Revocations {
			whole.Revocations = append(whole.Revocations, Accepted(acc))
		}
		got, err := encodeRevoked(res, reach)
		want, wrong := json.Marshal(whole)
		if (err != nil) != (wrong != nil) || err == nil && string(got) != string(want) {
			t.Fatalf("got  %s, %v\nwant %s, %v", got, err, want, wrong)
		}
	})
}

func BenchmarkParseRevoke(b *testing.B) {
	body := []byte(`{"revocations":[` + strings.Repeat(plainRevocation+",", events.MaxOps-1) + plainRevocation + `]}`)
	for _, parse := range []struct {
		name string
		f    func([]byte) (RevokeRequest, error)
	}{{"plain", parseRevoke}, {"library", decodeRevoke}} {
		b.Run(parse.name, func(b *testing.B) {
			b.ReportAllocs()
			for b.Loop() {
				if _, err := parse.f(body); err != nil {
					b.Fatal(err)
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/events.MaxOps, "ns/revocation")
		})
	}
}
