package main_test

import (
	"crypto/x509"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// cliKey is what "mayfly eab create --json" tells.
type cliKey struct {
	ID     string `json:"id"`
	MACKey string `json:"mac_key"`
}

// must runs a client command that has to work.
func (s *server) must(t *testing.T, args ...string) string {
	t.Helper()
	out, err := s.mayfly(t, args...)
	if err != nil {
		t.Fatalf("mayfly %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// Foreign clients are bound to a key with the real program, get a name that was granted to it
// without a challenge, for nobody here could answer one, and nothing more once the key is revoked.
func TestBoundClients(t *testing.T) {
	for client, test := range map[string]func(*testing.T, *server, cliKey) (obtain func() (string, error), file string){
		"certbot": certbotBound, "lego": legoBound,
	} {
		t.Run(client, func(t *testing.T) {
			t.Parallel()
			need(t, client)
			need(t, "openssl")
			s := newServer(t, "")
			s.env = append(s.env, "MAYFLY_ACME_EAB_REQUIRED=true")
			s.start(t)
			var key cliKey
			if err := json.Unmarshal([]byte(s.must(t, "eab", "create", "team a", "--once", "--expires", "1h", "--json")), &key); err != nil {
				t.Fatal(err)
			}
			obtain, file := test(t, s, key)
			s.must(t, "acme", "grant", "create", ".bound.test", "--eab-key", key.ID, "--expires", "1h", "--reason", "a test")
			if out, err := obtain(); err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			leaf := s.verify(t, file, "www.bound.test")
			s.wantBound(t, key, leaf)
			if out := s.must(t, "eab", "revoke", key.ID); !strings.Contains(out, "1 accounts are frozen") {
				t.Errorf("revoke says %s", out)
			}
			if out, err := obtain(); err == nil || !strings.Contains(out, "frozen") {
				t.Errorf("a frozen account: %v\n%s", err, out)
			}
		})
	}
}

// wantBound looks at the account and the order as an operator does.
func (s *server) wantBound(t *testing.T, key cliKey, leaf *x509.Certificate) {
	t.Helper()
	var certificate struct{ Owner string }
	if err := s.rest(t.Context(), s.client, s.token(t), "GET", "/api/v1/certificates/"+serialOf(leaf), nil, &certificate); err != nil ||
		certificate.Owner != "team a" {
		t.Errorf("the certificate's owner is %q: %v", certificate.Owner, err)
	}
	var accounts, orders struct {
		Items []struct{ ID, Status, Owner, Certificate string }
	}
	read := func(into any, args ...string) {
		t.Helper()
		if err := json.Unmarshal([]byte(s.must(t, append(args, "--json")...)), into); err != nil {
			t.Fatal(err)
		}
	}
	read(&accounts, "acme", "accounts", "--eab-key", key.ID)
	if len(accounts.Items) != 1 || accounts.Items[0].Owner != "team a" || accounts.Items[0].Status != "valid" {
		t.Fatalf("the accounts are %+v", accounts)
	}
	read(&orders, "acme", "orders", "--account", accounts.Items[0].ID, "--name", "www.bound.test", "--status", "valid")
	if len(orders.Items) != 1 || orders.Items[0].Certificate != serialOf(leaf) {
		t.Fatalf("the orders are %+v", orders)
	}
	for want, args := range map[string][]string{
		"team a": {"acme", "account", accounts.Items[0].ID}, "used": {"eab", "list", "--owner", "team a"},
		"needed no challenge": {"acme", "order", orders.Items[0].ID}, ".bound.test": {"acme", "grant", "list"},
	} {
		if out := s.must(t, args...); !strings.Contains(out, want) || strings.Contains(out, key.MACKey) {
			t.Errorf("mayfly %s lacks %q, or has the MAC key:\n%s", strings.Join(args, " "), want, out)
		}
	}
	if log := s.stderr.String(); strings.Contains(log, key.MACKey) { // never #30
		t.Error("the log has the MAC key")
	}
}

func certbotBound(t *testing.T, s *server, key cliKey) (obtain func() (string, error), file string) {
	run := func(args ...string) (string, error) {
		return command(t, s.dir, []string{"REQUESTS_CA_BUNDLE=" + s.roots}, "certbot", append(args,
			"--server", s.directory(), "--non-interactive", "--config-dir", "certbot", "--work-dir", "certbot-work",
			"--logs-dir", "certbot-logs")...)
	}
	if out, err := run("register", "--agree-tos", "--register-unsafely-without-email"); err == nil {
		t.Errorf("registered without a key:\n%s", out)
	}
	out, err := run("register", "--agree-tos", "--register-unsafely-without-email", "--eab-kid="+key.ID,
		"--eab-hmac-key="+key.MACKey)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return func() (string, error) {
		out, err := run("certonly", "--standalone", "--http-01-address", "127.0.0.1", "--http-01-port", fmt.Sprint(freePort(t)),
			"--force-renewal", "-d", "www.bound.test")
		if err != nil { // this certbot loses the CA's sentence on its way to the terminal
			log, _ := os.ReadFile(filepath.Join(s.dir, "certbot-logs", "letsencrypt.log"))
			out += string(log)
		}
		return out, err
	}, filepath.Join(s.dir, "certbot", "live", "www.bound.test", "fullchain.pem")
}

func legoBound(t *testing.T, s *server, key cliKey) (obtain func() (string, error), file string) {
	run := func(args ...string) (string, error) {
		return command(t, s.dir, []string{"LEGO_CA_CERTIFICATES=" + s.roots}, "lego", append([]string{
			"--server", s.directory(), "--path", "lego", "--accept-tos", "--email", "someone@bound.test", "--domains", "www.bound.test",
			"--http", "--http.port", fmt.Sprintf("127.0.0.1:%d", freePort(t)),
		}, args...)...)
	}
	if out, err := run("run"); err == nil || !strings.Contains(strings.ToLower(out), "external account binding") {
		t.Errorf("registered without a key: %v\n%s", err, out)
	}
	return func() (string, error) { return run("--eab", "--kid="+key.ID, "--hmac="+key.MACKey, "run") },
		filepath.Join(s.dir, "lego", "certificates", "www.bound.test.crt")
}

// The rest of the operator's commands, and what they say when something is wrong.
func TestOperatorCommands(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.start(t)
	out := s.must(t, "eab", "create", "team b", "--label", "web")
	for _, want := range []string{"MAC key", "certbot register", "lego --accept-tos", "eab ", s.directory()} {
		if !strings.Contains(out, want) {
			t.Errorf("eab create lacks %q:\n%s", want, out)
		}
	}
	dns := &responder{}
	client, err := newACMEClient(t.Context(), s.client, s.directory(), dns)
	if err != nil {
		t.Fatal(err)
	}
	id := client.kid[strings.LastIndexByte(client.kid, '/')+1:]
	if _, err := client.flow(t.Context(), "nobody.localhost"); err == nil {
		t.Error("a name was proven that nobody serves")
	}
	var orders struct{ Items []struct{ ID string } }
	if err := json.Unmarshal([]byte(s.must(t, "acme", "orders", "--status", "invalid", "--json")), &orders); err != nil || len(orders.Items) != 1 {
		t.Fatalf("%+v: %v", orders, err)
	}
	if out := s.must(t, "acme", "order", orders.Items[0].ID); !strings.Contains(out, "connection refused") {
		t.Errorf("the order's trace is missing:\n%s", out)
	}
	grant := s.must(t, "acme", "grant", "create", "x.localhost", "--account", id, "--expires", "1h", "--json")
	var made struct{ ID string }
	if err := json.Unmarshal([]byte(grant), &made); err != nil {
		t.Fatal(err)
	}
	if _, err := client.flow(t.Context(), "x.localhost"); err != nil {
		t.Errorf("a granted name: %v", err)
	}
	s.must(t, "acme", "grant", "withdraw", made.ID)
	s.must(t, "acme", "deactivate", id)
	if _, err := client.flow(t.Context(), "x.localhost"); err == nil || !strings.Contains(err.Error(), "revoked") {
		t.Errorf("a deactivated account: %v", err)
	}
	for want, args := range map[string][]string{
		"revoked already":       {"acme", "deactivate", id},
		"no such grant":         {"acme", "grant", "withdraw", made.ID},
		"no such account":       {"acme", "account", "x"},
		"no such order":         {"acme", "order", "x"},
		"no such EAB key":       {"eab", "revoke", "x"},
		"is neither a duration": {"eab", "create", "x", "--expires", "soon"},
		"has passed":            {"eab", "create", "x", "--expires=-1h"},
		"--account":             {"acme", "grant", "create", "a.test", "--expires", "1h"},
	} {
		if out, err := s.mayfly(t, args...); err == nil || !strings.Contains(out, want) {
			t.Errorf("mayfly %s: %v, want %q:\n%s", strings.Join(args, " "), err, want, out)
		}
	}
}
