package natsfeed_test

import (
	"log"

	"github.com/nats-io/nats.go"

	"github.com/revocast/revocast/events"
	"github.com/revocast/revocast/subscriber"
	"github.com/revocast/revocast/subscriber/natsfeed"
)

// A resource server that follows its hubs over NATS.
func Example() {
	var hubKeys []events.PublicKey // from the hubs' configuration

	transport, err := natsfeed.New(natsfeed.Config{
		URLs:    []string{"tls://nats-1.example", "tls://nats-2.example"},
		Options: []nats.Option{nats.UserCredentials("orders.creds"), nats.CustomInboxPrefix("_INBOX_orders")},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer transport.Close() // after the subscriber

	sub, err := subscriber.New(subscriber.Config{
		Transport: transport,
		HubKeys:   hubKeys, // NATS vouches for nobody
		Issuers:   []subscriber.Issuer{{Iss: "https://issuer.example", JWKSURI: "https://issuer.example/jwks"}},
	})
	if err != nil {
		log.Fatal(err)
	}
	defer sub.Close()
}
