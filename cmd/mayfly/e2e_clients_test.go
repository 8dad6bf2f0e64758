package main_test

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/pem"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"golang.org/x/crypto/acme"
	"golang.org/x/crypto/acme/autocert"

	"github.com/mayflyca/mayfly/store/storetest"
)

// Foreign clients obtain, renew and revoke with the real program on both engines (never #20).
func TestClients(t *testing.T) {
	clients := []struct {
		name string
		test func(*testing.T, *server, *nameServer)
	}{
		{"certbot http-01", certbotHTTP},
		{"certbot dns-01 wildcard", certbotDNS},
		{"lego http-01", legoHTTP},
		{"lego tls-alpn-01", legoTLS},
		{"lego dns-01 wildcard", legoDNS},
		{"acme-tiny http-01", acmeTiny},
		{"autocert tls-alpn-01", autocertTLS},
	}
	for engine, database := range engines {
		for _, c := range clients {
			t.Run(engine+"/"+c.name, func(t *testing.T) {
				t.Parallel()
				need(t, "openssl")
				dns := serveDNS(t)
				s := newServer(t, database(t))
				s.env = append(s.env, "MAYFLY_ACME_RESOLVER="+dns.address)
				s.start(t)
				c.test(t, s, dns)
			})
		}
	}
}

func (s *server) directory() string { return s.url + "/acme/directory" }

func certbot(t *testing.T, s *server, args ...string) {
	t.Helper()
	need(t, "certbot")
	mustRun(t, s.dir, []string{"REQUESTS_CA_BUNDLE=" + s.roots}, "certbot", slices.Concat(args, []string{
		"--non-interactive", "--config-dir", "certbot", "--work-dir", "certbot-work",
		"--logs-dir", "certbot-logs",
	})...)
}

func certbotHTTP(t *testing.T, s *server, _ *nameServer) {
	certbot(t, s, "certonly", "--server", s.directory(), "--agree-tos",
		"--register-unsafely-without-email", "--standalone", "--http-01-address", "127.0.0.1",
		"--http-01-port", fmt.Sprint(s.http01Port), "-d", "www.certbot.test", "-d", "certbot.test")
	certbotLifecycle(t, s, "www.certbot.test", "www.certbot.test", "certbot.test")
}

func certbotDNS(t *testing.T, s *server, dns *nameServer) {
	hooks := dnsHooks(t, s.dir, dns)
	certbot(t, s, "certonly", "--server", s.directory(), "--agree-tos",
		"--register-unsafely-without-email", "--manual", "--preferred-challenges", "dns",
		"--manual-auth-hook", hooks+" present _acme-challenge.$CERTBOT_DOMAIN $CERTBOT_VALIDATION",
		"--manual-cleanup-hook", hooks+" cleanup _acme-challenge.$CERTBOT_DOMAIN $CERTBOT_VALIDATION",
		"-d", "*.wild.test", "-d", "wild.test")
	certbotLifecycle(t, s, "wild.test", "*.wild.test", "wild.test")
}

// certbotLifecycle takes the lineage that certonly made through renewal and revocation.
func certbotLifecycle(t *testing.T, s *server, lineage string, names ...string) {
	live := filepath.Join(s.dir, "certbot", "live", lineage)
	read := func() *x509.Certificate {
		return s.verify(t, filepath.Join(live, "fullchain.pem"), names...)
	}
	first := read()
	certbot(t, s, "renew", "--force-renewal", "--no-random-sleep-on-renew")
	second := read()
	differ(t, first, second)
	certbot(t, s, "revoke", "--server", s.directory(), "--cert-path",
		filepath.Join(live, "cert.pem"), "--reason", "superseded", "--no-delete-after-revoke")
	s.verifyRevoked(t, second)
}

func legoHTTP(t *testing.T, s *server, _ *nameServer) {
	lego(t, s, nil, "lego.test", "--http", "--http.port", fmt.Sprintf("127.0.0.1:%d", s.http01Port))
}

func legoTLS(t *testing.T, s *server, _ *nameServer) {
	lego(t, s, nil, "alpn.lego.test", "--tls", "--tls.port", fmt.Sprintf("127.0.0.1:%d", s.tlsPort))
}

func legoDNS(t *testing.T, s *server, dns *nameServer) {
	lego(t, s, []string{"EXEC_PATH=" + dnsHooks(t, s.dir, dns)}, "*.lego.test",
		"--dns", "exec", "--dns.disable-cp", "--dns.resolvers", dns.address)
}

// lego obtains, renews and revokes.
func lego(t *testing.T, s *server, env []string, name string, how ...string) {
	t.Helper()
	need(t, "lego")
	run := func(what ...string) {
		t.Helper()
		args := slices.Concat([]string{
			"--server", s.directory(), "--path", "lego", "--accept-tos",
			"--email", "someone@lego.test", "--domains", name,
		}, how, what)
		mustRun(t, s.dir, append(env, "LEGO_CA_CERTIFICATES="+s.roots), "lego", args...)
	}
	file := filepath.Join(s.dir, "lego", "certificates", strings.ReplaceAll(name, "*", "_")+".crt")
	run("run")
	first := s.verify(t, file, name)
	run("renew", "--days", "90", "--no-random-sleep")
	second := s.verify(t, file, name)
	differ(t, first, second)
	run("revoke", "--keep")
	s.verifyRevoked(t, second)
}

// acmeTiny has no revocation of its own: the second run renews, and the REST API revokes.
func acmeTiny(t *testing.T, s *server, _ *nameServer) {
	need(t, "acme-tiny")
	webroot := s.serveWebroot(t)
	mustRun(t, s.dir, nil, "openssl", "genrsa", "-out", "account.key", "2048")
	mustRun(t, s.dir, nil, "openssl", "req", "-new", "-newkey", "rsa:2048", "-nodes", "-keyout",
		"tiny.key", "-subj", "/CN=tiny.test", "-addext", "subjectAltName=DNS:tiny.test", "-out", "tiny.csr")
	obtain := func() *x509.Certificate {
		text := mustRun(t, s.dir, []string{"SSL_CERT_FILE=" + s.roots}, "acme-tiny", "--quiet",
			"--account-key", "account.key", "--csr", "tiny.csr", "--acme-dir", webroot,
			"--directory-url", s.directory(), "--disable-check")
		file := filepath.Join(s.dir, "tiny.pem")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		return s.verify(t, file, "tiny.test")
	}
	first := obtain()
	second := obtain()
	differ(t, first, second)
	s.revoke(t, second)
}

// autocertTLS lets a real TLS server get its certificate in the middle of a handshake.
func autocertTLS(t *testing.T, s *server, _ *nameServer) {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	client := &acme.Client{Key: key, DirectoryURL: s.directory(), HTTPClient: s.client}
	// A manager with an empty cache obtains anew, which is what renewal does too.
	obtain := func() *x509.Certificate {
		m := &autocert.Manager{
			Prompt: autocert.AcceptTOS, Client: client,
			HostPolicy: autocert.HostWhitelist("auto.test"),
		}
		l, err := tls.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.tlsPort), m.TLSConfig())
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		go http.Serve(l, http.NotFoundHandler())
		dialer := tls.Dialer{Config: &tls.Config{ServerName: "auto.test", RootCAs: s.pool(t)}}
		conn, err := dialer.DialContext(t.Context(), "tcp", l.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		file := filepath.Join(s.dir, "auto.pem")
		var chain bytes.Buffer
		for _, cert := range conn.(*tls.Conn).ConnectionState().PeerCertificates {
			pem.Encode(&chain, &pem.Block{Type: "CERTIFICATE", Bytes: cert.Raw})
		}
		if err := os.WriteFile(file, chain.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
		return s.verify(t, file, "auto.test")
	}
	first := obtain()
	second := obtain()
	differ(t, first, second)
	if err := client.RevokeCert(t.Context(), nil, second.Raw, acme.CRLReasonCessationOfOperation); err != nil {
		t.Fatal(err)
	}
	s.verifyRevoked(t, second)
}

// dnsHooks writes a script "present|cleanup NAME VALUE" that sets TXT records in the test's DNS
// server. It is how certbot's hooks and lego's exec provider both can call it.
func dnsHooks(t *testing.T, dir string, dns *nameServer) string {
	t.Helper()
	need(t, "curl")
	srv := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.FormValue("action") {
		case "present":
			dns.setTXT(r.FormValue("name"), r.FormValue("value"))
		case "cleanup":
			dns.clearTXT(r.FormValue("name"))
		default:
			http.Error(w, "present or cleanup", http.StatusBadRequest)
		}
	}))
	t.Cleanup(srv.Close)
	script := fmt.Sprintf("#!/bin/sh\nexec curl -fsS -d action=\"$1\" -d name=\"$2\" "+
		"--data-urlencode value=\"$3\" %s\n", srv.URL)
	file := filepath.Join(dir, "dns-hook")
	if err := os.WriteFile(file, []byte(script), 0o755); err != nil {
		t.Fatal(err)
	}
	return file
}

// serveWebroot answers http-01 from the files of a directory, which it gives.
func (s *server) serveWebroot(t *testing.T) string {
	t.Helper()
	webroot := filepath.Join(s.dir, "webroot")
	if err := os.Mkdir(webroot, 0o755); err != nil {
		t.Fatal(err)
	}
	files := http.StripPrefix("/.well-known/acme-challenge/", http.FileServer(http.Dir(webroot)))
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.http01Port))
	if err != nil {
		t.Fatal(err)
	}
	go http.Serve(l, files)
	t.Cleanup(func() { l.Close() })
	return webroot
}

// revoke does by the REST API what the client cannot.
func (s *server) revoke(t *testing.T, leaf *x509.Certificate) {
	t.Helper()
	path := "/api/v1/certificates/" + serialOf(leaf) + "/revoke"
	if err := s.rest(t.Context(), s.client, s.token(t), "POST", path,
		map[string]string{"reason": "keyCompromise"}, &bytes.Buffer{}); err != nil {
		t.Fatal(err)
	}
	s.verifyRevoked(t, leaf)
}

// verify reads leaf and chain from a PEM file and has openssl check them against the root and the
// CRL that the leaf names; the record must have it too.
func (s *server) verify(t *testing.T, file string, names ...string) *x509.Certificate {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	chain, err := parseChain(text)
	if err != nil {
		t.Fatal(err)
	}
	leaf, err := x509.ParseCertificate(chain[0])
	if err != nil {
		t.Fatal(err)
	}
	if got, want := slices.Sorted(slices.Values(leaf.DNSNames)), slices.Sorted(slices.Values(names)); !slices.Equal(got, want) {
		t.Errorf("names %q, want %q", got, want)
	}
	if life := leaf.NotAfter.Sub(leaf.NotBefore).Hours(); life > 24 || life < 23.9 {
		t.Errorf("the lifetime is %v h, want 24 h", life)
	}
	writePEM(t, filepath.Join(s.dir, "leaf.pem"), "CERTIFICATE", chain[0])
	writePEM(t, filepath.Join(s.dir, "chain.pem"), "CERTIFICATE", chain[1:]...)
	mustRun(t, s.dir, nil, "openssl", "verify", "-x509_strict", "-CAfile", s.roots, "-untrusted",
		"chain.pem", "leaf.pem")
	if out, err := s.crlCheck(t, leaf); err != nil {
		t.Fatalf("openssl refuses %s by its CRL: %v\n%s", serialOf(leaf), err, out)
	}
	if got := s.recorded(t, leaf); got.Status != "valid" {
		t.Errorf("the record says %q, want valid", got.Status)
	}
	return leaf
}

// verifyRevoked waits until openssl refuses the leaf because of the published CRL.
func (s *server) verifyRevoked(t *testing.T, leaf *x509.Certificate) {
	t.Helper()
	s.eventually(t, "the CRL lists "+serialOf(leaf), func() error {
		out, err := s.crlCheck(t, leaf)
		if err == nil {
			return fmt.Errorf("openssl accepts it")
		}
		if !strings.Contains(out, "certificate revoked") {
			t.Fatalf("openssl says %s", out)
		}
		return nil
	})
	if got := s.recorded(t, leaf); got.Status != "revoked" {
		t.Errorf("the record says %q, want revoked", got.Status)
	}
}

// crlCheck works on leaf.pem and chain.pem as verify left them.
func (s *server) crlCheck(t *testing.T, leaf *x509.Certificate) (string, error) {
	t.Helper()
	if len(leaf.CRLDistributionPoints) != 1 {
		t.Fatalf("CRL distribution points %q, want one", leaf.CRLDistributionPoints)
	}
	der, err := get(http.DefaultClient, leaf.CRLDistributionPoints[0])
	if err != nil {
		t.Fatal(err)
	}
	writePEM(t, filepath.Join(s.dir, "crl.pem"), "X509 CRL", der)
	return command(t, s.dir, nil, "openssl", "verify", "-crl_check", "-CRLfile", "crl.pem",
		"-CAfile", s.roots, "-untrusted", "chain.pem", "leaf.pem")
}

// recorded finds the certificate in the list by its name, and by its serial.
func (s *server) recorded(t *testing.T, leaf *x509.Certificate) restCertificate {
	t.Helper()
	serial, token := serialOf(leaf), s.token(t)
	var list bytes.Buffer
	query := "/api/v1/certificates?name=" + url.QueryEscape(leaf.DNSNames[0])
	if err := s.rest(t.Context(), s.client, token, "GET", query, nil, &list); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(list.String(), serial) {
		t.Errorf("%s lacks %s:\n%s", query, serial, list.String())
	}
	var got restCertificate
	if err := s.rest(t.Context(), s.client, token, "GET", "/api/v1/certificates/"+serial, nil, &got); err != nil {
		t.Fatal(err)
	}
	if chain, err := parseChain([]byte(got.Certificate)); err != nil || !bytes.Equal(chain[0], leaf.Raw) {
		t.Errorf("the record of %s has another certificate (%v)", serial, err)
	}
	return got
}

func serialOf(c *x509.Certificate) string { return fmt.Sprintf("%032x", c.SerialNumber) }

func differ(t *testing.T, a, b *x509.Certificate) {
	t.Helper()
	if a.SerialNumber.Cmp(b.SerialNumber) == 0 {
		t.Errorf("renewal gave the same certificate %s again", serialOf(a))
	}
}

func writePEM(t *testing.T, file, kind string, ders ...[]byte) {
	t.Helper()
	var text bytes.Buffer
	for _, der := range ders {
		pem.Encode(&text, &pem.Block{Type: kind, Bytes: der})
	}
	if err := os.WriteFile(file, text.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// engines give a fresh database each time they are called: its URL, empty for SQLite.
var engines = map[string]func(testing.TB) string{
	"sqlite":   func(testing.TB) string { return "" },
	"postgres": storetest.PostgresURL,
}
