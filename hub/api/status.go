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
}

// SubscriberList lists the open streams by name.
type SubscriberList struct {
	Subscribers []feed.Subscriber `json:"subscribers"`
}

func (a *API) status(w http.ResponseWriter, _ *request) error {
	return answer(w, http.StatusOK, Status{
		Status: a.feed.Status(), Version: a.version,
		UptimeSecs: int64(a.now().Sub(a.startedAt) / time.Second), HubKeys: a.hubKeys,
	})
}

func (a *API) subscribers(w http.ResponseWriter, _ *request) error {
	return answer(w, http.StatusOK, SubscriberList{a.feed.Subscribers()})
}
