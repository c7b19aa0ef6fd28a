package subscriber

import (
	"bytes"
	"context"
	"crypto/rand"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/go-json-experiment/json"

	"github.com/revocast/revocast/events"
)

// reportsPerStaleness: with three reports in MaxStaleness, one may fail
// without anybody noticing.
const reportsPerStaleness = 3

// report tells the hub again and again what is applied, until ctx ends. The
// answers are the proof that the stream is not being held back: they come by
// another way, and each answers a question that was never asked before. A
// report that fails delays nothing but the next report.
func (s *Subscriber) report(ctx context.Context, hub string) {
	every := s.config.MaxStaleness / reportsPerStaleness
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-timer.C:
		case <-s.reportNow:
		}
		timer.Reset(every)
		err := s.reportOnce(ctx, hub)
		if ctx.Err() != nil {
			return
		}
		s.reported(err)
	}
}

// askReport makes the report loop, if there is one, report at once.
func (s *Subscriber) askReport() {
	select {
	case s.reportNow <- struct{}{}:
	default: // one is asked for already
	}
}

func (s *Subscriber) reportOnce(ctx context.Context, hub string) error {
	// An answer after MaxStaleness proves nothing, and one that takes half of
	// it leaves time for another try.
	ctx, cancel := context.WithTimeout(ctx, s.config.MaxStaleness/2)
	defer cancel()

	v, sent := s.view.Load(), s.clock.now()
	nonce := rand.Text()
	answer, err := s.transport.Report(ctx, hub, events.Report{
		Subscriber: s.config.Name,
		Epoch:      v.position.Epoch,
		Applied:    v.position.Seq,
		State:      string(s.stateOf(v, sent)),
		Nonce:      nonce,
	})
	if err != nil {
		return err
	}
	var ferr *frameError
	s.change(func(r *replica, now moment) { ferr = r.proveAnswer(answer, nonce, sent, now) })
	if ferr != nil {
		s.invalid(ferr.reason)
		return ferr
	}
	return nil
}

// Report implements Transport.
func (h *hubClient) Report(ctx context.Context, hub string, report events.Report) ([]byte, error) {
	body, err := json.Marshal(report)
	if err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, hub+"/v1/feed/report", bytes.NewReader(body))
	if err != nil {
		return nil, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := (&http.Client{Transport: h, CheckRedirect: noRedirect}).Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if err := checkStatus(resp); err != nil {
		return nil, err
	}
	answer, err := io.ReadAll(io.LimitReader(resp.Body, MaxAnswer+1))
	if err != nil {
		return nil, err
	}
	if len(answer) > MaxAnswer {
		return nil, fmt.Errorf("an answer of more than %d bytes", MaxAnswer)
	}
	return answer, nil
}
