package hub

import (
	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/hub/log"
)

// LogServer lets tests do to the log what no client can.
func (h *Hub) LogServer() *log.Server { return h.srv }

// PublicKeys are those that hellos name.
func (h *Hub) PublicKeys() []events.PublicKey { return h.feed.HubKeys() }
