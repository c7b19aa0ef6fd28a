package main

import (
	"context"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

type keyCmd struct {
	Create keyCreateCmd `cmd:"" help:"Make a key, and show it this once."`
	List   keyListCmd   `cmd:"" help:"List the keys, without their secrets."`
	Delete keyDeleteCmd `cmd:"" help:"Delete a key: what uses it is refused from then on."`
}

type keyCreateCmd struct {
	Name string        `arg:"" help:"What the audit calls its holder."`
	Role []api.Role    `short:"r" required:"" placeholder:"ROLE" help:"revoke, restore, subscribe, introspect, audit or admin; several times for several."`
	Iss  []string      `sep:"none" placeholder:"ISS" help:"Limit it to this issuer; several times for several."`
	Kind []events.Kind `placeholder:"KIND" help:"Limit it to this kind; several times for several."`
	Remote
}

func (keyCreateCmd) Help() string {
	return `The hub keeps a hash only: a key that is lost is deleted, and another made.

Examples:

    hub key create orders --role subscribe
    hub key create login --role revoke --iss https://issuer.example --kind session --kind subject
    hub key create ops --role audit,restore`
}

func (c keyCreateCmd) Run(ctx context.Context, std streams) error {
	hub, err := c.client(std)
	if err != nil {
		return err
	}
	var made api.NewKey
	raw, err := hub.ask(ctx, question{
		method: http.MethodPost, path: "/v1/keys",
		body: api.KeyRequest{Name: c.Name, Roles: c.Role, Issuers: c.Iss, Kinds: c.Kind},
	}, &made)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = std.out.Write(raw)
		return err
	}
	t := newTable(std.out)
	t.row("key", made.Secret)
	t.row("id", made.ID)
	t.row("name", made.Name)
	t.row("roles", joined(made.Roles, ","))
	if err := t.flush(); err != nil {
		return fmt.Errorf("print the key: %w; delete %s and make another", err, made.ID)
	}
	std.note("this is the only time that the key is shown: keep it")
	return nil
}

type keyListCmd struct{ Remote }

func (keyListCmd) Help() string {
	return `Examples:

    hub key list`
}

func (c keyListCmd) Run(ctx context.Context, std streams) error {
	hub, err := c.client(std)
	if err != nil {
		return err
	}
	var list api.KeyList
	raw, err := hub.ask(ctx, question{method: http.MethodGet, path: "/v1/keys"}, &list)
	if err != nil {
		return err
	}
	if c.JSON {
		_, err = std.out.Write(raw)
		return err
	}
	t := newTable(std.out, "ID", "NAME", "ROLES", "ISSUERS", "KINDS", "MADE")
	for _, k := range list.Keys {
		t.row(k.ID, k.Name, joined(k.Roles, ","), orAll(joined(k.Issuers, ",")), orAll(joined(k.Kinds, ",")), when(k.CreatedAt))
	}
	return t.flush()
}

type keyDeleteCmd struct {
	ID string `arg:"" help:"The id of the key, key_…; hub key list shows it."`
	Remote
}

func (keyDeleteCmd) Help() string {
	return `Examples:

    hub key delete key_7QJ4XW2NVB5KRT3M`
}

func (c keyDeleteCmd) Run(ctx context.Context, std streams) error {
	hub, err := c.client(std)
	if err != nil {
		return err
	}
	if strings.HasPrefix(c.ID, "rvk_") {
		return usagef("ID: this is the key itself, which others could see now; want its id, key_…, as hub key list shows it")
	}
	if _, err := hub.ask(ctx, question{method: http.MethodDelete, path: "/v1/keys/" + url.PathEscape(c.ID)}, nil); err != nil {
		return err
	}
	if c.JSON {
		return printJSON(std.out, map[string]string{"deleted": c.ID})
	}
	t := newTable(std.out)
	t.row("deleted", c.ID)
	return t.flush()
}

func joined[T any](list []T, sep string) string {
	s := make([]string, len(list))
	for i, v := range list {
		s[i] = fmt.Sprint(v)
	}
	return strings.Join(s, sep)
}

func orAll(s string) string {
	if s == "" {
		return "all"
	}
	return s
}
