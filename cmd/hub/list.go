package main

import (
	"context"
	"net/http"
	"net/url"
	"strconv"

	"github.com/revocast/revocast/hub/api"
)

type listCmd struct {
	Kind   string `placeholder:"KIND" help:"Only this kind."`
	Iss    string `placeholder:"ISS" help:"Only of this issuer."`
	Value  string `placeholder:"VALUE" help:"Only of this jti, sub, sid, client_id or kid; needs --iss."`
	Reason string `placeholder:"REASON" help:"Only for this reason."`
	Actor  string `placeholder:"NAME" help:"Only by this key or user."`
	Limit  int    `default:"100" help:"At most so many."`
	All    bool   `help:"All there are, whatever the limit."`
	Remote
}

func (listCmd) Help() string {
	return `Examples:

    hub list
    hub list --iss https://issuer.example --value alice
    hub list --reason compromised --all --json`
}

// maxPage is the most that the hub answers at once.
const maxPage = 1000

func (c listCmd) Run(ctx context.Context, std streams) error {
	if c.Limit < 1 {
		return usagef("--limit: want 1 or more")
	}
	hub, err := c.client(std)
	if err != nil {
		return err
	}
	list, err := c.fetch(ctx, hub)
	if err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, list)
	}
	t := newTable(std.out, "ID", "KIND", "VALUE", "ISSUER", "REASON", "BY", "REVOKED", "UNTIL", "NOTE")
	for _, r := range list.Revocations {
		until := when(r.RetainUntil)
		if until == "" {
			until = "restored"
		}
		t.row(r.ID, r.Target.Kind, r.Target.Value, r.Target.Iss, r.Reason, r.Actor, when(r.RevokedAt), until, r.Note)
	}
	if err := t.flush(); err != nil {
		return err
	}
	switch {
	case len(list.Revocations) == 0:
		std.note("no live revocation matches")
	case list.NextCursor != "":
		std.note("there are more: --limit N or --all shows them")
	}
	return nil
}

// fetch asks for page after page. A page may be short without being the last.
func (c listCmd) fetch(ctx context.Context, hub *client) (api.RevocationList, error) {
	list := api.RevocationList{Revocations: []api.Revocation{}}
	query := url.Values{}
	for name, value := range map[string]string{"kind": c.Kind, "iss": c.Iss, "value": c.Value, "reason": c.Reason, "actor": c.Actor} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for {
		want := maxPage
		if !c.All {
			want = min(want, c.Limit-len(list.Revocations))
		}
		query.Set("limit", strconv.Itoa(want))
		var page api.RevocationList
		if _, err := hub.ask(ctx, question{method: http.MethodGet, path: "/v1/revocations", query: query}, &page); err != nil {
			return list, err
		}
		list.Revocations = append(list.Revocations, page.Revocations...)
		list.NextCursor = page.NextCursor
		if page.NextCursor == "" || !c.All && len(list.Revocations) >= c.Limit {
			return list, nil
		}
		query.Set("cursor", page.NextCursor)
	}
}
