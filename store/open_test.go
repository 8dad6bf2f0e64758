package store_test

import (
	"database/sql"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func TestWrongURLs(t *testing.T) {
	for url, want := range map[string]string{
		"mysql://u:hunter2@h/d":                   "is not for Postgres",
		"u:hunter2":                               "is not for Postgres",
		"postgres://u:hunter2@h:port/d":           "is not a URL",
		"postgres://u:hunter2%zz@h/d":             "is not a URL",
		"postgres://u:hunter2@h/d?sslmode=often":  "has a part that Postgres does not know",
		"postgres://u:hunter2@h/d?pool_min_conns": "has a part that Postgres does not know",
	} {
		c := store.Config{DatabaseURL: url}
		openError(t, c, fault.Invalid, "database.url ", want, "postgres://user:password@host:5432/name")
		if _, err := store.Open(t.Context(), c); strings.Contains(err.Error(), "hunter2") {
			t.Errorf("the password is in: %v", err)
		}
	}
}

func TestPostgresRefuses(t *testing.T) {
	server := storetest.NewServer(t, false)
	url := server.Database(t)
	s := storetest.Open(t, store.Config{DatabaseURL: url, Migrate: true})
	_, err := storetest.DB(t, s).Exec(`CREATE ROLE locked LOGIN PASSWORD 'correct'`)
	must(t, err)
	locked := strings.Replace(url, "postgres@", "locked:hunter2@", 1)
	openError(t, store.Config{DatabaseURL: locked}, fault.Denied,
		`refuses user "locked"`, "correct the user or password")
	missing := strings.Replace(url, "/test_", "/missing_", 1)
	openError(t, store.Config{DatabaseURL: missing}, fault.NotFound,
		`has no database "missing_`, "create it")
	server.Stop(t)
	openError(t, store.Config{DatabaseURL: url}, fault.Unavailable, "cannot reach Postgres", "start it")
}

// listen serves each connection, and gives the database.url to get there.
func listen(t *testing.T, serve func(conn net.Conn)) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	t.Cleanup(func() { listener.Close() })
	go func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			go serve(conn)
		}
	}()
	return "postgres://u:hunter2@" + listener.Addr().String() + "/d?sslmode=disable"
}

func TestServerTooOld(t *testing.T) {
	url := listen(t, func(conn net.Conn) {
		defer conn.Close()
		server := pgproto3.NewBackend(conn, conn)
		if _, err := server.ReceiveStartupMessage(); err != nil {
			return
		}
		server.Send(&pgproto3.AuthenticationOk{})
		server.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "12.22 (Debian)"})
		server.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
		_ = server.Flush()
		_, _ = server.Receive()
	})
	openError(t, store.Config{DatabaseURL: url, Migrate: true}, fault.Conflict,
		"runs Postgres 12.22", "use version 13 or newer")
}

func TestServerThatSaysNothing(t *testing.T) {
	t.Parallel()
	url := listen(t, func(net.Conn) {})
	begun := time.Now()
	openError(t, store.Config{DatabaseURL: url}, fault.Unavailable, "cannot reach Postgres")
	if took := time.Since(begun); took > 15*time.Second {
		t.Errorf("it took %v to say so", took)
	}
}

func TestOneProcessOnSQLite(t *testing.T) {
	c := store.Config{DataDir: filepath.Join(t.TempDir(), "new", "data"), Migrate: true}
	s := storetest.Open(t, c)
	if !s.Alone() {
		t.Error("not alone")
	}
	openError(t, c, fault.Conflict, "another mayfly process is using "+c.DataDir, "database.url")
	must(t, s.Promise(t.Context(), promise(t, "")))
	_, err := s.Issuers(t.Context())
	must(t, err)
	must(t, s.Close())
	must(t, storetest.Open(t, c).Close())

	// Nothing is left open: else SQLite would not have folded its journal into the database.
	files, err := filepath.Glob(filepath.Join(c.DataDir, "*"))
	must(t, err)
	if len(files) != 2 {
		t.Errorf("left after closing: %q", files)
	}
}

func TestOnlyWeReadTheDatabase(t *testing.T) {
	c := store.Config{DataDir: filepath.Join(t.TempDir(), "data"), Migrate: true}
	must(t, storetest.Open(t, c).Promise(t.Context(), promise(t, "")))
	files := 0
	must(t, filepath.WalkDir(c.DataDir, func(path string, d fs.DirEntry, err error) error {
		must(t, err)
		info, err := d.Info()
		must(t, err)
		if info.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", path, info.Mode())
		}
		files++
		return nil
	}))
	if files < 4 { // directory, database, journal, lock
		t.Errorf("only %d files", files)
	}
}

func TestNotADatabase(t *testing.T) {
	dir := t.TempDir()
	must(t, os.WriteFile(filepath.Join(dir, "mayfly.db"), []byte(strings.Repeat("no database ", 999)), 0o600))
	openError(t, store.Config{DataDir: dir, Migrate: true}, fault.Unavailable, dir)
	file := filepath.Join(dir, "mayfly.db")
	openError(t, store.Config{DataDir: file, Migrate: true}, fault.Unavailable, file)
}

// A password that is changed while we run is an outage, and ends as one.
func TestPasswordChangedWhileRunning(t *testing.T) {
	server := storetest.NewServer(t, false)
	url := server.Database(t)
	admin, err := sql.Open("pgx", url)
	must(t, err)
	defer admin.Close()
	as := func(statements ...string) {
		t.Helper()
		for _, statement := range statements {
			_, err := admin.Exec(statement)
			must(t, err)
		}
	}
	as(`CREATE ROLE locked LOGIN PASSWORD 'correct'`, `DO $$ BEGIN EXECUTE
		format('ALTER DATABASE %I OWNER TO locked', current_database()); END $$`)
	url = strings.Replace(url, "postgres@", "locked:correct@", 1)
	s := storetest.Open(t, store.Config{DatabaseURL: url, Migrate: true})
	must(t, s.Promise(t.Context(), promise(t, "")))

	as(`ALTER ROLE locked PASSWORD 'other'`,
		`SELECT pg_terminate_backend(pid, 9000) FROM pg_stat_activity WHERE usename = 'locked'`)
	for range 2 { // on the lost connection, and on none
		wantKind(t, "a write", s.Promise(t.Context(), promise(t, "")), fault.Unavailable)
		_, err = s.Issuers(t.Context())
		if err != nil { // a pool may notice the loss by itself
			wantKind(t, "a read", err, fault.Unavailable)
		}
	}
	as(`ALTER ROLE locked PASSWORD 'correct'`)
	must(t, s.Promise(t.Context(), promise(t, "")))
	_, err = s.Issuers(t.Context())
	must(t, err)
}
