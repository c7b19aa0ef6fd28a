package main

import (
	"context"
	"net/http"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/api"
)

type restoreCmd struct {
	ID     string `arg:"" help:"The id of the revocation, rev_…"`
	Reason string `default:"admin" enum:"${reasons}" help:"${reasonsText}."`
	Note   string `help:"A word for the audit."`
	Force  bool   `help:"Restore even what was revoked as compromised."`
	Remote
}

func (restoreCmd) Help() string {
	return `Takes one revocation away. What others say about the same target stands. That
it was restored, by whom and why, is in the audit.

Examples:

    hub restore rev_01KATJ5Z3N8QX2V7M4RDWE9CFG --note "ticket 4711"
    hub restore rev_01KATJ5Z3N8QX2V7M4RDWE9CFG --force`
}

func (c restoreCmd) Run(ctx context.Context, std streams) error {
	id, err := events.ParseID(c.ID)
	if err != nil {
		return usagef("ID: %w; hub list shows them", err)
	}
	hub, err := c.client(std)
	if err != nil {
		return err
	}
	var done api.RestoreAnswer
	raw, err := hub.ask(ctx, question{
		method: http.MethodDelete, path: "/v1/revocations/" + string(id),
		body: api.RestoreRequest{Reason: events.Reason(c.Reason), Note: c.Note, Force: c.Force},
	}, &done)
	if err != nil {
		if outcomeUnknown(err) {
			std.note("It is not known whether it is restored. Ask again: not_found then means that it is.")
		}
		return err
	}
	if c.JSON {
		_, err = std.out.Write(raw)
		return err
	}
	t := newTable(std.out)
	t.row("restored", done.ID)
	t.row("position", events.Position{Epoch: done.Epoch, Seq: done.Seq})
	return t.flush()
}
