package natsfeed

import (
	"bytes"
	"errors"

	"github.com/revocast/revocast/subscriber"
)

// parser takes apart the server-sent events of a hub: lines that end in LF, of
// the fields event, data and id, an empty line after each event. It knows no
// more of that format, for nobody but a hub writes what it reads. An event is
// handed on when all of it is there.
type parser struct {
	rest []byte // of an event that has not come to its end
}

var errTooLong = errors.New("an event that is too long")

func (p *parser) take(data []byte, deliver func(subscriber.Event)) error {
	from := max(len(p.rest)-1, 0) // the empty line may lie across the pieces
	all := append(p.rest, data...)
	for {
		i := bytes.Index(all[from:], []byte("\n\n"))
		if i < 0 {
			break
		}
		end := from + i + 2
		if e := parse(all[:end]); e.Name != "" {
			deliver(e)
		}
		all, from = all[end:], 0
	}
	if len(all) > subscriber.MaxEvent {
		return errTooLong
	}
	p.rest = bytes.Clone(all) // and nothing of what has been delivered
	return nil
}

// parse reads one event. Its data is a copy.
func parse(block []byte) (e subscriber.Event) {
	for line := range bytes.Lines(block) {
		name, value, _ := bytes.Cut(bytes.TrimSuffix(line, []byte("\n")), []byte(":"))
		value = bytes.TrimPrefix(value, []byte(" "))
		switch string(name) {
		case "event":
			e.Name = string(value)
		case "data":
			e.Data = bytes.Clone(value)
		case "id":
			e.ID = string(value)
		}
	}
	return e
}
