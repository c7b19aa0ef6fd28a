package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"

	"github.com/revocast/revocast/hub/api"
	"github.com/revocast/revocast/hub/feed"
)

// neverSent reports whether an error came before anything was sent.
func neverSent(err error) bool {
	var dns *net.DNSError
	var op *net.OpError
	var cert *tls.CertificateVerificationError
	return errors.As(err, &dns) || errors.As(err, &cert) || errors.Is(err, http.ErrSchemeMismatch) || errors.As(err, &op) && op.Op == "dial"
}

// explain says what went wrong, and what to do.
func explain(err error) string {
	var p *problem
	var none *noAnswerError
	var cert *tls.CertificateVerificationError
	switch {
	case errors.As(err, &p):
		return sentence(p)
	case !errors.As(err, &none):
		return strings.ReplaceAll(strings.TrimPrefix(err.Error(), "hub: "), "\n", "\nhub: ")
	case errors.Is(err, syscall.ECONNREFUSED):
		return fmt.Sprintf("nothing listens at %s: is the hub running? Start it with: hub serve. If it is elsewhere, set --hub or REVOCAST_HUB", none.hub)
	case errors.Is(err, http.ErrSchemeMismatch):
		return fmt.Sprintf("%s does not speak TLS: try http://", none.hub)
	case errors.As(err, &cert):
		return fmt.Sprintf("the certificate of %s is not trusted here: %v; SSL_CERT_FILE names a file with the authority that signed it", none.hub, cert.Err)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Sprintf("%s did not answer in time: is it overloaded? See hub status; --timeout waits longer", none.hub)
	}
	return err.Error()
}

// sentence is a problem in one line: what is wrong, with which flag, the code
// to search for, and what to do.
func sentence(p *problem) string {
	text := strings.TrimSuffix(p.Detail, ".")
	switch title := strings.TrimSuffix(p.Title, "."); {
	case text == "":
		text = title
	case p.Status >= 500: // there the detail says what to do, not what is wrong
		text = title + ". " + text
	}
	if p.Field != "" {
		text = asGiven(p.Field) + ": " + text
	}
	text = fmt.Sprintf("%s (%s)", text, p.Code)
	if todo := remedies[p.Code]; todo != "" {
		text += "; " + todo
	}
	return printable(text)
}

// asGiven is what the field of a request is called on the command line.
func asGiven(field string) string {
	switch field {
	case "target.kind", "kind":
		return "KIND"
	case "target.value", "value":
		return "VALUE"
	case "target.iss", "iss":
		return "--iss"
	case "id":
		return "ID"
	case "cutoff", "reason", "note", "after", "limit":
		return "--" + field
	case "expires_at":
		return "--expires-at"
	case "Idempotency-Key":
		return "--idempotency-key"
	}
	return field
}

// remedies say what to do, where the hub's answer does not say it.
var remedies = map[api.Code]string{
	api.Unauthorized:                 "check REVOCAST_KEY or --key: hub key list, with a key that works, shows which there are. The admin key was printed when the hub first started",
	api.Forbidden:                    "use a key that may: hub key create makes one",
	api.NotFound:                     "hub list shows the revocations that are live, hub key list the keys",
	api.OutcomeUnknown:               "hub status says how the hub is",
	api.Busy:                         "try again in a moment",
	api.Draining:                     "it is about to stop: use another hub, or wait until it is back",
	api.Unavailable:                  "its log takes no writes at the moment: hub status says more",
	api.StorageFull:                  "make room on the disk of its data directory",
	api.Internal:                     "the hub's log says more",
	api.TooManyFailures:              "wait a minute, and check the key",
	api.Code(feed.Protected):         "say --force if you are sure",
	api.Code(feed.UnknownIssuer):     "add it to the issuers in the hub's configuration file, or correct --iss",
	api.Code(feed.RetentionExceeded): "start the hub with a longer --retention, if this is meant",
	api.Code(feed.KeyReused):         "leave --idempotency-key out, and each call is a request of its own",
}
