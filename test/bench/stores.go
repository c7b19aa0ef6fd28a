package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
)

const storeDown = "every request fails, or is let in unasked"

// startRedis starts a Redis server and looks tokens up in it.
func startRedis(s *suite, _ keyring) (_ []*strategy, err error) {
	const name = "Redis look-up"
	binary, err := exec.LookPath("redis-server")
	if err != nil {
		return nil, &missingError{name, "redis-server"}
	}
	s.step(name)
	dir, err := newDir(s.dir, "redis")
	if err != nil {
		return nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, err
	}
	server, err := startServer(exec.Command(binary, "--bind", "127.0.0.1", "--port", port, "--dir", dir,
		"--save", "", "--appendonly", "yes", "--appendfsync", "always"))
	if err != nil {
		return nil, err
	}
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:" + port})
	end := func() error { return errors.Join(client.Close(), server.stop()) }
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	if err := until(s.ctx, func() error { return client.Ping(s.ctx).Err() }); err != nil {
		return nil, fmt.Errorf("redis-server: %w", err)
	}
	for from := 0; from < s.scale.Standing; from += most {
		if _, err := client.Pipelined(s.ctx, func(p redis.Pipeliner) error {
			for i := from; i < min(from+most, s.scale.Standing); i++ {
				p.Set(s.ctx, fmt.Sprint("t", i), 1, time.Hour)
			}
			return nil
		}); err != nil {
			return nil, err
		}
	}
	return []*strategy{{
		name: name, calls: "1", down: storeDown, close: end,
		revoke: func(ctx context.Context, jti string) error { return client.Set(ctx, jti, 1, time.Hour).Err() },
		prepare: func(b bearer) check {
			return func(ctx context.Context) (bool, error) {
				n, err := client.Exists(ctx, b.jti).Result()
				return n > 0, err
			}
		},
	}}, nil
}

// startPostgres starts a PostgreSQL server and looks tokens up in it.
func startPostgres(s *suite, _ keyring) (_ []*strategy, err error) {
	const name = "PostgreSQL look-up"
	binary, err := exec.LookPath("postgres")
	if err != nil {
		return nil, &missingError{name, "postgres"}
	}
	if binary, err = filepath.EvalSymlinks(binary); err != nil { // initdb is beside it
		return nil, err
	}
	as := []string{}
	dir := filepath.Join(s.dir, "postgres")
	if os.Geteuid() == 0 { // which the server refuses to run as
		if _, err := exec.LookPath("setpriv"); err != nil {
			return nil, &missingError{name, "setpriv, which postgres needs as root,"}
		}
		as = []string{"setpriv", "--reuid", "nobody", "--clear-groups", "--regid", "nogroup", "--"}
		if dir, err = os.MkdirTemp("", "revocast-bench-postgres-"); err != nil {
			return nil, err
		}
		if err := exec.CommandContext(s.ctx, "chown", "nobody", dir).Run(); err != nil {
			return nil, errors.Join(err, os.RemoveAll(dir))
		}
	}
	remove := func() error { return os.RemoveAll(dir) }
	command := func(program string, args ...string) *exec.Cmd {
		argv := append(append(as[:len(as):len(as)], filepath.Join(filepath.Dir(binary), program)), args...)
		c := exec.CommandContext(context.WithoutCancel(s.ctx), argv[0], argv[1:]...)
		c.Dir = os.TempDir()
		return c
	}
	s.step(name)
	data := filepath.Join(dir, "data")
	if out, err := command("initdb", "-D", data, "-U", "bench", "-A", "trust", "--no-sync", "--locale=C").CombinedOutput(); err != nil {
		return nil, errors.Join(fmt.Errorf("initdb: %w: %s", err, out), remove())
	}
	port, err := freePort()
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	server, err := startServer(command("postgres", "-D", data, "-p", port, "-k", "", "-c", "listen_addresses=127.0.0.1"))
	if err != nil {
		return nil, errors.Join(err, remove())
	}
	end := func() error { return errors.Join(server.stop(), remove()) }
	defer func() {
		if err != nil {
			err = errors.Join(err, end())
		}
	}()
	pool, err := pgxpool.New(s.ctx, "postgres://bench@127.0.0.1:"+port+"/postgres?sslmode=disable")
	if err != nil {
		return nil, err
	}
	end = func() error { pool.Close(); return errors.Join(server.stop(), remove()) }
	if err := until(s.ctx, func() error { return pool.Ping(s.ctx) }); err != nil {
		return nil, fmt.Errorf("postgres: %w", err)
	}
	if _, err := pool.Exec(s.ctx, `CREATE TABLE revoked (jti text PRIMARY KEY, exp timestamptz NOT NULL)`); err != nil {
		return nil, err
	}
	exp := time.Now().Add(time.Hour)
	if _, err := pool.CopyFrom(s.ctx, pgx.Identifier{"revoked"}, []string{"jti", "exp"},
		pgx.CopyFromSlice(s.scale.Standing, func(i int) ([]any, error) { return []any{fmt.Sprint("t", i), exp}, nil })); err != nil {
		return nil, err
	}
	look := &strategy{
		name: name, calls: "1", down: storeDown, close: end,
		revoke: func(ctx context.Context, jti string) error {
			_, err := pool.Exec(ctx, `INSERT INTO revoked VALUES ($1, $2) ON CONFLICT DO NOTHING`, jti, exp)
			return err
		},
		prepare: func(b bearer) check {
			return func(ctx context.Context) (revoked bool, err error) {
				err = pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM revoked WHERE jti = $1 AND exp > now())`, b.jti).Scan(&revoked)
				return revoked, err
			}
		},
	}
	return []*strategy{look, cached(s, look)}, nil
}

// process is a server that was started here.
type process struct{ cmd *exec.Cmd }

func startServer(cmd *exec.Cmd) (*process, error) {
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start %s: %w", cmd.Path, err)
	}
	return &process{cmd}, nil
}

// stop asks the server to end, which both do at once on an interrupt, and
// waits. How it says that it was interrupted is its own affair.
func (p *process) stop() error {
	if err := p.cmd.Process.Signal(syscall.SIGINT); err != nil {
		return err
	}
	kill := time.AfterFunc(patience, func() { _ = p.cmd.Process.Kill() })
	_ = p.cmd.Wait()
	if !kill.Stop() {
		return fmt.Errorf("%s: did not end, and was killed", p.cmd.Path)
	}
	return nil
}

// until tries until it works, or patience is over.
func until(ctx context.Context, try func() error) error {
	for end := time.Now().Add(patience); ; {
		err := try()
		if err == nil || time.Now().After(end) {
			return err
		}
		if err := sleep(ctx, 10*time.Millisecond); err != nil {
			return err
		}
	}
}

func freePort() (string, error) {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return strconv.Itoa(l.Addr().(*net.TCPAddr).Port), l.Close()
}
