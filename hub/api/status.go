package api

import (
	"net/http"
	"time"

	"github.com/revocast/revocast/hub/feed"
)

// Status is the answer to GET /v1/status.
type Status struct {
	feed.Status
	Version    string   `json:"version"`
	UptimeSecs int64    `json:"uptime_seconds"`
	HubKeys    []string `json:"hub_keys"` // the kids of the keys that sign ticks
	// Hubs are those of the feed, the one that answers first.
	Hubs []feed.HubStatus `json:"hubs"`
}

// SubscriberList lists the open streams of all hubs by name. Those of a hub
// that did not answer are missing, and its name is in Silent.
type SubscriberList struct {
	Subscribers []feed.Subscriber `json:"subscribers"`
	Silent      []string          `json:"silent,omitzero"`
}

func (a *API) status(w http.ResponseWriter, r *request) error {
	return answer(w, http.StatusOK, Status{
		Status: a.feed.Status(), Version: a.version,
		UptimeSecs: int64(a.now().Sub(a.startedAt) / time.Second), HubKeys: a.hubKeys,
		Hubs: a.feed.Hubs(r.Context()),
	})
}

func (a *API) subscribers(w http.ResponseWriter, r *request) error {
	list, silent := a.feed.Subscribers(r.Context())
	return answer(w, http.StatusOK, SubscriberList{list, silent})
}
