package api

import (
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"os"
	"reflect"
	"strings"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/events"
)

// MaxBody is the size in bytes of the largest body that is read: room for
// 1,000 revocations of ordinary size.
const MaxBody = 1 << 20

// decode reads a body strictly into v and returns its bytes. Errors are
// *Problem.
func decode(w http.ResponseWriter, r *request, v any) ([]byte, error) {
	return decodeBody(w, r, v, json.RejectUnknownMembers(true))
}

// decodeTolerant is for what a newer release sends: names that mean nothing
// here are ignored.
func decodeTolerant(w http.ResponseWriter, r *request, v any) error {
	_, err := decodeBody(w, r, v)
	return err
}

func decodeBody(w http.ResponseWriter, r *request, v any, opts ...json.Options) ([]byte, error) {
	body, err := readJSON(w, r)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(body, v, opts...); err != nil {
		return nil, jsonProblem(err)
	}
	return body, nil
}

// readJSON reads a body that says that it is JSON.
func readJSON(w http.ResponseWriter, r *request) ([]byte, error) {
	if err := wantType(r, "application/json"); err != nil {
		return nil, err
	}
	return readBody(w, r)
}

func wantType(r *request, want string) error {
	types := r.Header["Content-Type"]
	if len(types) == 1 && types[0] == want && r.Header.Get("Content-Encoding") == "" {
		return nil
	}
	if len(types) == 1 {
		media, params, err := mime.ParseMediaType(types[0])
		charset := params["charset"]
		if err == nil && media == want && (charset == "" || strings.EqualFold(charset, "utf-8")) &&
			r.Header.Get("Content-Encoding") == "" {
			return nil
		}
	}
	return &Problem{Code: MediaType, Field: "Content-Type", Detail: "Want " + want + ", not compressed."}
}

func readBody(w http.ResponseWriter, r *request) ([]byte, error) { return readUpTo(w, r, MaxBody) }

func readUpTo(w http.ResponseWriter, r *request, most int64) ([]byte, error) {
	tooLarge := &Problem{Code: BodyTooLarge, Detail: fmt.Sprintf("At most %d bytes are read.", most)}
	if r.ContentLength > most {
		w.Header().Set("Connection", "close") // rather than read what was announced
		return nil, tooLarge
	}
	// The server's own writer: told of the limit, it closes the connection
	// rather than wait for the rest of the body before it answers.
	if own, ok := w.(*response); ok {
		w = own.ResponseWriter
	}
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, most))
	switch max := (*http.MaxBytesError)(nil); {
	case errors.As(err, &max):
		return nil, tooLarge
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, &Problem{Code: BodyTooSlow, Detail: "Nothing was done."}
	case err != nil:
		return nil, &Problem{Code: InvalidJSON, Detail: "The body ended before its announced end."}
	}
	return body, nil
}

// jsonProblem says what is wrong with a body, without repeating any of its
// values.
func jsonProblem(err error) *Problem {
	if e := (*json.SemanticError)(nil); errors.As(err, &e) {
		p := &Problem{Code: InvalidField, Field: fieldPath(e.JSONPointer), Detail: "Not valid."}
		switch {
		case errors.Is(e.Err, json.ErrUnknownName):
			p.Code, p.Detail = UnknownField, "This release knows no field of this name here."
		case e.GoType == kindType:
			p.Detail = "No known kind."
		case e.Err != nil && events.CheckText("", e.Err.Error(), 200) == nil:
			p.Detail = e.Err.Error()
		case e.GoType != nil:
			p.Detail = "Want " + jsonTypeOf(e.GoType) + "."
		}
		return p
	}
	p := &Problem{Code: InvalidJSON, Detail: "The body is not one JSON document in UTF-8."}
	if e := (*jsontext.SyntacticError)(nil); errors.As(err, &e) {
		p.Field = fieldPath(e.JSONPointer)
		p.Detail = fmt.Sprintf("Not JSON from byte %d on.", e.ByteOffset)
		if errors.Is(e.Err, jsontext.ErrDuplicateName) {
			p.Code, p.Detail = DuplicateField, "A name may be there once."
		}
	}
	return p
}

var kindType = reflect.TypeFor[events.Kind]()

func jsonTypeOf(t reflect.Type) string {
	switch t.Kind() {
	case reflect.Struct, reflect.Map:
		return "an object"
	case reflect.Slice, reflect.Array:
		return "an array"
	case reflect.Bool:
		return "true or false"
	case reflect.Float64, reflect.Int64, reflect.Int, reflect.Uint64:
		return "a number"
	default:
		return "a string"
	}
}

// fieldPath writes a JSON pointer (RFC 6901) the way people write paths:
// /revocations/3/target/iss is revocations[3].target.iss. A name that is not
// fit to be shown is left out, with what lies below it.
func fieldPath(p jsontext.Pointer) string {
	var b strings.Builder
	for name := range p.Tokens() {
		if name == "" || b.Len()+len(name) > 200 || events.CheckText("", name, 64) != nil {
			break
		}
		switch {
		case strings.Trim(name, "0123456789") == "":
			b.WriteString("[" + name + "]")
		case b.Len() > 0:
			b.WriteString("." + name)
		default:
			b.WriteString(name)
		}
	}
	return b.String()
}
