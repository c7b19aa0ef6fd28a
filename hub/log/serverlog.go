package log

import (
	"fmt"
	"log/slog"
	"sync"
)

// serverLog is the server's Logger. A fatal error does not end the process, as
// the server expects, but is kept for whoever owns the server.
type serverLog struct {
	slog   *slog.Logger
	failed chan struct{} // closed when err is set

	mu  sync.Mutex
	err error // guarded by mu; set once
}

func newServerLog(l *slog.Logger) *serverLog {
	if l == nil {
		l = slog.Default()
	}
	return &serverLog{slog: l.With("component", "nats"), failed: make(chan struct{})}
}

func (l *serverLog) fail(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.err == nil {
		l.err = fmt.Errorf("log server failed: %w", err)
		l.slog.Error("server failed", "err", err)
		close(l.failed)
	}
}

// Err is nil as long as the server has not failed.
func (l *serverLog) Err() error {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.err
}

// The server's notices are about its own affairs and no news to an operator.

func (l *serverLog) Noticef(format string, v ...any) { l.slog.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Debugf(format string, v ...any)  { l.slog.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Tracef(format string, v ...any)  { l.slog.Debug(fmt.Sprintf(format, v...)) }
func (l *serverLog) Warnf(format string, v ...any)   { l.slog.Warn(fmt.Sprintf(format, v...)) }
func (l *serverLog) Errorf(format string, v ...any)  { l.slog.Error(fmt.Sprintf(format, v...)) }
func (l *serverLog) Fatalf(format string, v ...any)  { l.fail(fmt.Errorf(format, v...)) }
