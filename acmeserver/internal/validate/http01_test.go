package validate_test

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

func TestHTTP01Request(t *testing.T) {
	for _, test := range []struct{ listen, name, host string }{
		{"127.0.0.1:0", "App.localhost", "App.localhost:%d"},
		{"127.0.0.1:0", "127.0.0.1", "127.0.0.1:%d"},
		{"[::1]:0", "::1", "[::1]:%d"}, // RFC 8738 section 5
	} {
		var got *http.Request
		port := serveHTTP(t, test.listen, func(w http.ResponseWriter, r *http.Request) {
			got = r
			serveKey(w, r)
		})
		v := newValidator(t, validate.Config{HTTP01Port: port, AllowLoopback: true})
		wantOK(t, check(t, v, challenge("http-01", strings.ToLower(test.name))))
		want := strings.ToLower(fmt.Sprintf(test.host, port))
		if got.Host != want || got.Method != http.MethodGet || got.RequestURI != challengePath {
			t.Errorf("got %s %s for host %s, want host %s", got.Method, got.RequestURI, got.Host, want)
		}
		if agent := got.Header.Get("User-Agent"); !strings.HasPrefix(agent, "Mayfly") || !got.Close ||
			got.Header.Get("Accept-Encoding") != "" || got.Header.Get("Cookie") != "" {
			t.Errorf("header %v, close %t", got.Header, got.Close)
		}
	}
}

func TestAuthority(t *testing.T) {
	for _, test := range []struct {
		host     string
		port     uint16
		standard uint16
		want     string
	}{
		{"www.test", 80, 80, "www.test"},
		{"www.test", 443, 443, "www.test"},
		{"www.test", 443, 80, "www.test:443"},
		{"10.0.0.7", 80, 80, "10.0.0.7"},
		{"fd00::7", 80, 80, "[fd00::7]"},
		{"fd00::7", 5002, 80, "[fd00::7]:5002"},
	} {
		if got := validate.Authority(test.host, test.port, test.standard); got != test.want {
			t.Errorf("got %q, want %q", got, test.want)
		}
	}
}

func TestHTTP01Bodies(t *testing.T) {
	type response struct {
		status int
		body   string
	}
	otherKey := token + ".0000000000000000000000000000000000000000000"
	for name, test := range map[string]struct {
		response
		parts []string // of the detail; none means OK
	}{
		"exact":              {response{200, keyAuthorization}, nil},
		"trailing space":     {response{200, keyAuthorization + " \t\r\n\n"}, nil},
		"not found":          {response{404, keyAuthorization}, []string{"404 Not Found", challengePath}},
		"created":            {response{201, keyAuthorization}, []string{"201 Created"}},
		"not modified":       {response{304, ""}, []string{"304 Not Modified"}},
		"unauthorized":       {response{401, "no"}, []string{"401 Unauthorized"}},
		"server error":       {response{500, "oops"}, []string{"500 Internal Server Error"}},
		"empty":              {response{200, ""}, []string{"empty body"}},
		"white space":        {response{200, " \n"}, []string{"empty body"}},
		"leading space":      {response{200, " " + keyAuthorization}, []string{`" eva`}},
		"other account":      {response{200, otherKey}, []string{"another account", token}},
		"prefix":             {response{200, keyAuthorization[:len(keyAuthorization)-1]}, []string{token}},
		"more behind":        {response{200, keyAuthorization + "x"}, []string{token}},
		"case":               {response{200, strings.ToUpper(keyAuthorization)}, []string{"EVAGX"}},
		"page":               {response{200, "<html>\x1b[31m\u202e" + strings.Repeat("a", 90)}, []string{`"<html>\x1b[31m\xe2\x80\xaeaaa`, "aaa..."}},
		"too much space":     {response{200, keyAuthorization + strings.Repeat("\n", 129)}, []string{token}},
		"key, then a page":   {response{200, keyAuthorization + "\n" + strings.Repeat("a", 1<<20)}, []string{token}},
		"most space allowed": {response{200, keyAuthorization + strings.Repeat("\n", 128)}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			port := serveHTTP(t, "127.0.0.1:0", func(w http.ResponseWriter, _ *http.Request) {
				w.WriteHeader(test.status)
				_, _ = io.WriteString(w, test.body)
			})
			v := newValidator(t, validate.Config{HTTP01Port: port, AllowLoopback: true})
			r := check(t, v, challenge("http-01", "127.0.0.1"))
			if test.parts == nil {
				wantOK(t, r)
				return
			}
			wantProblem(t, r, "incorrectResponse", append(test.parts, fmt.Sprintf("127.0.0.1:%d", port))...)
			wantTrace(t, r, "connected to 127.0.0.1:", fmt.Sprintf("%d %s", test.status, http.StatusText(test.status)))
		})
	}
}

// never #6: whatever a stranger sends, it is little that we take, and nothing breaks.
func TestHTTP01Strangers(t *testing.T) {
	endless := func(conn net.Conn, piece string) {
		for {
			if _, err := io.WriteString(conn, piece); err != nil {
				return
			}
		}
	}
	for name, test := range map[string]struct {
		answer func(conn net.Conn)
		kind   string // "" means OK
		part   string
	}{
		"old protocol": {func(conn net.Conn) {
			fmt.Fprintf(conn, "HTTP/1.0 200 OK\r\n\r\n%s\n", keyAuthorization)
		}, "", ""},
		"bare newlines": {func(conn net.Conn) {
			fmt.Fprintf(conn, "HTTP/1.1 200\n\n%s\n", keyAuthorization)
		}, "", ""},
		"chunked": {func(conn net.Conn) {
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n%x\r\n%s\r\n0\r\n\r\n",
				len(keyAuthorization), keyAuthorization)
		}, "", ""},
		"interim": {func(conn net.Conn) {
			fmt.Fprintf(conn, "HTTP/1.1 103 Early Hints\r\nLink: </>\r\n\r\nHTTP/1.1 200 OK\r\n\r\n%s",
				keyAuthorization)
		}, "", ""},
		"endless interim": {func(conn net.Conn) {
			endless(conn, "HTTP/1.1 100 Continue\r\n\r\n")
		}, "connection", "longer than 16384 bytes"},
		"endless header": {func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n")
			endless(conn, "X-Y: "+strings.Repeat("z", 1000)+"\r\n")
		}, "connection", "longer than 16384 bytes"},
		"endless line": {func(conn net.Conn) { endless(conn, "HTTP/1.1") }, "connection", "16384"},
		"endless body": {func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\n")
			endless(conn, strings.Repeat("a", 4096))
		}, "incorrectResponse", "aaa"},
		"endless chunks": {func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n")
			endless(conn, "1\r\na\r\n")
		}, "incorrectResponse", "aaa"},
		"compressed": {func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\n\r\n\x1f\x8b\x08")
		}, "incorrectResponse", `\x1f\x8b\x08`},
		"cut off body": {func(conn net.Conn) {
			fmt.Fprintf(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n%s", keyAuthorization)
		}, "connection", "closed too early"},
		"nothing":     {func(net.Conn) {}, "connection", "closed too early"},
		"not HTTP":    {func(conn net.Conn) { io.WriteString(conn, "SSH-2.0-OpenSSH\x00\x1b[0m\r\n") }, "connection", "malformed HTTP"},
		"switch":      {func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 101 Switching\r\n\r\n") }, "incorrectResponse", "101 Switching"},
		"no location": {func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 302 Found\r\n\r\n") }, "connection", "Location"},
		"huge location": {func(conn net.Conn) {
			fmt.Fprintf(conn, "HTTP/1.1 302 Found\r\nLocation: /%s\r\n\r\n", strings.Repeat("a", 2048))
		}, "connection", "Location"},
		"broken location": {func(conn net.Conn) { io.WriteString(conn, "HTTP/1.1 302 Found\r\nLocation: http://%zz/\r\n\r\n") }, "connection", "does not follow"},
		"two lengths": {func(conn net.Conn) {
			io.WriteString(conn, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab")
		}, "connection", "Content-Length"},
	} {
		t.Run(name, func(t *testing.T) {
			port := serveRaw(t, "127.0.0.1:0", test.answer)
			v := newValidator(t, validate.Config{HTTP01Port: port, AllowLoopback: true})
			r := check(t, v, challenge("http-01", "127.0.0.1"))
			if test.kind == "" {
				wantOK(t, r)
				return
			}
			wantProblem(t, r, test.kind, test.part, fmt.Sprintf("127.0.0.1:%d", port))
		})
	}
}

func TestHTTP01Refused(t *testing.T) {
	_, port := listen(t, "127.0.0.1:0") // taken, so that nobody listens at the other address
	v := newValidator(t, validate.Config{HTTP01Port: port, AllowLoopback: true})
	r := check(t, v, challenge("http-01", "127.0.0.7"))
	wantProblem(t, r, "connection", fmt.Sprintf("127.0.0.7:%d: connection refused", port),
		fmt.Sprintf("port %d", port))
}

// never #6: a responder that says nothing is given up when the context ends, at each stage.
func TestDeadline(t *testing.T) {
	silent := make(chan struct{})
	defer close(silent)
	quiet, _ := listen(t, "127.0.0.1:0") // accepts in the kernel, answers never
	silentDNS, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer silentDNS.Close()
	dribble := serveRaw(t, "127.0.0.1:0", func(conn net.Conn) {
		io.WriteString(conn, "HTTP/1.1 200 OK\r\n\r\nabc")
		<-silent
	})
	quietPort := quiet.Addr().(*net.TCPAddr).Port
	for name, test := range map[string]struct {
		config    validate.Config
		challenge validate.Challenge
		kind      string
	}{
		"header": {validate.Config{HTTP01Port: quietPort}, challenge("http-01", "127.0.0.1"), "connection"},
		"body":   {validate.Config{HTTP01Port: dribble}, challenge("http-01", "127.0.0.1"), "connection"},
		"tls":    {validate.Config{TLSALPN01Port: quietPort}, challenge("tls-alpn-01", "127.0.0.1"), "tls"},
		"dns-01": {validate.Config{Resolvers: []string{silentDNS.LocalAddr().String()}}, challenge("dns-01", "www.test"), "dns"},
		"lookup": {validate.Config{Resolvers: []string{silentDNS.LocalAddr().String()}}, challenge("http-01", "www.test"), "dns"},
	} {
		t.Run(name, func(t *testing.T) {
			test.config.AllowLoopback = true
			ctx, cancel := context.WithTimeout(t.Context(), 30*time.Millisecond)
			defer cancel()
			start := time.Now()
			r := newValidator(t, test.config).Check(ctx, test.challenge)
			wantProblem(t, r, test.kind, "timed out")
			if took := time.Since(start); took > time.Second {
				t.Errorf("took %s", took)
			}
		})
	}
}

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

// never #5: where a redirect may not lead, and never #6: nor how often.
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
		{"http://2852039166/", "digits only"},           // decimal
		{"http://0251.0376.0251.0376/", "digits only"},  // octal
		{"http://127.1:%d/key", "digits only"},          // short
		{"http://0xa9.0xfe.0xa9.0xfe/", "NXDOMAIN"},     // hexadecimal: an odd name, no address
		{"http://0xa9fea9fe/", "NXDOMAIN"},              // the same as one number
		{"http://169.254.169.254./", "link-local"},      // absolute
		{"http://①⑥⑨.254.169.254/", "not follow"},       // other digits
		{"http://www.test%2f@127.0.0.1:22/", "port 22"}, // confusing
		{"http://www.test:22/", "port 22"},
		{"http://www.test:65536/", "no port"},
		{"http://127.0.0.1:0/", "port 0"},
		{"http://*.test:%d/", "wildcard"},
		{"http:///key", "empty"},
		{"http:key", "empty"},
		{"ftp://www.test/key", "only http and https"},
		{"file:///etc/passwd", "only http and https"},
		{"gopher://www.test:80/", "only http and https"},
		{"/again", "more than 10 times"},
	} {
		r := redirecting(t, test.location)
		kind := "connection"
		if test.part == "NXDOMAIN" {
			kind = "dns"
		}
		wantProblem(t, r, kind, test.part)
		if n := strings.Count(strings.Join(r.Trace, "\n"), "connected to"); n != 1 &&
			test.location != "/again" || n > 11 {
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

// counting counts what is taken from source.
type counting struct {
	source io.Reader
	taken  int
}

func (c *counting) Read(p []byte) (int, error) {
	n, err := c.source.Read(p)
	c.taken += n
	return n, err
}

// never #6: what strangers send over HTTP.
func FuzzReadReply(f *testing.F) {
	for _, seed := range []string{
		"HTTP/1.1 200 OK\r\n\r\n" + keyAuthorization,
		"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc",
		"HTTP/1.1 302 Found\r\nLocation: /x\r\n\r\n",
		"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n",
		"HTTP/1.1 204 No Content\r\nContent-Length: -1\r\n\r\n",
		"HTTP/9.9 999 \r\n: \r\n\r\n", "", "\x16\x03\x01",
	} {
		f.Add([]byte(seed), false)
		f.Add([]byte(seed), true)
	}
	const limit = 200
	f.Fuzz(func(t *testing.T, sent []byte, repeat bool) {
		source := io.Reader(bytes.NewReader(sent))
		if repeat && len(sent) > 0 {
			source = io.MultiReader(source, &repeating{sent, 0})
		}
		c := &counting{source: source}
		body, location, err := validate.ReadReply(c, limit)
		if c.taken > 2*validate.MaxHeader+limit || len(body) > limit+1 || len(location) > 2048 {
			t.Errorf("took %d bytes, gave %d and %d", c.taken, len(body), len(location))
		}
		if err != nil && (body != nil || location != "") {
			t.Errorf("%v, and yet something", err)
		}
	})
}

// repeating gives its text for ever.
type repeating struct {
	text []byte
	at   int
}

func (r *repeating) Read(p []byte) (int, error) {
	n := copy(p, r.text[r.at:])
	r.at = (r.at + n) % len(r.text)
	return n, nil
}

// BenchmarkHTTP01 is one validation, with the responder's own work in the same process.
func BenchmarkHTTP01(b *testing.B) {
	response := fmt.Sprintf("HTTP/1.1 200 OK\r\nContent-Length: %d\r\nContent-Type: text/plain\r\n\r\n%s",
		len(keyAuthorization), keyAuthorization)
	l, port := listen(b, "127.0.0.1:0")
	go func() {
		buffer := make([]byte, 4096)
		for {
			conn, err := l.Accept()
			if errors.Is(err, net.ErrClosed) {
				return
			}
			_, _ = conn.Read(buffer)
			_, _ = io.WriteString(conn, response)
			_ = conn.Close()
		}
	}()
	v := newValidator(b, validate.Config{HTTP01Port: port, AllowLoopback: true})
	c := challenge("http-01", "127.0.0.1")
	b.ReportAllocs()
	for b.Loop() {
		if r := v.Check(b.Context(), c); !r.OK {
			b.Fatal(r.Detail)
		}
	}
}
