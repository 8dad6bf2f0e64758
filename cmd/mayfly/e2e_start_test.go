package main_test

import (
	"context"
	"database/sql"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
)

// The second start finds what the first made, and says where the admin token is even when the file
// is gone.
func TestSecondStart(t *testing.T) {
	for engine, database := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, database(t))
			s.start(t)
			first, token := s.stdout.String(), s.token(t)
			for _, want := range []string{s.directory(), s.url + "/\n", s.data("admin-token"), "trial"} {
				if !strings.Contains(first, want) {
					t.Errorf("the banner lacks %q:\n%s", want, first)
				}
			}
			info, err := os.Stat(s.data("admin-token"))
			if err != nil || info.Mode().Perm() != 0o600 {
				t.Errorf("the admin token's file: %v, %v", info, err)
			}
			issued := s.issue(t, token, "second.start.test")
			if code := s.end(t, syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d", code)
			}

			s.start(t)
			if second := s.stdout.String(); second != first {
				t.Errorf("the second banner differs:\n%s\n%s", first, second)
			}
			if got := s.show(t, token, issued.Serial); got.Certificate != issued.Certificate {
				t.Errorf("the record has %+v", got)
			}
			s.end(t, syscall.SIGTERM)

			if err := os.Remove(s.data("admin-token")); err != nil {
				t.Fatal(err)
			}
			s.start(t)
			if banner := s.stdout.String(); !strings.Contains(banner, "is gone; mayfly serve --new-admin-token") {
				t.Errorf("the banner does not say how to get another token:\n%s", banner)
			}
			s.end(t, syscall.SIGTERM)

			s.args = []string{"--new-admin-token"}
			s.start(t)
			if another := s.token(t); another == token {
				t.Error("the new token is the old one")
			} else {
				s.issue(t, another, "new.token.test")
			}
			s.issue(t, token, "old.token.test") // is still good
		})
	}
}

// A crash between the admin token's file and its record leaves a file that opens nothing. The next
// start makes it good.
func TestAdminTokenAfterCrash(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.start(t)
	lost := s.token(t)
	s.end(t, syscall.SIGTERM)
	db, err := sql.Open("sqlite", s.data("mayfly.db"))
	if err != nil {
		t.Fatal(err)
	}
	defer db.Close()
	if _, err := db.Exec(`DELETE FROM tokens`); err != nil {
		t.Fatal(err)
	}
	s.start(t)
	if s.token(t) == lost {
		t.Error("the token is the lost one")
	}
	s.issue(t, s.token(t), "after.crash.test")
}

// The lines that the banner prints do what they say, pasted as they are.
func TestBannerLinesWork(t *testing.T) {
	for _, program := range []string{"certbot", "lego"} {
		t.Run(program, func(t *testing.T) {
			t.Parallel()
			need(t, program)
			s := newServer(t, "")
			s.start(t)
			// certbot looks here for where its files go; everything else is as it is printed.
			settings := filepath.Join(s.dir, "letsencrypt")
			if err := os.Mkdir(settings, 0o755); err != nil {
				t.Fatal(err)
			}
			ini := fmt.Sprintf("config-dir=%[1]s/c\nwork-dir=%[1]s/w\nlogs-dir=%[1]s/l\n", s.dir)
			if err := os.WriteFile(filepath.Join(settings, "cli.ini"), []byte(ini), 0o600); err != nil {
				t.Fatal(err)
			}
			line := ""
			for candidate := range strings.Lines(s.stdout.String()) {
				if strings.Contains(candidate, program+" ") {
					line = candidate
				}
			}
			if line == "" {
				t.Fatalf("no line for %s in\n%s", program, s.stdout.String())
			}
			ctx, cancel := context.WithTimeout(t.Context(), patience)
			defer cancel()
			cmd := exec.CommandContext(ctx, "sh", "-c", line)
			cmd.Dir = s.dir
			cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir, "XDG_CONFIG_HOME=" + s.dir}
			if out, err := cmd.CombinedOutput(); err != nil {
				t.Fatalf("%s%v\n%s", line, err, out)
			}
			if list := s.list(t, s.token(t), "name=mayfly.localhost"); len(list) != 1 {
				t.Errorf("the record has %+v", list)
			}
		})
	}
}

// mayfly runs a client command against the server.
func (s *server) mayfly(t *testing.T, args ...string) (string, error) {
	t.Helper()
	return command(t, s.dir, []string{
		"MAYFLY_URL=" + s.url, "MAYFLY_ROOT=" + s.roots, "MAYFLY_TOKEN=@" + s.data("admin-token"),
	}, binary, args...)
}

// The command line does what the API does.
func TestCommands(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.start(t)
	must := func(args ...string) string {
		t.Helper()
		out, err := s.mayfly(t, args...)
		if err != nil {
			t.Fatalf("mayfly %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	must("cert", "issue", "cli.test", "127.0.0.1")
	leaf := s.verify(t, filepath.Join(s.dir, "cli.test.pem"), "cli.test")
	if info, err := os.Stat(filepath.Join(s.dir, "cli.test.key")); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("the key's file: %v, %v", info, err)
	}
	serial := serialOf(leaf)
	for _, out := range []string{
		must("cert", "list"), must("cert", "list", "--suffix", "test", "--json"),
		must("cert", "show", strings.ToUpper(serial)),
	} {
		if !strings.Contains(out, serial) || !strings.Contains(out, "valid") {
			t.Errorf("no %s in\n%s", serial, out)
		}
	}
	if out := must("cert", "revoke", serial, "--reason", "superseded"); !strings.Contains(out, "superseded") {
		t.Errorf("revoke says %s", out)
	}
	s.verifyRevoked(t, leaf)

	for want, args := range map[string][]string{
		"already":                    {"cert", "revoke", serial},
		"exists: choose another":     {"cert", "issue", "cli.test"},
		"give either names or --csr": {"cert", "issue"},
		"no such":                    {"cert", "show", "0123"},
		"give the CA's root":         {"cert", "list", "--root="},
		"no token":                   {"cert", "list", "--token="},
	} {
		if out, err := s.mayfly(t, args...); err == nil || !strings.Contains(out, want) {
			t.Errorf("mayfly %s: %v, want %q:\n%s", strings.Join(args, " "), err, want, out)
		}
	}
	if out := must("--help"); !strings.Contains(out, "serve") {
		t.Errorf("help:\n%s", out)
	}
	metrics := strings.TrimPrefix(s.metrics, "http://")
	if out := must("ready", "--metrics-listen", metrics); out != "ready\n" {
		t.Errorf("ready says %s", out)
	}
}
