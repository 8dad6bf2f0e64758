package main_test

import (
	"bytes"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	killRounds   = 3
	restClients  = 16
	acmeClients  = 4
	answersLeast = 40 // before the process is killed
	answersMore  = 160
)

// never #11: the process is killed while it issues. Afterwards every certificate that a client was
// given is in the record as it was given, none is there twice, what clients ask for again they get
// once, no promise is left open, and what might exist without a record is in the CRL.
func TestKill(t *testing.T) {
	for engine, database := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, database(t))
			s.env = append(s.env, "MAYFLY_ACME_RESOLVER="+serveDNS(t).address, "MAYFLY_LOG_LEVEL=warn")
			s.start(t)
			l := &load{
				server: s, token: s.token(t), responder: serveResponder(t, s),
				given: map[string][]byte{}, open: map[string]string{},
			}
			for round := range killRounds {
				l.run(t, round)
				letTimePass(t, s)
				s.start(t)
				l.retry(t)
			}
			l.check(t)
		})
	}
}

// load is what clients ask of a server, and what they were given.
type load struct {
	server    *server
	token     string
	responder *responder

	mu    sync.Mutex
	given map[string][]byte // name → DER
	open  map[string]string // name → CSR, of REST requests without an answer
}

func (l *load) answered(name string, der []byte) int {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.given[name] = der
	delete(l.open, name)
	return len(l.given)
}

// run lets clients work until enough were answered, and kills the process between two breaths.
func (l *load) run(t *testing.T, round int) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	l.mu.Lock()
	enough := len(l.given) + answersLeast + rand.IntN(answersMore)
	l.mu.Unlock()
	var killed atomic.Bool
	var clients sync.WaitGroup
	kill := sync.OnceFunc(func() {
		killed.Store(true)
		l.server.cmd.Process.Signal(syscall.SIGKILL)
	})
	client := func(what string, work func(context.Context, string) (string, []byte, error)) {
		clients.Go(func() {
			for n := 0; ; n++ {
				name, der, err := work(ctx, fmt.Sprintf("r%d-%s-%d.kill.test", round, what, n))
				if err != nil {
					if !killed.Load() {
						t.Errorf("%s before the kill: %v", what, err)
						kill()
					}
					return
				}
				if l.answered(name, der) >= enough {
					kill()
				}
			}
		})
	}
	for c := range restClients {
		client(fmt.Sprint("rest", c), l.rest(newHTTPClient(l.server.pool(t))))
	}
	for c := range acmeClients {
		acme, err := newACMEClient(ctx, newHTTPClient(l.server.pool(t)), l.server.directory(), l.responder)
		if err != nil {
			if killed.Load() {
				break // the others were quick
			}
			t.Fatal(err)
		}
		client(fmt.Sprint("acme", c), func(ctx context.Context, name string) (string, []byte, error) {
			chain, err := acme.flow(ctx, name)
			if err != nil {
				return name, nil, err
			}
			return name, chain[0], nil
		})
	}
	clients.Wait()
	<-l.server.exited
}

// letTimePass makes the promises of the dead process old. Where several processes share a database,
// nobody knows that one has died but by its silence.
func letTimePass(t *testing.T, s *server) {
	t.Helper()
	url := s.databaseURL
	if url == "" {
		return
	}
	conn, err := pgx.Connect(t.Context(), url)
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(t.Context())
	if _, err := conn.Exec(t.Context(), `UPDATE certificates SET promised_at = promised_at - $1
		WHERE state = 'promised'`, time.Hour.Microseconds()); err != nil {
		t.Fatal(err)
	}
}

// rest makes requests that can be repeated: their Idempotency-Key is the name.
func (l *load) rest(hc *http.Client) func(context.Context, string) (string, []byte, error) {
	return func(ctx context.Context, name string) (string, []byte, error) {
		csr, _, err := newCSR(name)
		if err != nil {
			return name, nil, err
		}
		l.mu.Lock()
		l.open[name] = csr
		l.mu.Unlock()
		der, err := l.server.issueOnce(ctx, hc, l.token, name, csr)
		return name, der, err
	}
}

// issueOnce asks with the Idempotency-Key.
func (s *server) issueOnce(ctx context.Context, hc *http.Client, token, key, csr string) ([]byte, error) {
	var issued restCertificate
	err := s.restWith(ctx, hc, token, http.Header{"Idempotency-Key": {key}}, "POST",
		"/api/v1/certificates", map[string]string{"csr": csr}, &issued)
	if err != nil {
		return nil, err
	}
	chain, err := parseChain([]byte(issued.Certificate))
	if err != nil {
		return nil, err
	}
	return chain[0], nil
}

// retry asks again for what was not answered, as clients do, until each is.
func (l *load) retry(t *testing.T) {
	t.Helper()
	for name, csr := range l.open {
		l.server.eventually(t, name+" is answered", func() error {
			der, err := l.server.issueOnce(t.Context(), l.server.client, l.token, name, csr)
			var status *statusError
			if errors.As(err, &status) && status.retryAfter == "" {
				t.Fatalf("asking again for %s: %v", name, err)
			}
			if err != nil {
				return err
			}
			l.given[name] = der
			return nil
		})
	}
	clear(l.open)
}

func (l *load) check(t *testing.T) {
	t.Helper()
	s := l.server
	s.eventually(t, "no promise is open", func() error {
		if open := s.list(t, l.token, "status=pending"); len(open) > 0 {
			return fmt.Errorf("%d are open, %v for one", len(open), open[0])
		}
		return nil
	})
	issued, voided := map[string]string{}, []string{}
	for _, c := range s.list(t, l.token, "suffix=kill.test") {
		switch {
		case c.Status == "revoked": // nobody revoked anything: a promise that was voided
			voided = append(voided, c.Serial)
		case c.Status != "valid":
			t.Errorf("%v is %s", c.Names, c.Status)
		case issued[c.Names[0]] != "":
			t.Errorf("%s has two certificates", c.Names[0])
		default:
			issued[c.Names[0]] = c.Serial
		}
	}
	for name, der := range l.given {
		serial := issued[name]
		if serial == "" {
			t.Errorf("%s was given a certificate that is not in the record", name)
			continue
		}
		kept, err := parseChain([]byte(s.show(t, l.token, serial).Certificate))
		if err != nil || !bytes.Equal(kept[0], der) {
			t.Errorf("the record has another certificate for %s (%v)", name, err)
		}
	}
	t.Logf("%d answered, %d in the record, %d voided", len(l.given), len(issued), len(voided))
	s.eventually(t, "the CRLs list what was voided", func() error {
		listed := s.revokedSerials(t)
		for _, serial := range voided {
			if !listed[serial] {
				return fmt.Errorf("%s is missing", serial)
			}
		}
		return nil
	})
}

// revokedSerials reads all CRLs of the issuer that signs.
func (s *server) revokedSerials(t *testing.T) map[string]bool {
	t.Helper()
	var valid restCertificate
	for _, c := range s.list(t, s.token(t), "status=valid") {
		valid = c
	}
	chain, err := parseChain([]byte(s.show(t, s.token(t), valid.Serial).Certificate))
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	base := leaf.CRLDistributionPoints[0]
	base = base[:strings.LastIndexByte(base, '/')+1]
	listed := map[string]bool{}
	for shard := 0; ; shard++ {
		der, err := get(http.DefaultClient, fmt.Sprintf("%s%d.crl", base, shard))
		var status *statusError
		if errors.As(err, &status) && status.code == http.StatusNotFound && shard > 0 {
			return listed
		}
		if err != nil {
			t.Fatal(err)
		}
		crl, err := x509.ParseRevocationList(der)
		if err != nil {
			t.Fatal(err)
		}
		if crl.NextUpdate.Before(time.Now()) {
			t.Errorf("shard %d is out of date", shard)
		}
		for _, entry := range crl.RevokedCertificateEntries {
			listed[fmt.Sprintf("%032x", entry.SerialNumber)] = true
		}
	}
}
