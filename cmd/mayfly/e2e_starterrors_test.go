package main_test

import (
	"database/sql"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgproto3"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store"
)

// copyData gives the server what another one's first start made.
func (s *server) copyData(t testing.TB, from *server) {
	t.Helper()
	mustRun(t, s.dir, nil, "cp", "-a", filepath.Join(from.dir, "mayfly-data"), s.dir)
}

func (s *server) data(name ...string) string {
	return filepath.Join(append([]string{s.dir, "mayfly-data"}, name...)...)
}

// refusesToStart runs the program, which must end by itself with the exit code and one line on
// standard error that holds what is wanted.
func (s *server) refusesToStart(t *testing.T, code int, want string) {
	t.Helper()
	s.launch(t)
	select {
	case <-s.exited:
	case <-time.After(patience):
		t.Fatalf("it does not end:\n%s", s.stderr.tail(2000))
	}
	if got := s.cmd.ProcessState.ExitCode(); got != code {
		t.Errorf("exit code %d, want %d", got, code)
	}
	if out := s.stdout.String(); out != "" {
		t.Errorf("standard output: %s", out)
	}
	text := s.stderr.String()
	line, rest, _ := strings.Cut(text, "\n")
	if rest != "" || !strings.HasPrefix(line, "mayfly: ") || !strings.Contains(line, want) {
		t.Errorf("standard error:\n%swant one line with %q", text, want)
	}
}

// What keeps the program from starting gets one line that says what to do.
func TestStartErrors(t *testing.T) {
	made := newServer(t, "")
	made.start(t)
	made.end(t, syscall.SIGTERM)

	replace := func(t *testing.T, path, text string) {
		t.Helper()
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	issuingKey := func(t *testing.T, s *server) string {
		t.Helper()
		found, err := filepath.Glob(s.data("keys", "issuing-*.pem"))
		if err != nil || len(found) != 1 {
			t.Fatalf("issuing keys: %q, %v", found, err)
		}
		return found[0]
	}
	for name, tc := range map[string]struct {
		spoil func(t *testing.T, s *server) // after a first start
		want  string
		code  int // 1 unless given
	}{
		"unknown flag": {func(_ *testing.T, s *server) {
			s.args = []string{"--listne=:1"}
		}, "did you mean", 2},
		"unknown key": {func(t *testing.T, s *server) {
			replace(t, filepath.Join(s.dir, "mayfly.yaml"), "log: {level: info}\nlistne: \":1\"\n")
			s.args = []string{"--config", "mayfly.yaml"}
		}, `mayfly.yaml:2: unknown key "listne": did you mean listen?`, 0},
		"unknown variable": {func(_ *testing.T, s *server) {
			s.env = append(s.env, "MAYFLY_LISTNE=:1")
		}, "MAYFLY_LISTNE: unknown variable: did you mean MAYFLY_LISTEN?", 0},
		"database URL of another kind": {func(_ *testing.T, s *server) {
			s.env = append(s.env, "MAYFLY_DATABASE_URL=mysql://me:hunter2@db/mayfly")
		}, "write postgres://user:password@host:port/database", 0},
		"database out of reach": {func(_ *testing.T, s *server) {
			s.env = append(s.env, "MAYFLY_DATABASE_URL=postgres://me:hunter2@127.0.0.1:1/mayfly")
		}, "cannot reach Postgres at 127.0.0.1:1; start it, or correct database.url", 0},
		"database too old": {func(t *testing.T, s *server) {
			s.env = append(s.env, "MAYFLY_DATABASE_URL="+oldPostgres(t))
		}, "the server runs Postgres 9.6.24; use version 13 or newer", 0},
		"schema newer than the binary": {func(t *testing.T, s *server) {
			db, err := sql.Open("sqlite", s.data("mayfly.db"))
			if err != nil {
				t.Fatal(err)
			}
			defer db.Close()
			if _, err := db.Exec(`INSERT INTO goose_db_version (version_id, is_applied)
				VALUES (9999, TRUE)`); err != nil {
				t.Fatal(err)
			}
		}, "the database has schema 9999, but this mayfly knows only", 0},
		"schema to be made, but not by us": {func(t *testing.T, s *server) {
			s.args = []string{"--no-migrate"}
			os.Remove(s.data("mayfly.db"))
		}, "start once without --no-migrate", 0},
		// never #32
		"passphrase is missing": {func(_ *testing.T, s *server) {
			os.Remove(s.data("passphrase"))
		}, "the passphrase of the CA's keys is missing: set MAYFLY_PASSPHRASE_FILE", 0},
		"passphrase is another": {func(t *testing.T, s *server) {
			replace(t, s.data("passphrase"), "not this one\n")
		}, "the passphrase does not open the key file", 0},
		"passphrase file is nowhere": {func(_ *testing.T, s *server) {
			s.env = append(s.env, "MAYFLY_PASSPHRASE_FILE=nowhere")
		}, "reading the passphrase of the CA's keys: open nowhere: no such file", 0},
		"key of another certificate": {func(t *testing.T, s *server) {
			found, err := filepath.Glob(s.data("keys", "root-*.pem"))
			if err != nil || len(found) != 1 {
				t.Fatalf("root keys: %q, %v", found, err)
			}
			root, err := os.ReadFile(found[0])
			if err != nil {
				t.Fatal(err)
			}
			replace(t, issuingKey(t, s), string(root))
		}, "does not match its certificate: bring the original key file back", 0},
		"key file is missing": {func(t *testing.T, s *server) {
			os.Remove(issuingKey(t, s))
		}, "is missing: bring it back from a backup", 0},
		"attestations without roots": {func(_ *testing.T, s *server) {
			s.env = append(s.env, "MAYFLY_ACME_RATE_LIMITS=on", "MAYFLY_ACME_CHALLENGES=device-attest-01")
		}, "device-attest-01 in acme.challenges needs acme.attestation_roots", 0},
		"attestation roots are nowhere": {func(_ *testing.T, s *server) {
			s.env = append(s.env, "MAYFLY_ACME_RATE_LIMITS=on", "MAYFLY_ACME_CHALLENGES=device-attest-01", "MAYFLY_ACME_ATTESTATION_ROOTS=nowhere")
		}, "reading acme.attestation_roots: open nowhere: no such file", 0},
		"attestation roots are none": {func(t *testing.T, s *server) {
			replace(t, filepath.Join(s.dir, "roots.pem"), "none\n")
			s.env = append(s.env, "MAYFLY_ACME_RATE_LIMITS=on", "MAYFLY_ACME_CHALLENGES=device-attest-01", "MAYFLY_ACME_ATTESTATION_ROOTS=roots.pem")
		}, "there is no PEM certificate in them", 0},
		"port is taken": {func(t *testing.T, s *server) {
			l, err := net.Listen("tcp", "127.0.0.1:0")
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { l.Close() })
			s.env = append(s.env, "MAYFLY_PUBLISH_LISTEN="+l.Addr().String())
		}, "is taken by another program: choose another with --publish-listen, MAYFLY_PUBLISH_LISTEN", 0},
		"data directory is a file": {func(t *testing.T, s *server) {
			replace(t, filepath.Join(s.dir, "file"), "")
			s.args = []string{"--data-dir", "file"}
		}, "the data directory file is a file: choose another with --data-dir", 0},
		"data directory cannot be made": {func(_ *testing.T, s *server) {
			s.args = []string{"--data-dir", "/proc/mayfly"}
		}, "making the data directory", 0},
		"data directory cannot be written to": {func(_ *testing.T, s *server) {
			s.args = []string{"--data-dir", "/proc"}
		}, "the data directory cannot be written to", 0},
		// never #34
		"clock is behind the record": {func(t *testing.T, s *server) {
			logInTheFuture(t, s)
		}, "clock", 0},
		"admin token file is something else": {func(t *testing.T, s *server) {
			replace(t, filepath.Join(s.dir, "precious"), "content\n")
			s.env = append(s.env, "MAYFLY_ADMIN_TOKEN_FILE=precious")
			s.args = []string{"--new-admin-token"}
		}, "holds something else than a token", 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "")
			s.copyData(t, made)
			tc.spoil(t, s)
			s.refusesToStart(t, max(tc.code, 1), tc.want)
			if strings.Contains(s.stderr.String(), "hunter2") {
				t.Error("the database password is in the error")
			}
		})
	}
	t.Run("data directory is in use", func(t *testing.T) {
		running, second := newServer(t, ""), newServer(t, "")
		running.copyData(t, made)
		running.start(t)
		second.args = []string{"--data-dir", running.data()}
		second.refusesToStart(t, 1, "another mayfly process is using "+running.data())
		if err := running.alive(); err != nil {
			t.Error(err)
		}
	})
}

// oldPostgres is a server that says it is old, and nothing more.
func oldPostgres(t *testing.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer conn.Close()
				greetAsOldPostgres(conn)
			}()
		}
	}()
	return fmt.Sprintf("postgres://me@%s/mayfly?sslmode=disable", l.Addr())
}

func greetAsOldPostgres(conn net.Conn) {
	backend := pgproto3.NewBackend(conn, conn)
	if _, err := backend.ReceiveStartupMessage(); err != nil {
		return
	}
	backend.Send(&pgproto3.AuthenticationOk{})
	backend.Send(&pgproto3.ParameterStatus{Name: "server_version", Value: "9.6.24"})
	backend.Send(&pgproto3.ReadyForQuery{TxStatus: 'I'})
	if err := backend.Flush(); err != nil {
		return
	}
	backend.Receive() // the client's goodbye
}

// logInTheFuture leaves an entry of tomorrow in the record, as a clock that ran ahead does.
func logInTheFuture(t *testing.T, s *server) {
	t.Helper()
	db, err := store.Open(t.Context(), store.Config{DataDir: s.data()})
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	tomorrow := audit.New(time.Now().Add(24*time.Hour), audit.Refused, "test", "test", nil)
	if err := db.Log(t.Context(), tomorrow); err != nil {
		t.Fatal(err)
	}
}
