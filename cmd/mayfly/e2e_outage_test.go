package main_test

import (
	"bufio"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/store/storetest"
)

// SIGTERM closes the doors to newcomers and answers whoever is inside.
func TestDrain(t *testing.T) {
	for _, sig := range []syscall.Signal{syscall.SIGTERM, syscall.SIGINT} {
		t.Run(sig.String(), func(t *testing.T) {
			t.Parallel()
			s := newServer(t, "")
			s.start(t)
			slow := beginSlowIssue(t, s, "slow.test")
			if err := s.cmd.Process.Signal(sig); err != nil {
				t.Fatal(err)
			}
			s.eventually(t, "the door is closed", func() error {
				conn, err := net.Dial("tcp", s.address())
				if err != nil {
					return nil
				}
				conn.Close()
				return errors.New("it is open")
			})
			if status := slow.finish(t); status != http.StatusCreated {
				t.Errorf("the request inside was answered %d", status)
			}
			select {
			case <-s.exited:
			case <-time.After(patience):
				t.Fatal("the process does not end")
			}
			if code := s.end(t, syscall.SIGTERM); code != 0 {
				t.Errorf("exit code %d:\n%s", code, s.stderr.tail(2000))
			}
		})
	}
}

func (s *server) address() string { return strings.TrimPrefix(s.url, "https://") }

// slowIssue is a request whose body arrives in two parts.
type slowIssue struct {
	conn   *tls.Conn
	reader *bufio.Reader
	rest   string
}

// beginSlowIssue returns when the server reads the body: it asks for it (RFC 9110 section 10.1.1).
func beginSlowIssue(t *testing.T, s *server, name string) *slowIssue {
	t.Helper()
	csr, _, err := newCSR(name)
	if err != nil {
		t.Fatal(err)
	}
	body, err := json.Marshal(map[string]string{"csr": csr})
	if err != nil {
		t.Fatal(err)
	}
	conn, err := tls.Dial("tcp", s.address(), &tls.Config{RootCAs: s.pool(t)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { conn.Close() })
	conn.SetDeadline(time.Now().Add(patience))
	fmt.Fprintf(conn, "POST /api/v1/certificates HTTP/1.1\r\nHost: %s\r\nAuthorization: Bearer %s\r\n"+
		"Content-Type: application/json\r\nContent-Length: %d\r\nExpect: 100-continue\r\n\r\n",
		s.address(), s.token(t), len(body))
	slow := &slowIssue{conn, bufio.NewReader(conn), string(body[10:])}
	if line, err := slow.reader.ReadString('\n'); err != nil || !strings.Contains(line, " 100 ") {
		t.Fatalf("got %q, %v; want 100 Continue", line, err)
	}
	if _, err := slow.reader.ReadString('\n'); err != nil {
		t.Fatal(err)
	}
	if _, err := conn.Write(body[:10]); err != nil {
		t.Fatal(err)
	}
	return slow
}

// finish sends the rest and gives the answer's status.
func (i *slowIssue) finish(t *testing.T) int {
	t.Helper()
	if _, err := i.conn.Write([]byte(i.rest)); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(i.reader, nil)
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	return resp.StatusCode
}

// A database that goes away gives 503 with Retry-After, readiness says so, nothing is half done, and
// when it is back so are we, without a restart.
func TestDatabaseGone(t *testing.T) {
	t.Parallel()
	postgres := storetest.NewServer(t, false)
	s := newServer(t, postgres.Database(t))
	s.env = append(s.env, "MAYFLY_ACME_RESOLVER="+serveDNS(t).address)
	s.start(t)
	token := s.token(t)
	acme, err := newACMEClient(t.Context(), s.client, s.directory(), serveResponder(t, s))
	if err != nil {
		t.Fatal(err)
	}
	s.issue(t, token, "before.gone.test")

	postgres.Stop(t)
	csr, _, err := newCSR("during.gone.test")
	if err != nil {
		t.Fatal(err)
	}
	for range 3 { // the first meets old connections, the later ones none
		_, err := s.issueOnce(t.Context(), s.client, token, "during", csr)
		wantUnavailable(t, err)
	}
	_, err = acme.flow(t.Context(), "acme.gone.test")
	wantUnavailable(t, err)
	for _, base := range []string{s.url, s.metrics} {
		_, err = get(s.client, base+"/readyz")
		wantUnavailable(t, err)
		if err != nil && !strings.Contains(err.Error(), `"database":"the database cannot be used`) {
			t.Errorf("readiness: %v", err)
		}
	}
	if _, err := get(s.client, s.url+"/healthz"); err != nil {
		t.Errorf("health: %v", err)
	}
	if out, err := s.mayfly(t, "ready", "--metrics-listen", strings.TrimPrefix(s.metrics, "http://")); err == nil ||
		!strings.Contains(out, "not ready: database: the database cannot be used") {
		t.Errorf("mayfly ready: %v\n%s", err, out)
	}

	postgres.Start(t)
	s.eventually(t, "the server is ready again", func() error {
		_, err := get(s.client, s.url+"/readyz")
		return err
	})
	s.eventually(t, "the request is answered", func() error {
		_, err := s.issueOnce(t.Context(), s.client, token, "during", csr)
		return err
	})
	s.eventually(t, "the ACME flow goes through", func() error {
		_, err := acme.flow(t.Context(), "acme.gone.test")
		return err
	})
	for _, name := range []string{"before.gone.test", "during.gone.test", "acme.gone.test"} {
		if got := s.list(t, token, "status=valid&name="+name); len(got) != 1 {
			t.Errorf("%d certificates for %s", len(got), name)
		}
	}
}

func wantUnavailable(t *testing.T, err error) {
	t.Helper()
	var status *statusError
	if !errors.As(err, &status) || status.code != http.StatusServiceUnavailable || status.retryAfter == "" {
		t.Errorf("got %v, want 503 with Retry-After", err)
	}
}
