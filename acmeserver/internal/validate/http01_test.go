package validate_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
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
	if n := v.Busy(); n != 0 {
		t.Errorf("%d targets are remembered", n)
	}
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
