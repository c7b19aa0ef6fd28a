package api

import (
	"net/http"

	"github.com/revocast/revocast/events"
)

// What subscribers call; package feed does all of it.

func (a *API) serveFeed(w http.ResponseWriter, r *request) error {
	return a.feed.ServeStream(w, r.Request, r.caller.actor, r.caller.valid)
}

func (a *API) serveSnapshot(w http.ResponseWriter, r *request) error {
	return a.feed.ServeSnapshot(w, r.Request)
}

func (a *API) takeReport(w http.ResponseWriter, r *request) error {
	var report events.Report
	if err := decodeTolerant(w, r, &report); err != nil {
		return err
	}
	reply, err := a.feed.Report(r.Context(), r.caller.actor, report)
	if err != nil {
		return err
	}
	return answer(w, http.StatusOK, reply)
}
