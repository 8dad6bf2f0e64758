package validate_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
	"go.uber.org/goleak"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/identity"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	token            = "evaGxfADs6pSRb2LAv9IZf17Dt3juxGJ-PCt92wr-oA"
	keyAuthorization = token + ".9jg46WB3rR_AHD-EBXdN7cBkH1WOu0tA3M9fm21mqTI"
	challengePath    = "/.well-known/acme-challenge/" + token
)

func challenge(kind, name string) validate.Challenge {
	t := identity.DNS
	if _, err := netip.ParseAddr(name); err == nil {
		t = identity.IP
	}
	return validate.Challenge{
		Type: kind, Name: identity.Name{Type: t, Value: name},
		Token: token, KeyAuthorization: keyAuthorization,
	}
}

func newValidator(t testing.TB, c validate.Config) *validate.Validator {
	t.Helper()
	v, err := validate.New(c)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// check runs one validation and holds its result to what is always promised.
func check(t testing.TB, v *validate.Validator, c validate.Challenge) validate.Result {
	t.Helper()
	r := v.Check(context.Background(), c)
	if r.OK != (r.ProblemType == "") || r.OK != (r.Detail == "") {
		t.Errorf("OK is %t but the problem is %q: %q", r.OK, r.ProblemType, r.Detail)
	}
	if len(r.Trace) > validate.MaxLines || len(r.Detail) > validate.MaxDetail {
		t.Errorf("%d lines of trace, %d bytes of detail", len(r.Trace), len(r.Detail))
	}
	for _, line := range append([]string{r.Detail}, r.Trace...) {
		if strings.ContainsFunc(line, func(r rune) bool { return r < ' ' || r > '~' }) {
			t.Errorf("unprintable: %q", line)
		}
		if line != r.Detail && len(line) > validate.MaxLine {
			t.Errorf("%d bytes in one line of the trace", len(line))
		}
	}
	return r
}

func wantOK(t testing.TB, r validate.Result) {
	t.Helper()
	if !r.OK {
		t.Fatalf("failed: %s: %s\n%s", r.ProblemType, r.Detail, strings.Join(r.Trace, "\n"))
	}
}

func wantProblem(t testing.TB, r validate.Result, kind string, parts ...string) {
	t.Helper()
	if r.OK || r.ProblemType != kind {
		t.Fatalf("got OK %t, problem %q (%s), want %q\n%s", r.OK, r.ProblemType, r.Detail, kind,
			strings.Join(r.Trace, "\n"))
	}
	for _, part := range parts {
		if !strings.Contains(r.Detail, part) {
			t.Errorf("the detail does not say %q: %s", part, r.Detail)
		}
	}
}

func wantTrace(t testing.TB, r validate.Result, parts ...string) {
	t.Helper()
	trace := strings.Join(r.Trace, "\n")
	for _, part := range parts {
		if !strings.Contains(trace, part) {
			t.Errorf("the trace does not say %q:\n%s", part, trace)
		}
	}
}

// dnsServer answers on UDP and TCP at one port of 127.0.0.1.
type dnsServer struct {
	addr   string
	answer func(question dns.Question, reply *dns.Msg, network string)

	mu      sync.Mutex     // also serialises answer
	queries map[string]int // "A www.test."
}

func startDNS(
	t testing.TB, answer func(question dns.Question, reply *dns.Msg, network string),
) *dnsServer {
	t.Helper()
	s := &dnsServer{answer: answer, queries: map[string]int{}}
	packets, stream := listenDNS(t)
	s.addr = stream.Addr().String()
	for _, server := range []*dns.Server{{PacketConn: packets}, {Listener: stream}} {
		network := "udp"
		if server.Listener != nil {
			network = "tcp"
		}
		ready := make(chan struct{})
		server.NotifyStartedFunc = func() { close(ready) }
		server.Handler = dns.HandlerFunc(func(w dns.ResponseWriter, query *dns.Msg) {
			s.serve(w, query, network)
		})
		done := make(chan struct{})
		go func() {
			defer close(done)
			_ = server.ActivateAndServe()
		}()
		<-ready
		t.Cleanup(func() {
			_ = server.Shutdown()
			<-done
		})
	}
	return s
}

// listenDNS finds a port that is free for both protocols.
func listenDNS(t testing.TB) (net.PacketConn, net.Listener) {
	t.Helper()
	for range 100 {
		stream, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		packets, err := net.ListenPacket("udp", stream.Addr().String())
		if err == nil {
			return packets, stream
		}
		_ = stream.Close()
	}
	t.Fatal("no port is free for both UDP and TCP")
	return nil, nil
}

func (s *dnsServer) serve(w dns.ResponseWriter, query *dns.Msg, network string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	question := query.Question[0]
	s.queries[dns.TypeToString[question.Qtype]+" "+question.Name]++
	reply := new(dns.Msg).SetReply(query)
	s.answer(question, reply, network)
	if network == "udp" {
		reply.Truncate(dns.MinMsgSize)
	}
	_ = w.WriteMsg(reply)
}

func (s *dnsServer) asked(query string) int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.queries[query]
}

// total counts all that was asked.
func (s *dnsServer) total() (n int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	for _, times := range s.queries {
		n += times
	}
	return n
}

// zone answers from records like "www.test. A 127.0.0.1", without chasing aliases.
func zone(t testing.TB, records ...string) func(dns.Question, *dns.Msg, string) {
	t.Helper()
	var all []dns.RR
	for _, record := range records {
		owner, rest, _ := strings.Cut(record, " ")
		rr, err := dns.NewRR(owner + " 0 IN " + rest)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, rr)
	}
	return func(question dns.Question, reply *dns.Msg, _ string) {
		reply.Rcode = dns.RcodeNameError
		for _, rr := range all {
			h := rr.Header()
			if !strings.EqualFold(h.Name, question.Name) {
				continue
			}
			reply.Rcode = dns.RcodeSuccess
			if h.Rrtype == question.Qtype || h.Rrtype == dns.TypeCNAME {
				reply.Answer = append(reply.Answer, rr)
			}
		}
	}
}

// listen opens a TCP listener; addr may leave the port open.
func listen(t testing.TB, addr string) (net.Listener, int) {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l, l.Addr().(*net.TCPAddr).Port
}

// serveHTTP serves on addr and gives the port.
func serveHTTP(t testing.TB, addr string, handler http.HandlerFunc) int {
	t.Helper()
	l, port := listen(t, addr)
	server := &http.Server{Handler: handler}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = server.Serve(l)
	}()
	t.Cleanup(func() {
		_ = server.Close()
		<-done
	})
	return port
}

// serveRaw reads a request's header on every connection, then lets answer write what it likes.
func serveRaw(t testing.TB, addr string, answer func(conn net.Conn)) int {
	t.Helper()
	l, port := listen(t, addr)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				reader := bufio.NewReader(conn)
				for {
					line, err := reader.ReadString('\n')
					if err != nil {
						return
					}
					if line == "\r\n" {
						break
					}
				}
				answer(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return port
}

// serveKey is the handler of a healthy http-01 responder.
func serveKey(w http.ResponseWriter, r *http.Request) {
	if r.URL.Path != challengePath {
		http.NotFound(w, r)
		return
	}
	fmt.Fprint(w, keyAuthorization)
}

// mustNotAccept listens where nobody may come.
func mustNotAccept(t testing.TB, addr string) {
	t.Helper()
	l, _ := listen(t, addr)
	done := make(chan struct{})
	go func() {
		defer close(done)
		conn, err := l.Accept()
		if err == nil {
			t.Errorf("%s was dialled", addr)
			_ = conn.Close()
		}
	}()
	t.Cleanup(func() {
		_ = l.Close()
		<-done
	})
}
