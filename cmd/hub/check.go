package main

import (
	"context"
	"net/http"

	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/hub/api"
)

type checkCmd struct {
	Claims string `placeholder:"JSON" help:"The claims of a token, instead of a token on stdin."`
	KeyID  string `name:"kid" placeholder:"KID" help:"With --claims: the kid of the token's header."`
	Remote
}

func (checkCmd) Help() string {
	return `Reads the token from stdin, never from the command line, where others could
see it. Exits with 0 only if it is allowed, so that a script can't mistake one
that is revoked for a good one.

Examples:

    hub check < token.jwt
    hub check --claims '{"iss":"https://issuer.example","sub":"alice","iat":1764000000}'`
}

func (c checkCmd) Run(ctx context.Context, std streams) error {
	var body api.CheckRequest
	switch {
	case c.Claims != "":
		body.Claims, body.KeyID = jsontext.Value(c.Claims), c.KeyID
		if !body.Claims.IsValid() || body.Claims.Kind() != '{' {
			return usagef(`--claims: want a JSON object, such as {"iss":"https://issuer.example","sub":"alice"}`)
		}
	case c.KeyID != "":
		return usagef("--kid goes with --claims: a token says it itself")
	default:
		var err error
		if body.Token, err = readRawToken(std.in); err != nil {
			return err
		}
	}
	hub, err := c.client(std)
	if err != nil {
		return err
	}
	var verdict api.CheckAnswer
	raw, err := hub.ask(ctx, question{method: http.MethodPost, path: "/v1/check", body: body}, &verdict)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = std.out.Write(raw)
	} else {
		err = verdictTable(std, verdict)
	}
	if err == nil && verdict.Verdict != api.Allowed {
		err = errSilent
	}
	return err
}

func verdictTable(std streams, v api.CheckAnswer) error {
	t := newTable(std.out)
	t.row("verdict", v.Verdict)
	t.row("detail", v.Detail)
	for _, m := range v.Matched {
		for _, r := range m.Revocations {
			t.row("by", string(r.ID)+" "+m.Kind.String()+", for "+string(r.Reason)+", since "+when(r.Since))
		}
	}
	return t.flush()
}
