package log

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"
)

const (
	// maxStoreDefault bounds the store when nobody else does: years of
	// revocations, and less than the disk that most machines have.
	maxStoreDefault = 16 << 30
	// maxMemory is for the consumers, whose state is all that the server keeps
	// in memory.
	maxMemory = 64 << 20
	// startTimeout leaves room for a scan of every block after a crash.
	startTimeout = 2 * time.Minute
	// healthInterval is how often the server is asked whether it has met a
	// write error. It reads two directories to answer.
	healthInterval = time.Second
)

// ServerConfig says where the embedded server keeps its data.
type ServerConfig struct {
	// Dir is made if it does not exist. It belongs to one process at a time.
	Dir string
	// MaxStore bounds the size of all streams together, in bytes. Zero means
	// 16 GiB, or 80 % of the file system if that is less.
	MaxStore int64
	// Logger gets what the server has to say. Nil means slog.Default.
	Logger *slog.Logger
	// DangerouslySkipSync acknowledges before the data is synced to disk: a
	// power cut then loses what was acknowledged. For benchmarks, and for tests
	// that must see the loss.
	DangerouslySkipSync bool
}

// Server is a NATS server inside this process. It listens on no port.
type Server struct {
	nats *server.Server
	dir  string
	lock *os.File
	log  *serverLog
	stop chan struct{} // closed by Shutdown
	done chan struct{} // closed when watch has returned
	once sync.Once     // Shutdown
}

// StartServer starts the server and returns when it is ready: every stream has
// been recovered and JetStream takes writes. It fails at once with ErrLocked
// if another process has the directory.
func StartServer(cfg ServerConfig) (*Server, error) {
	if cfg.Dir == "" {
		return nil, errors.New("log server: no directory")
	}
	dir, err := filepath.Abs(cfg.Dir)
	if err != nil {
		return nil, fmt.Errorf("log server: %w", err)
	}
	// Records name people and what became of their tokens.
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("log server: %w", err)
	}
	lock, name, err := lockDir(dir)
	if err != nil {
		return nil, fmt.Errorf("log server: %w", err)
	}
	s := &Server{
		dir:  dir,
		lock: lock,
		log:  newServerLog(cfg.Logger),
		stop: make(chan struct{}),
		done: make(chan struct{}),
	}
	s.nats, err = startNATS(name, dir, cfg, s.log)
	if err != nil {
		lock.Close()
		return nil, fmt.Errorf("log server: %w", err)
	}
	go s.watch()
	return s, nil
}

func startNATS(name, dir string, cfg ServerConfig, log *serverLog) (*server.Server, error) {
	maxStore := cfg.MaxStore
	if maxStore <= 0 {
		maxStore = defaultMaxStore(dir)
	}
	s, err := server.NewServer(&server.Options{
		ServerName:             name,
		DontListen:             true,
		NoSigs:                 true, // else the server exits the process on SIGINT
		JetStream:              true,
		StoreDir:               dir,
		SyncAlways:             !cfg.DangerouslySkipSync,
		JetStreamMaxMemory:     maxMemory,
		JetStreamMaxStore:      maxStore,
		DisableJetStreamBanner: true,
	})
	if err != nil {
		return nil, err
	}
	s.SetLoggerV2(log, false, false, false)
	s.Start() // returns when all is recovered, or after a Fatalf
	err = log.Err()
	switch {
	case err != nil:
	case !s.ReadyForConnections(startTimeout):
		err = fmt.Errorf("not ready after %v", startTimeout)
	case !s.JetStreamEnabled():
		err = errors.New("JetStream is not enabled")
	default:
		// A stream that can't be recovered is left out, not reported; its
		// absence would look like a feed without history.
		err = healthy(s)
	}
	if err != nil {
		s.Shutdown()
		s.WaitForShutdown()
		return nil, err
	}
	return s, nil
}

// healthy asks a server that has started how it is. It gives its listeners,
// of which there are none, a millisecond to be ready, which a machine that
// stalls does not; so a no is believed when it stands for a while.
func healthy(s *server.Server) error {
	end := time.Now().Add(healthInterval)
	for {
		h := s.Healthz(nil)
		switch {
		case h.Error == "":
			return nil
		case time.Now().After(end):
			return errors.New(h.Error)
		}
		time.Sleep(healthInterval / 20)
	}
}

// defaultMaxStore does not depend on how full the disk is: a limit that shrank
// from one start to the next could leave no room for a stream that is there.
func defaultMaxStore(dir string) int64 {
	d, err := statDisk(dir)
	if err != nil || d.size == 0 {
		return maxStoreDefault
	}
	return int64(min(maxStoreDefault, d.size/10*8))
}

// watch latches what the server only notes: a write error, after which a
// stream never answers again, and JetStream switching itself off; and what it
// does not note, that its directory is gone.
func (s *Server) watch() {
	defer close(s.done)
	t := time.NewTicker(healthInterval)
	defer t.Stop()
	var before string
	for {
		select {
		case <-s.stop:
			return
		case <-s.log.failed:
			return
		case <-t.C:
			// Once may be a stream that is being made or deleted; what is
			// meant here does not pass.
			h := s.nats.Healthz(nil)
			if h.Error != "" && h.Error == before {
				s.log.fail(errors.New(h.Error))
			}
			before = h.Error
			if err := inPlace(s.lock, s.dir); err != nil {
				s.log.fail(err)
			}
		}
	}
}

// Dir is the server's directory.
func (s *Server) Dir() string { return s.dir }

// Connect returns a connection within the process. The caller closes it. It
// reconnects for ever, and a publish while it is not connected fails at once
// rather than being kept for later.
func (s *Server) Connect() (*nats.Conn, error) {
	nc, err := nats.Connect("",
		nats.InProcessServer(s.nats),
		nats.Name("revocast"),
		nats.Timeout(20*time.Second), // nothing is on the way that could lose a word
		nats.MaxReconnects(-1),
		nats.ReconnectWait(100*time.Millisecond),
		nats.ReconnectBufSize(-1),
		nats.PingInterval(5*time.Second),
		nats.MaxPingsOutstanding(2),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			s.log.Errorf("connection: %v", err)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("connect to the log server: %w", err)
	}
	return nc, nil
}

// Failed is closed when the server can't be relied on any more: it has met a
// fatal error, a write error, or has switched JetStream off. Only a restart
// helps. Err then says what happened.
func (s *Server) Failed() <-chan struct{} { return s.log.failed }

// Err is nil until Failed is closed.
func (s *Server) Err() error { return s.log.Err() }

// Shutdown stops the server, waits until its data is written, and gives up the
// directory. Further calls do nothing but wait for the first.
func (s *Server) Shutdown() {
	s.once.Do(func() {
		close(s.stop)
		<-s.done
		s.nats.Shutdown()
		s.nats.WaitForShutdown()
		s.lock.Close()
	})
}
