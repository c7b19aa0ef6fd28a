package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/go-json-experiment/json"
	"github.com/go-json-experiment/json/jsontext"

	"github.com/revocast/revocast/hub/api"
)

type statusCmd struct{ Remote }

func (statusCmd) Help() string {
	return `The tick is the hub's proof, each second, that its log takes writes. If it is
old, revocations can't be made, and subscribers know that they may be stale.

Examples:

    hub status
    hub status --json`
}

// oldTick is when subscribers stop being fresh, by default.
const oldTick = 6 * time.Second

func (c statusCmd) Run(ctx context.Context, std streams) error {
	hub, err := c.client(std)
	if err != nil {
		return err
	}
	var s api.Status
	var subs api.SubscriberList
	rawStatus, err := hub.ask(ctx, question{method: http.MethodGet, path: "/v1/status"}, &s)
	if err != nil {
		return err
	}
	rawSubs, err := hub.ask(ctx, question{method: http.MethodGet, path: "/v1/subscribers"}, &subs)
	if err != nil {
		return err
	}
	if c.JSON {
		// As the hub said it: a newer one may say more than is known here.
		both := struct {
			Status      jsontext.Value `json:"status"`
			Subscribers jsontext.Value `json:"subscribers"`
		}{Status: rawStatus}
		if err := json.Unmarshal(rawSubs, &both); err != nil {
			return err
		}
		return printJSON(std.out, both)
	}
	t := newTable(std.out)
	state := "takes requests"
	if s.Draining {
		state = "is about to stop"
	}
	t.row("hub", fmt.Sprintf("%s at %s %s, version %s, up %s", s.Hub, c.Hub, state, s.Version, ago(time.Duration(s.UptimeSecs)*time.Second)))
	t.row("feed", fmt.Sprintf("%s, epoch %s", s.Feed, s.Epoch))
	t.row("head", s.Head)
	t.row("tick", tickText(s.TickAgeMS))
	t.row("live", liveText(s))
	t.row("retention", period(time.Duration(s.RetentionSecs)*time.Second))
	t.row("subscribers", len(subs.Subscribers))
	if err := t.flush(); err != nil {
		return err
	}
	if len(s.Hubs) > 1 {
		fmt.Fprintln(std.out)
		t = newTable(std.out, "HUB", "HEAD", "TICK", "SUBSCRIBERS", "STATE")
		for _, h := range s.Hubs {
			if h.Silent {
				t.row(h.Hub, "?", "?", "?", "DOES NOT ANSWER")
				continue
			}
			state := "takes requests"
			if h.Draining {
				state = "is about to stop"
			}
			t.row(h.Hub, h.Head, tickText(h.TickAgeMS), h.Subscribers, state)
		}
		if err := t.flush(); err != nil {
			return err
		}
	}
	if len(subs.Silent) > 0 {
		fmt.Fprintf(std.out, "\nThe subscribers of %s are not known: it does not answer.\n", strings.Join(subs.Silent, ", "))
	}
	if len(subs.Subscribers) == 0 {
		return nil
	}
	fmt.Fprintln(std.out)
	t = newTable(std.out, "SUBSCRIBER", "HUB", "STATE", "APPLIED", "BEHIND", "REPORTED", "CONNECTED", "FROM", "KEY")
	for _, sub := range subs.Subscribers {
		t.row(sub.Name, sub.Hub, sub.State, sub.Applied, sub.Behind, when(sub.ReportedAt), when(sub.Since), sub.Remote, sub.Actor)
	}
	return t.flush()
}

func tickText(ageMS int64) string {
	age := time.Duration(ageMS) * time.Millisecond
	switch {
	case ageMS < 0:
		return "none yet"
	case age > oldTick:
		return ago(age) + " ago: THE LOG TAKES NO WRITES"
	}
	return ago(age) + " ago"
}

func liveText(s api.Status) string {
	text := count(s.Revocations, "revocation")
	if len(s.Live) == 0 {
		return text
	}
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(s.Live)) {
		kinds = append(kinds, fmt.Sprintf("%d %s", s.Live[kind], kind))
	}
	return text + " of " + strings.Join(kinds, ", ")
}
