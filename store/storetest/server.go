package storetest

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/url"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

// Server is a Postgres server of our own, on a Unix socket only. It ends with this process, however
// that ends, and takes its files along.
type Server struct {
	url  string // of the database postgres
	dir  string // empty if the server is not ours
	bin  string
	cred *syscall.Credential // whom to run as: Postgres refuses to run as root

	fsync  bool
	cmd    *exec.Cmd      // the supervisor
	orders io.WriteCloser // its standard input; nil while stopped

	mu           sync.Mutex
	templateName string
}

var errNoPostgres = errors.New(
	"Postgres is not installed: apt-get install postgresql, or set MAYFLY_TEST_DATABASE_URL")

// NewServer starts a server for one test, which may stop it. fsync is for measurements.
func NewServer(t testing.TB, fsync bool) *Server {
	t.Helper()
	server, err := startServer(fsync)
	usable(t, server, err)
	t.Cleanup(func() {
		server.end(t, "remove")
	})
	return server
}

// Database makes a fresh, empty database and gives its URL.
func (s *Server) Database(t testing.TB) string { return s.database(t, "template0") }

// Stop ends the server at once, as a crash does.
func (s *Server) Stop(t testing.TB) {
	t.Helper()
	s.end(t, "keep")
}

func (s *Server) end(t testing.TB, order string) {
	t.Helper()
	if s.orders == nil {
		return
	}
	if _, err := fmt.Fprintln(s.orders, order); err != nil {
		t.Errorf("stopping Postgres: %v", err)
	}
	s.orders.Close()
	s.orders = nil
	if err := s.cmd.Wait(); err != nil {
		t.Errorf("stopping Postgres: %v", err)
	}
}

// Start starts a stopped server again.
func (s *Server) Start(t testing.TB) {
	t.Helper()
	if err := s.start(); err != nil {
		t.Fatal(err)
	}
}

func (s *Server) running() bool { return s.dir == "" || s.orders != nil }

// usable skips the test if there is no Postgres, unless MAYFLY_TEST_POSTGRES=required.
func usable(t testing.TB, server *Server, err error) *Server {
	t.Helper()
	switch {
	case err == nil:
		return server
	case errors.Is(err, errNoPostgres) && os.Getenv("MAYFLY_TEST_POSTGRES") != "required":
		t.Skip(err)
	}
	t.Fatal(err)
	return nil
}

func startServer(fsync bool) (*Server, error) {
	bin, err := findPostgres()
	if err != nil {
		return nil, err
	}
	// Not t.TempDir: the server outlives the test, and its user must be able to get there.
	dir, err := os.MkdirTemp("/tmp", "mayfly-postgres-")
	if err != nil {
		return nil, err
	}
	s := &Server{dir: dir, bin: bin, fsync: fsync}
	query := url.Values{"host": {dir}}.Encode()
	s.url = "postgres://postgres@/postgres?" + query
	if os.Geteuid() == 0 {
		if s.cred, err = ownerOf(dir); err != nil {
			return nil, err
		}
	}
	initdb := exec.Command(filepath.Join(bin, "initdb"), "-D", filepath.Join(dir, "data"),
		"-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-locale", "--no-sync")
	initdb.Dir, initdb.SysProcAttr = dir, &syscall.SysProcAttr{Credential: s.cred}
	if out, err := initdb.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("making a Postgres cluster: %w: %s", err, out)
	}
	// The role "locked" must show its password, which a test of wrong passwords needs.
	rules := "local all locked scram-sha-256\nlocal all all trust\n"
	err = os.WriteFile(filepath.Join(dir, "data", "pg_hba.conf"), []byte(rules), 0o600)
	if err != nil {
		return nil, err
	}
	return s, s.start()
}

func findPostgres() (string, error) {
	if path, err := exec.LookPath("initdb"); err == nil {
		if path, err = filepath.EvalSymlinks(path); err == nil {
			return filepath.Dir(path), nil
		}
	}
	found, err := filepath.Glob("/usr/lib/postgresql/*/bin/initdb")
	if err != nil || len(found) == 0 {
		return "", errNoPostgres
	}
	slices.SortFunc(found, func(a, b string) int { return len(a) - len(b) })
	return filepath.Dir(found[len(found)-1]), nil
}

// ownerOf gives dir to the user postgres, and says who that is.
func ownerOf(dir string) (*syscall.Credential, error) {
	account, err := user.Lookup("postgres")
	if err != nil {
		return nil, errNoPostgres
	}
	uid, err := strconv.Atoi(account.Uid)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.Atoi(account.Gid)
	if err != nil {
		return nil, err
	}
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}, os.Chown(dir, uid, gid)
}

// supervise runs the server until its own standard input has a line or ends: we said stop, or this
// process is gone, for whatever reason. In the latter case nobody else removes the files.
const supervise = `
"$1"/postgres -D "$2"/data -k "$2" -c listen_addresses= -c fsync="$3" -c max_connections=200 &
read -r order
kill -QUIT $!
wait $!
test "$order" = keep || rm -rf "$2"`

func (s *Server) start() error {
	log, err := os.Create(filepath.Join(s.dir, "log"))
	if err != nil {
		return err
	}
	defer log.Close()
	fsync := map[bool]string{true: "on", false: "off"}[s.fsync]
	s.cmd = exec.Command("sh", "-c", supervise, "sh", s.bin, s.dir, fsync)
	s.cmd.Dir, s.cmd.Stdout, s.cmd.Stderr = "/", log, log
	// A group of its own, so that an interrupt at the terminal reaches us and not the server.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Credential: s.cred, Setpgid: true}
	if s.orders, err = s.cmd.StdinPipe(); err != nil {
		return err
	}
	if err := s.cmd.Start(); err != nil {
		return fmt.Errorf("starting Postgres: %w", err)
	}
	return s.ready()
}

// ready waits until the server answers.
func (s *Server) ready() error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		conn, err := pgx.Connect(ctx, s.url)
		if err == nil {
			return conn.Close(ctx)
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			log, _ := os.ReadFile(filepath.Join(s.dir, "log"))
			return fmt.Errorf("Postgres does not start: %w: %s", err, log)
		}
	}
}

// exec runs a statement as the administrator.
func (s *Server) exec(t testing.TB, statement string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	conn, err := pgx.Connect(ctx, s.url)
	if err != nil {
		t.Fatalf("connecting to Postgres: %v", err)
	}
	defer conn.Close(ctx)
	if _, err := conn.Exec(ctx, statement); err != nil {
		t.Fatalf("running %s: %v", statement, err)
	}
}
