package validate_test

import (
	"crypto/tls"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

// redirecting serves the key authorization at /key and elsewhere sends to location; "%d" in it is
// the port.
func redirecting(t *testing.T, location string) validate.Result {
	t.Helper()
	var port int
	port = serveHTTP(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/key" {
			fmt.Fprint(w, keyAuthorization)
			return
		}
		w.Header().Set("Location", strings.ReplaceAll(location, "%d", fmt.Sprint(port)))
		w.WriteHeader(http.StatusTemporaryRedirect)
	})
	server := startDNS(t, zone(t, "www.test. A 127.0.0.1", "other.test. A 127.0.0.1",
		"meta.test. A 169.254.169.254", "meta.test. AAAA fd00:ec2::254",
		"mapped.test. AAAA ::ffff:169.254.169.254", "zero.test. A 0.0.0.0"))
	v := newValidator(t, validate.Config{
		Resolvers: []string{server.addr}, HTTP01Port: port, AllowLoopback: true,
	})
	return check(t, v, challenge("http-01", "www.test"))
}

func TestHTTP01Redirects(t *testing.T) {
	for _, location := range []string{
		"/key", "../../key", "http://www.test:%d/key", "//OTHER.test.:%d/key#there",
		"http://127.0.0.1:%d/key", "http://user:secret@other.test:%d/key?a b",
	} {
		r := redirecting(t, location)
		wantOK(t, r)
		wantTrace(t, r, "307 Temporary Redirect", "redirected to ", "200 OK")
	}
}

// never #6: ten redirects are followed and no more.
func TestHTTP01ManyRedirects(t *testing.T) {
	for most, want := range map[int]bool{10: true, 11: false} {
		requests := 0
		port := serveHTTP(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
			if requests++; requests > most {
				fmt.Fprint(w, keyAuthorization)
				return
			}
			http.Redirect(w, r, "/again", http.StatusSeeOther)
		})
		v := newValidator(t, validate.Config{HTTP01Port: port, AllowLoopback: true})
		r := check(t, v, challenge("http-01", "127.0.0.1"))
		if r.OK != want || requests != 11 {
			t.Errorf("%d redirects: OK is %t after %d requests: %s", most, r.OK, requests, r.Detail)
		}
		if !want {
			wantProblem(t, r, "connection", "more than 10 times")
		}
	}
}

// never #5: where a redirect may not lead.
func TestHTTP01BadRedirects(t *testing.T) {
	for _, test := range []struct{ location, part string }{
		{"http://169.254.169.254/latest/meta-data/", "169.254.169.254: link-local"},
		{"http://[::ffff:169.254.169.254]/", "IPv4 address written as IPv6"},
		{"http://[::ffff:a9fe:a9fe]:443/", "IPv4 address written as IPv6"},
		{"http://[fe80::1%25lo]/", "zone"},
		{"http://[fd00:ec2::254]/", "fd00:ec2::254: cloud metadata"},
		{"http://[64:ff9b::a9fe:a9fe]/", "leads to 169.254.169.254: link-local"},
		{"http://meta.test/", "169.254.169.254: link-local"},
		{"http://mapped.test/", "169.254.169.254: link-local"},
		{"http://zero.test/", "0.0.0.0: unspecified"},
		{"http://0.0.0.0:%d/key", "0.0.0.0: unspecified"},
		{"http://2852039166/", "digits only"},                         // decimal
		{"http://0251.0376.0251.0376/", "digits only"},                // octal
		{"http://127.1:%d/key", "digits only"},                        // short
		{"http://0xa9.0xfe.0xa9.0xfe/", "NXDOMAIN"},                   // hexadecimal: an odd name, no address
		{"http://0xa9fea9fe/", "NXDOMAIN"},                            // the same as one number
		{"http://169.254.169.254./", "link-local"},                    // absolute
		{"http://①⑥⑨.254.169.254/", "not follow"},                     // other digits
		{"http://www.test%2f@127.0.0.1:22/", "port 22 is neither 80"}, // confusing
		{"http://www.test:22/", "port 22 is neither 80"},
		{"http://www.test:65536/", "no port"},
		{"http://127.0.0.1:0/", "port 0 is neither 80"},
		{"http://*.test:%d/", "wildcard"},
		{"http:///key", "empty"},
		{"http:key", "empty"},
		{"ftp://www.test/key", "only http and https"},
		{"file:///etc/passwd", "only http and https"},
		{"gopher://www.test:80/", "only http and https"},
	} {
		r := redirecting(t, test.location)
		kind := "connection"
		if test.part == "NXDOMAIN" {
			kind = "dns"
		}
		wantProblem(t, r, kind, test.part)
		if n := strings.Count(strings.Join(r.Trace, "\n"), "connected to"); n != 1 {
			t.Errorf("%s: connected %d times\n%s", test.location, n, strings.Join(r.Trace, "\n"))
		}
	}
}

func TestHTTP01RedirectToHTTPS(t *testing.T) {
	var port int
	secure := httptest.NewUnstartedServer(http.HandlerFunc(serveKey))
	defer secure.Close()
	port = serveHTTP(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, fmt.Sprintf("https://secure.test:%d%s", port, r.URL.Path), http.StatusMovedPermanently)
	})
	l, _ := listen(t, fmt.Sprintf("127.0.0.2:%d", port))
	_ = secure.Listener.Close()
	secure.Listener = l
	var asked string
	secure.TLS = &tls.Config{GetConfigForClient: func(hello *tls.ClientHelloInfo) (*tls.Config, error) {
		asked = hello.ServerName
		return nil, nil
	}}
	secure.StartTLS() // with a certificate for another name, and from nobody we trust
	server := startDNS(t, zone(t, "www.test. A 127.0.0.1", "secure.test. A 127.0.0.2"))
	v := newValidator(t, validate.Config{
		Resolvers: []string{server.addr}, HTTP01Port: port, AllowLoopback: true,
	})
	r := check(t, v, challenge("http-01", "www.test"))
	wantOK(t, r)
	wantTrace(t, r, "TLS 1.3 with 127.0.0.2", "200 OK")
	if asked != "secure.test" {
		t.Errorf("asked for server name %q", asked)
	}
	// Plain HTTP where TLS is expected.
	r = redirecting(t, "https://127.0.0.1:%d/key")
	wantProblem(t, r, "tls", "handshake", "127.0.0.1:")
}

// The trace stays within its bounds however long the way is.
func TestTraceIsBounded(t *testing.T) {
	path := "/" + strings.Repeat("long/", 100)
	r := redirecting(t, path)
	wantProblem(t, r, "connection", "more than 10 times")
	if last := r.Trace[len(r.Trace)-1]; len(r.Trace) != validate.MaxLines || !strings.Contains(last, "more") {
		t.Errorf("%d lines, the last is %q", len(r.Trace), last)
	}
}
