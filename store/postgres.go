package store

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/mayflyca/mayfly/fault"
)

// postgresEngine is the engine that several processes share. Reads and rare writes take a connection from
// pool; hot writes go as arrays through a committer with a connection of its own, nonces likewise.
type postgresEngine struct {
	pool    *pgxpool.Pool
	durable *lane
	nonces  *lane
}

const (
	oldestPostgres = 13
	connectLimit   = 5 * time.Second
)

func openPostgres(ctx context.Context, c Config) (engine, error) {
	config, err := parseURL(c.DatabaseURL)
	if err != nil {
		return nil, err
	}
	meters, err := newMeters(c.Metrics, "durable", "nonces")
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "registering the store's metrics")
	}
	if err := checkServer(ctx, config.ConnConfig); err != nil {
		return nil, err
	}
	db := stdlib.OpenDB(*config.ConnConfig)
	err = migratePostgres(ctx, db, c)
	db.Close()
	if err != nil {
		return nil, err
	}
	p := &postgresEngine{}
	if p.pool, err = newPool(ctx, config, 0, durable); err != nil {
		return nil, err
	}
	// A batch finds its rows by key. While a table is young, or its statistics are old, the planner
	// may think that reading all of it is cheaper, and remember that.
	p.durable, err = newLane(ctx, config, c, meters["durable"], commitRows,
		durable, `SET enable_seqscan = off`)
	if err == nil {
		p.nonces, err = newLane(ctx, config, c, meters["nonces"], commitNonces,
			`SET synchronous_commit = off`)
	}
	if err != nil {
		p.close()
		return nil, err
	}
	c.Log.Debug("database open", slog.String("engine", "postgres"))
	return p, nil
}

// durable keeps the promise that a write which returned nil survives, where the server's
// configuration does not.
const durable = `SELECT set_config('synchronous_commit', 'on', false)
	WHERE current_setting('synchronous_commit') = 'off'`

// noJIT keeps Postgres from compiling statements, which takes longer than any of ours runs. It would
// do so for each that reads a table although enable_seqscan is off: its estimate is then enormous.
const noJIT = `SET jit = off`

func newPool(
	ctx context.Context, config *pgxpool.Config, conns int32, session ...string,
) (*pgxpool.Pool, error) {
	config = config.Copy()
	if conns > 0 {
		config.MaxConns, config.MinConns = conns, 0
	}
	config.AfterConnect = func(ctx context.Context, conn *pgx.Conn) error {
		for _, statement := range append([]string{noJIT}, session...) {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return err
			}
		}
		return nil
	}
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, oneLine{err}, "making a pool of connections")
	}
	return pool, nil
}

// parseURL reads database.url. Its errors quote nothing of it: any part may be the password.
func parseURL(text string) (*pgxpool.Config, error) {
	const want = "write database.url as postgres://user:password@host:5432/name"
	parsed, err := url.Parse(text)
	if err != nil {
		return nil, fault.New(fault.Invalid, "database.url is not a URL; %s "+
			"(with %%40 for an @ in the password, and so on)", want)
	}
	if parsed.Scheme != "postgres" && parsed.Scheme != "postgresql" {
		return nil, fault.New(fault.Invalid, "database.url is not for Postgres; %s, "+
			"or leave it empty for SQLite", want)
	}
	config, err := pgxpool.ParseConfig(text)
	if err != nil {
		return nil, fault.New(fault.Invalid,
			"database.url has a part that Postgres does not know, such as its port or an option "+
				"after the question mark; %s", want)
	}
	if config.ConnConfig.ConnectTimeout == 0 {
		config.ConnConfig.ConnectTimeout = connectLimit
	}
	if config.ConnConfig.RuntimeParams["application_name"] == "" {
		config.ConnConfig.RuntimeParams["application_name"] = "mayfly"
	}
	return config, nil
}

// checkServer connects once, to say plainly why that cannot work.
func checkServer(ctx context.Context, config *pgx.ConnConfig) error {
	conn, err := pgx.ConnectConfig(ctx, config)
	if err != nil {
		return connectError(config, err)
	}
	defer conn.Close(ctx)
	version := conn.PgConn().ParameterStatus("server_version")
	major, err := strconv.Atoi(leadingDigits(version))
	if err != nil || major < oldestPostgres {
		return fault.New(fault.Conflict, "the server runs Postgres %s; use version %d or newer",
			version, oldestPostgres)
	}
	return nil
}

func leadingDigits(text string) string {
	return text[:len(text)-len(strings.TrimLeft(text, "0123456789"))]
}

func connectError(config *pgx.ConnConfig, err error) error {
	at := net.JoinHostPort(config.Host, strconv.Itoa(int(config.Port)))
	code := ""
	if pg, ok := errors.AsType[*pgconn.PgError](err); ok {
		code = pg.Code
	}
	switch code {
	case "28P01", "28000":
		return fault.Wrap(fault.Denied, oneLine{err}, "Postgres at "+at+" refuses user "+
			strconv.Quote(config.User)+"; correct the user or password in database.url")
	case "3D000":
		return fault.Wrap(fault.NotFound, oneLine{err}, "Postgres at "+at+" has no database "+
			strconv.Quote(config.Database)+"; create it, or correct database.url")
	case "42501":
		return fault.Wrap(fault.Denied, oneLine{err}, "Postgres at "+at+" does not let user "+
			strconv.Quote(config.User)+" use database "+strconv.Quote(config.Database)+
			"; grant CONNECT on it")
	}
	return fault.Wrap(fault.Unavailable, oneLine{err},
		"cannot reach Postgres at "+at+"; start it, or correct database.url")
}

func (p *postgresEngine) close() error {
	for _, l := range []*lane{p.durable, p.nonces} {
		if l != nil {
			l.commits.close()
			l.pool.Close()
		}
	}
	p.pool.Close()
	return nil
}

func (p *postgresEngine) query(ctx context.Context, text string, args ...any) (rows, error) {
	got, err := p.pool.Query(ctx, text, args...)
	if err != nil {
		return nil, classify(err)
	}
	return got, nil
}

func (p *postgresEngine) write(ctx context.Context, w *write) error {
	return p.durable.commits.do(ctx, w)
}

func (p *postgresEngine) update(ctx context.Context, f func(ctx context.Context, tx tx) error) error {
	ctx, cancel := context.WithTimeout(ctx, answerLimit)
	defer cancel()
	err := pgx.BeginFunc(ctx, p.pool, func(tx pgx.Tx) error { return f(ctx, pgTx{tx}) })
	if answer, ok := errors.AsType[unchanged](err); ok {
		return answer.error
	}
	return classify(err)
}

// exclusive holds an advisory lock on a connection of its own. The lock ends with the connection,
// so f's context ends with it too.
func (p *postgresEngine) exclusive(
	ctx context.Context, name string, f func(ctx context.Context) error,
) error {
	conn, err := pgx.ConnectConfig(ctx, p.pool.Config().ConnConfig)
	if err != nil {
		return classify(err)
	}
	defer func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), connectLimit)
		defer cancel()
		_ = conn.Close(ctx)
	}()
	hash := sha256.Sum256([]byte("mayfly/exclusive/" + name))
	key := int64(binary.BigEndian.Uint64(hash[:8]))
	if _, err := conn.Exec(ctx, `SELECT pg_advisory_lock($1)`, key); err != nil {
		return classify(err)
	}
	guarded, cancel := context.WithCancel(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		defer cancel()
		_, _ = conn.WaitForNotification(guarded) // none comes: it ends with the connection
	}()
	err = f(guarded)
	lost := guarded.Err() != nil && ctx.Err() == nil
	cancel()
	<-watched
	if err != nil && lost {
		return unavailable(fmt.Errorf("lost the lock on %q: %w", name, err))
	}
	return err
}

// pgTx is a transaction on a pool's connection.
type pgTx struct{ pgx.Tx }

func (t pgTx) exec(ctx context.Context, text string, args ...any) (int64, error) {
	tag, err := t.Exec(ctx, text, args...)
	return tag.RowsAffected(), err
}

func (t pgTx) query(ctx context.Context, text string, args ...any) (rows, error) {
	return t.Query(ctx, text, args...)
}
