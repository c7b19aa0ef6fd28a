package api

import (
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"time"

	"github.com/revocast/revocast/events"
)

// query is a request's parameters: only those of its route, each at most
// once, none of them empty.
type query url.Values

// parseQuery reads the parameters of a request to a route that has these.
func parseQuery(r *http.Request, params []string) (query, error) {
	if r.URL.RawQuery == "" {
		return nil, nil
	}
	values, err := url.ParseQuery(r.URL.RawQuery)
	if err != nil {
		return nil, &Problem{Code: InvalidField, Detail: "The query can't be parsed."}
	}
	for name, v := range values {
		switch {
		case !slices.Contains(params, name):
			p := &Problem{Code: UnknownField, Detail: fmt.Sprintf("The parameters here are: %v.", params)}
			if events.CheckText("", name, 64) == nil {
				p.Field = name
			}
			return nil, p
		case len(v) > 1:
			return nil, &Problem{Code: DuplicateField, Field: name, Detail: "A parameter may be there once."}
		case v[0] == "":
			return nil, &Problem{Code: InvalidField, Field: name, Detail: "Leave it out rather than empty."}
		}
	}
	return query(values), nil
}

// text returns a parameter, "" if it is not there.
func (q query) text(name string, maxLen int) (string, error) {
	s := url.Values(q).Get(name)
	return s, events.CheckText(name, s, maxLen)
}

// number returns a parameter between two bounds, or def if it is not there.
func (q query) number(name string, least, most, def uint64) (uint64, error) {
	s := url.Values(q).Get(name)
	if s == "" {
		return def, nil
	}
	n, err := strconv.ParseUint(s, 10, 64)
	if err != nil || n < least || n > most {
		return 0, &Problem{Code: InvalidField, Field: name, Detail: fmt.Sprintf("Want a number from %d to %d.", least, most)}
	}
	return n, nil
}

// duration returns a parameter such as 500ms or 2s, or def if it is not there.
func (q query) duration(name string, most, def time.Duration) (time.Duration, error) {
	s := url.Values(q).Get(name)
	if s == "" {
		return def, nil
	}
	d, err := time.ParseDuration(s)
	if err != nil || d <= 0 || d > most {
		return 0, &Problem{Code: InvalidField, Field: name, Detail: fmt.Sprintf("Want a duration of at most %v, such as 2s.", most)}
	}
	return d, nil
}
