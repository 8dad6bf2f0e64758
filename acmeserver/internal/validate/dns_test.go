package validate_test

import (
	"crypto/sha256"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

func keyDigest() string {
	digest := sha256.Sum256([]byte(keyAuthorization))
	return base64.RawURLEncoding.EncodeToString(digest[:])
}

func askZone(t *testing.T, records ...string) (validate.Result, *dnsServer) {
	t.Helper()
	server := startDNS(t, zone(t, records...))
	v := newValidator(t, validate.Config{Resolvers: []string{server.addr}})
	return check(t, v, challenge("dns-01", "www.test")), server
}

func TestDNS01(t *testing.T) {
	right := keyDigest()
	for name, records := range map[string][]string{
		"one":          {"_acme-challenge.www.test. TXT " + right},
		"several":      {"_acme-challenge.www.test. TXT wrong", "_acme-challenge.www.test. TXT " + right},
		"in pieces":    {fmt.Sprintf("_acme-challenge.www.test. TXT %q %q", right[:10], right[10:])},
		"case of name": {"_ACME-Challenge.WWW.test. TXT " + right},
		"alias": { // the server doesn't chase it
			"_acme-challenge.www.test. CNAME a.acme.test.", "a.acme.test. CNAME b.acme.test.",
			"b.acme.test. TXT " + right,
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, server := askZone(t, records...)
			wantOK(t, r)
			wantTrace(t, r, "resolved _acme-challenge.www.test (TXT, ", "via "+server.addr, right[10:])
		})
	}
}

func TestDNS01Problems(t *testing.T) {
	wrong := func(values ...string) (records []string) {
		for _, value := range values {
			records = append(records, "_acme-challenge.www.test. TXT "+value)
		}
		return records
	}
	for name, test := range map[string]struct {
		records []string
		kind    string
		parts   []string
	}{
		"no such name": {nil, "dns", []string{"_acme-challenge.www.test does not exist", "NXDOMAIN"}},
		"no such record": {
			[]string{"_acme-challenge.www.test. A 10.0.0.1"},
			"unauthorized",
			[]string{"no TXT record", keyDigest()},
		},
		"wrong": {
			wrong("one", "two", "three", `"four"`), "unauthorized",
			[]string{"none of the 4 TXT records", `"one", "two", "three"; if`, keyDigest()},
		},
		"hostile": {
			wrong(`"\027[31m\000\"` + strings.Repeat("x", 200) + `"`), "unauthorized",
			[]string{`xxx..."`},
		},
		"case":   {wrong(strings.ToLower(keyDigest())), "unauthorized", []string{"none of the 1"}},
		"padded": {wrong(keyDigest() + "="), "unauthorized", []string{"none of the 1"}},
		"alias to nothing": {
			[]string{"_acme-challenge.www.test. CNAME a.acme.test."},
			"dns",
			[]string{"a.acme.test does not exist"},
		},
		"alias in a circle": {
			[]string{
				"_acme-challenge.www.test. CNAME a.acme.test.",
				"a.acme.test. CNAME _acme-challenge.www.test.",
			}, "dns", []string{"more than 8 CNAME"},
		},
		"alias to itself": {
			[]string{"_acme-challenge.www.test. CNAME _acme-challenge.www.test."},
			"dns",
			[]string{"in a circle"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			r, server := askZone(t, test.records...)
			wantProblem(t, r, test.kind, test.parts...)
			server.mu.Lock()
			defer server.mu.Unlock()
			for query, n := range server.queries {
				if n > 8 { // never #6
					t.Errorf("%s was asked %d times", query, n)
				}
			}
		})
	}
}

// A resolver gives a chain of aliases in one answer, and perhaps what nobody asked for.
func TestChasedAlias(t *testing.T) {
	answer := zone(t, "_acme-challenge.www.test. CNAME a.acme.test.")
	for _, owner := range []string{"a.acme.test.", "evil.test."} {
		record, err := dns.NewRR(owner + " 0 IN TXT " + keyDigest())
		if err != nil {
			t.Fatal(err)
		}
		server := startDNS(t, func(question dns.Question, reply *dns.Msg, network string) {
			if answer(question, reply, network); len(reply.Answer) > 0 {
				reply.Answer = append([]dns.RR{record}, reply.Answer...)
			}
		})
		v := newValidator(t, validate.Config{Resolvers: []string{server.addr}})
		r := check(t, v, challenge("dns-01", "www.test"))
		if owner == "evil.test." {
			wantProblem(t, r, "dns", "a.acme.test does not exist")
			continue
		}
		wantOK(t, r)
		wantTrace(t, r, "alias of a.acme.test")
		if n := server.asked("TXT a.acme.test."); n != 0 {
			t.Errorf("asked %d times for what had been answered", n)
		}
	}
}

func TestTruncatedAnswer(t *testing.T) {
	var records []string
	for i := range 40 {
		records = append(records, fmt.Sprintf("_acme-challenge.www.test. TXT %d%s", i, strings.Repeat("x", 80)))
	}
	r, server := askZone(t, append(records, "_acme-challenge.www.test. TXT "+keyDigest())...)
	wantOK(t, r)
	if n := server.asked("TXT _acme-challenge.www.test."); n != 2 {
		t.Errorf("asked %d times, want once over UDP and once over TCP", n)
	}
}

func TestNextServer(t *testing.T) {
	dead, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	deadAddr := dead.LocalAddr().String()
	_ = dead.Close()
	failing := startDNS(t, func(_ dns.Question, reply *dns.Msg, _ string) {
		reply.Rcode = dns.RcodeServerFailure
	})
	lying := startDNS(t, func(_ dns.Question, reply *dns.Msg, _ string) {
		reply.Question[0].Name = "evil.test."
		reply.Answer = []dns.RR{&dns.TXT{
			Hdr: dns.RR_Header{Name: "evil.test.", Rrtype: dns.TypeTXT, Class: dns.ClassINET},
			Txt: []string{keyDigest()},
		}}
	})
	echoing := startDNS(t, func(_ dns.Question, reply *dns.Msg, _ string) { reply.Response = false })
	good := startDNS(t, zone(t, "_acme-challenge.www.test. TXT "+keyDigest()))

	bad := []string{deadAddr, failing.addr, lying.addr, echoing.addr}
	v := newValidator(t, validate.Config{Resolvers: append(bad, good.addr)})
	r := check(t, v, challenge("dns-01", "www.test"))
	wantOK(t, r)
	wantTrace(t, r, deadAddr+": connection refused", failing.addr+": SERVFAIL",
		lying.addr+": answered another question",
		echoing.addr+": answered another question", "via "+good.addr)

	v = newValidator(t, validate.Config{Resolvers: bad[:2]})
	wantProblem(t, check(t, v, challenge("dns-01", "www.test")), "dns", failing.addr+": SERVFAIL")
	wantProblem(t, check(t, v, challenge("http-01", "www.test")), "dns", failing.addr+": SERVFAIL")
	if n := failing.asked("A www.test."); n != 2 {
		t.Errorf("a failing server was asked %d times", n)
	}
}

func TestAddressLookup(t *testing.T) {
	port := serveHTTP(t, "127.0.0.1:0", serveKey)
	answers := zone(t, "www.test. A 127.0.0.1", "alias.test. CNAME www.test.")
	server := startDNS(t, func(question dns.Question, reply *dns.Msg, network string) {
		if answers(question, reply, network); question.Qtype == dns.TypeAAAA {
			reply.Rcode = dns.RcodeServerFailure // half a failure must not stop the other half
		}
	})
	v := newValidator(t, validate.Config{
		Resolvers: []string{server.addr}, HTTP01Port: port, AllowLoopback: true,
	})
	r := check(t, v, challenge("http-01", "www.test"))
	wantOK(t, r)
	wantTrace(t, r, "resolved www.test (A, via "+server.addr+"): 127.0.0.1", "SERVFAIL")
	r = check(t, v, challenge("http-01", "alias.test"))
	wantOK(t, r)
	wantTrace(t, r, "resolved alias.test (A, alias of www.test, via "+server.addr+"): 127.0.0.1")
	wantProblem(t, check(t, v, challenge("tls-alpn-01", "none.test")), "dns", "none.test does not exist",
		"NXDOMAIN", "A or AAAA")

	server = startDNS(t, zone(t, "mail.test. TXT hello"))
	v = newValidator(t, validate.Config{Resolvers: []string{server.addr}})
	wantProblem(t, check(t, v, challenge("http-01", "mail.test")), "dns",
		"mail.test has neither an A nor an AAAA record")
}

func TestSystemResolver(t *testing.T) {
	name, err := os.Hostname()
	if err != nil {
		t.Fatal(err)
	}
	name = strings.ToLower(name)
	addrs, err := net.DefaultResolver.LookupHost(t.Context(), name)
	if err != nil {
		t.Skipf("this host does not know its own name: %v", err)
	}
	port := serveHTTP(t, net.JoinHostPort(addrs[0], "0"), serveKey)
	v := newValidator(t, validate.Config{HTTP01Port: port, AllowLoopback: true})
	r := check(t, v, challenge("http-01", name))
	wantOK(t, r)
	wantTrace(t, r, "resolved "+name+": ", addrs[0], "via the system's resolver")
}
