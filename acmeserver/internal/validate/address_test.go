package validate_test

import (
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
	"github.com/mayflyca/mayfly/identity"
)

func prefixes(texts ...string) (all []netip.Prefix) {
	for _, text := range texts {
		all = append(all, netip.MustParsePrefix(text))
	}
	return all
}

// never #5: what may be dialled.
func TestPermit(t *testing.T) {
	strict := validate.Config{}
	allowing := validate.Config{
		Allow: prefixes("169.254.7.0/24", "64:ff9b::/96", "127.0.0.0/8", "::/96"),
		Deny:  prefixes("127.0.0.9/32", "10.66.0.0/16", "2001:db8:66::/48"),
	}
	for _, test := range []struct {
		config validate.Config
		addr   string
		rule   string // "" means permitted
	}{
		{strict, "10.0.0.1", ""},
		{strict, "172.16.0.1", ""},
		{strict, "192.168.1.1", ""},
		{strict, "100.64.0.1", ""},
		{strict, "192.0.2.1", ""},
		{strict, "8.8.8.8", ""},
		{strict, "fd12:3456::1", ""},
		{strict, "2001:db8::1", ""},
		{strict, "64:ff9b::10.0.0.1", ""},
		{strict, "::ffff:10.0.0.1", ""},
		{strict, "127.0.0.1", "loopback"},
		{strict, "127.255.0.1", "loopback"},
		{strict, "::1", "loopback"},
		{strict, "::ffff:127.0.0.1", "loopback"},
		{strict, "::127.0.0.1", "loopback"},
		{strict, "64:ff9b::127.0.0.1", "loopback"},
		{strict, "0.0.0.0", "unspecified"},
		{strict, "0.1.2.3", "unspecified"},
		{strict, "::", "unspecified"},
		{strict, "169.254.169.254", "link-local"},
		{strict, "::ffff:169.254.169.254", "link-local"},
		{strict, "::169.254.169.254", "link-local"},
		{strict, "64:ff9b::a9fe:a9fe", "link-local"},
		{strict, "64:ff9b:1::a9fe:a9fe", "NAT64"},
		{strict, "2002:a9fe:a9fe::1", "6to4"},
		{strict, "2001:0:1:2::3", "Teredo"},
		{strict, "fe80::1", "link-local"},
		{strict, "fe80::1%lo", "link-local"},
		{strict, "fd00:ec2::254", "metadata"},
		{strict, "fd20:ce::254", "metadata"},
		{strict, "100.100.100.200", "metadata"},
		{strict, "168.63.129.16", "metadata"},
		{strict, "192.0.0.192", "metadata"},
		{strict, "224.0.0.1", "multicast"},
		{strict, "239.255.255.250", "multicast"},
		{strict, "ff02::1", "multicast"},
		{strict, "240.0.0.1", "reserved"},
		{strict, "255.255.255.255", "broadcast"},
		{validate.Config{AllowLoopback: true}, "127.8.0.1", ""},
		{validate.Config{AllowLoopback: true}, "::1", ""},
		{validate.Config{AllowLoopback: true}, "0.0.0.0", "unspecified"},
		{validate.Config{AllowLoopback: true, Deny: prefixes("127.0.0.0/8")}, "127.0.0.1", "deny has"},
		{allowing, "169.254.7.1", ""},
		{allowing, "::ffff:169.254.7.1", ""},
		{allowing, "169.254.169.254", "link-local"},
		{allowing, "64:ff9b::a9fe:a9fe", "link-local"}, // what is inside must pass as well
		{allowing, "64:ff9b::a9fe:701", ""},
		{allowing, "::169.254.169.254", "link-local"},
		{allowing, "127.0.0.1", ""},
		{allowing, "127.0.0.9", "deny has 127.0.0.9/32"},
		{allowing, "::ffff:127.0.0.9", "deny has 127.0.0.9/32"},
		{allowing, "64:ff9b::127.0.0.9", "deny has 127.0.0.9/32"},
		{allowing, "10.66.1.1", "deny has 10.66.0.0/16"},
		{allowing, "2001:db8:66::1", "deny has 2001:db8:66::/48"},
	} {
		err := newValidator(t, test.config).
			Permit(netip.AddrPortFrom(netip.MustParseAddr(test.addr), 80))
		if test.rule == "" && err != nil {
			t.Errorf("%s was refused: %v", test.addr, err)
		}
		if test.rule != "" && (err == nil || !strings.Contains(err.Error(), test.rule)) {
			t.Errorf("%s: got %v, want %q", test.addr, err, test.rule)
		}
	}
}

// never #5: our own listeners and database, whatever is allowed.
func TestPermitOwn(t *testing.T) {
	outside := ""
	interfaces, err := net.InterfaceAddrs()
	if err != nil {
		t.Fatal(err)
	}
	for _, a := range interfaces {
		if network, ok := a.(*net.IPNet); ok && network.IP.IsGlobalUnicast() {
			outside = network.IP.String()
		}
	}
	for _, test := range []struct {
		own, addr string
		port      uint16
		refused   bool
	}{
		{"10.0.0.5:5432", "10.0.0.5", 5432, true},
		{"10.0.0.5:5432", "::ffff:10.0.0.5", 5432, true},
		{"10.0.0.5:5432", "64:ff9b::10.0.0.5", 5432, true},
		{"[::ffff:10.0.0.5]:5432", "10.0.0.5", 5432, true},
		{"10.0.0.5:5432", "10.0.0.5", 80, false},
		{"10.0.0.5:5432", "10.0.0.6", 5432, false},
		{"10.0.0.5:0", "10.0.0.5", 80, true},
		{"10.0.0.5:0", "10.0.0.6", 80, false},
		{"127.0.0.1:80", "127.0.0.1", 80, true},
		{"127.0.0.1:80", "127.0.0.2", 80, false},
		{"127.0.0.1:80", "0.0.0.0", 80, true}, // reaches 127.0.0.1
		{"[fd00::5]:80", "fd00::5", 80, true},
		{"[fe80::5%eth0]:80", "fe80::5", 80, true},
		{"[::]:8443", "127.8.0.1", 8443, true},
		{"[::]:8443", "::1", 8443, true},
		{"0.0.0.0:8443", "::1", 8443, true},
		{"0.0.0.0:8443", "127.0.0.1", 80, false},
		{"[::]:8443", outside, 8443, true},
		{"[::]:8443", outside, 443, false},
		{"[::]:8443", "192.0.2.77", 8443, false},
	} {
		if test.addr == "" {
			continue // this host has no address but loopback
		}
		v := newValidator(t, validate.Config{
			Allow: prefixes("0.0.0.0/0", "::/0"), Own: []netip.AddrPort{netip.MustParseAddrPort(test.own)},
		})
		err := v.Permit(netip.AddrPortFrom(netip.MustParseAddr(test.addr), test.port))
		if test.refused != (err != nil) {
			t.Errorf("own %s, dialling %s port %d: %v", test.own, test.addr, test.port, err)
		}
	}
	port := serveHTTP(t, "127.0.0.1:0", serveKey)
	v := newValidator(t, validate.Config{
		HTTP01Port: port, AllowLoopback: true,
		Own: []netip.AddrPort{netip.AddrPortFrom(netip.IPv6Unspecified(), uint16(port))},
	})
	wantProblem(t, check(t, v, challenge("http-01", "app.localhost")), "connection",
		fmt.Sprintf("port %d there is this CA's own", port))
}

// never #5: an IP identifier gets no further than a name that resolves to it.
func TestForbiddenIdentifier(t *testing.T) {
	v := newValidator(t, validate.Config{})
	for _, addr := range []string{
		"127.0.0.1", "::1", "0.0.0.0", "169.254.169.254", "::ffff:169.254.169.254", "fe80::1",
		"64:ff9b::7f00:1", "255.255.255.255",
	} {
		for _, kind := range []string{"http-01", "tls-alpn-01"} {
			r := check(t, v, challenge(kind, addr))
			wantProblem(t, r, "connection", "no address that this CA may dial")
			if trace := strings.Join(r.Trace, "\n"); strings.Contains(trace, "connect") {
				t.Errorf("%s was dialled:\n%s", addr, trace)
			}
		}
	}
}

func TestLocalhost(t *testing.T) {
	dead, _ := listen(t, "127.0.0.1:0")
	resolvers := []string{dead.Addr().String()} // nobody may ask it
	port := serveHTTP(t, "127.0.0.1:0", serveKey)
	for _, name := range []string{"localhost", "app.localhost"} {
		v := newValidator(t, validate.Config{
			Resolvers: resolvers, HTTP01Port: port, AllowLoopback: true,
		})
		r := check(t, v, challenge("http-01", name))
		wantOK(t, r)
		wantTrace(t, r, fmt.Sprintf("connecting to [::1]:%d failed", port),
			fmt.Sprintf("connected to 127.0.0.1:%d", port))
		// never #5: only if loopback is allowed.
		strict := newValidator(t, validate.Config{Resolvers: resolvers, HTTP01Port: port})
		wantProblem(t, check(t, strict, challenge("http-01", name)), "connection",
			"127.0.0.1: loopback", "::1: loopback", "acme.validation_networks.allow")
	}
}

// never #5: the address dialled is the one that was checked, however often the zone changes its mind.
func TestRebinding(t *testing.T) {
	good := "www.test. A 127.0.0.1"
	bad := "www.test. A 127.0.0.9"
	asked := 0
	server := startDNS(t, func(question dns.Question, reply *dns.Msg, network string) {
		record := good
		if question.Qtype == dns.TypeA {
			if asked++; asked > 1 {
				record = bad
			}
		}
		zone(t, record)(question, reply, network)
	})
	port := serveHTTP(t, "127.0.0.1:0", serveKey)
	mustNotAccept(t, fmt.Sprintf("127.0.0.9:%d", port))
	v := newValidator(t, validate.Config{
		Resolvers: []string{server.addr}, HTTP01Port: port,
		AllowLoopback: true, Deny: prefixes("127.0.0.9/32"),
	})
	wantOK(t, check(t, v, challenge("http-01", "www.test")))
	if n := server.asked("A www.test."); n != 1 {
		t.Errorf("one hop asked %d times for the address", n)
	}
	wantProblem(t, check(t, v, challenge("http-01", "www.test")), "connection",
		"127.0.0.9: acme.validation_networks.deny has 127.0.0.9/32")
}

// never #5: a redirect back to the same name is resolved and checked anew.
func TestRebindingBetweenHops(t *testing.T) {
	asked := 0
	server := startDNS(t, func(question dns.Question, reply *dns.Msg, network string) {
		record := "www.test. A 127.0.0.1"
		if question.Qtype == dns.TypeA {
			if asked++; asked > 1 {
				record = "www.test. A 169.254.169.254"
			}
		}
		zone(t, record)(question, reply, network)
	})
	port := serveHTTP(t, "127.0.0.1:0", func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, "/again", http.StatusFound)
	})
	v := newValidator(t, validate.Config{
		Resolvers: []string{server.addr}, HTTP01Port: port, AllowLoopback: true,
	})
	r := check(t, v, challenge("http-01", "www.test"))
	wantProblem(t, r, "connection", "169.254.169.254: link-local")
	wantTrace(t, r, "redirected to /again", "refused to dial 169.254.169.254: link-local")
}

// never #5: one bad address is left out; one good one is enough.
func TestMixedAddresses(t *testing.T) {
	server := startDNS(t, zone(t,
		"www.test. A 169.254.169.254", "www.test. A 127.0.0.9", "www.test. A 127.0.0.1",
		"www.test. AAAA ::ffff:169.254.169.254", "www.test. AAAA ::1"))
	port := serveHTTP(t, "127.0.0.1:0", serveKey)
	mustNotAccept(t, fmt.Sprintf("127.0.0.9:%d", port))
	v := newValidator(t, validate.Config{
		Resolvers: []string{server.addr}, HTTP01Port: port,
		AllowLoopback: true, Deny: prefixes("127.0.0.9/32"),
	})
	r := check(t, v, challenge("http-01", "www.test"))
	wantOK(t, r)
	wantTrace(t, r, "refused to dial 169.254.169.254: link-local", "refused to dial 127.0.0.9: ",
		fmt.Sprintf("connecting to [::1]:%d failed", port), "connection refused",
		fmt.Sprintf("connected to 127.0.0.1:%d", port))
}

// never #6: a name with many addresses does not make us a port scanner.
func TestManyAddresses(t *testing.T) {
	var records []string
	for i := range 100 {
		records = append(records, fmt.Sprintf("www.test. A 127.1.0.%d", i+1))
	}
	server := startDNS(t, zone(t, records...))
	_, port := listen(t, "127.0.0.1:0") // nobody listens on it at the other addresses
	v := newValidator(t, validate.Config{
		Resolvers: []string{server.addr}, HTTP01Port: port, AllowLoopback: true,
	})
	r := check(t, v, challenge("http-01", "www.test"))
	wantProblem(t, r, "connection", "connection refused")
	if n := strings.Count(strings.Join(r.Trace, "\n"), "connecting to"); n != 4 {
		t.Errorf("%d addresses were dialled", n)
	}
}

func TestMalformed(t *testing.T) {
	v := newValidator(t, validate.Config{AllowLoopback: true})
	wildcard := func(kind string) validate.Challenge {
		c := challenge(kind, "app.localhost")
		c.Wildcard = true
		return c
	}
	uri := validate.Challenge{
		Type: "http-01", Name: identity.Name{Type: identity.URI, Value: "spiffe://x/y"},
	}
	for _, test := range []struct {
		challenge validate.Challenge
		part      string
	}{
		{wildcard("http-01"), "only dns-01"}, // never #17
		{wildcard("tls-alpn-01"), "only dns-01"},
		{challenge("http-01", "*.app.localhost"), "behind its"}, // the caller is to cut off the "*."
		{challenge("tls-alpn-01", "*.app.localhost"), "behind its"},
		{challenge("dns-01", "*.app.localhost"), "behind its"},
		{challenge("dns-01", "127.0.0.1"), "RFC 8738"},
		{challenge("dns-01", "::1"), "RFC 8738"},
		{challenge("dns-account-01", "127.0.0.1"), "RFC 8738"},
		{challenge("dns-persist-01", "::1"), "RFC 8738"},
		{challenge("dns-account-01", "app.localhost"), "needs the account's URL"},
		{challenge("dns-persist-01", "app.localhost"), "needs the account's URL"},
		{challenge("dns-02", "app.localhost"), `"dns-02" is not a type`},
		{uri, `identifier of type "uri"`},
		{validate.Challenge{}, `identifier of type ""`},
	} {
		r := check(t, v, test.challenge)
		wantProblem(t, r, "malformed", test.part)
		if len(r.Trace) > 0 {
			t.Errorf("%+v: %q", test.challenge, r.Trace)
		}
	}
}

func TestNew(t *testing.T) {
	for _, bad := range []validate.Config{
		{HTTP01Port: -1},
		{HTTP01Port: 65536},
		{TLSALPN01Port: 65536},
		{Resolvers: []string{"10.0.0.53"}},
		{Resolvers: []string{":53"}},
		{Resolvers: []string{"10.0.0.53:domain"}},
		{Resolvers: []string{"10.0.0.53:0"}},
		{Allow: prefixes("::ffff:10.0.0.0/104")},
		{Deny: []netip.Prefix{{}}},
		{Own: []netip.AddrPort{{}}},
		{ZoneResolvers: map[string][]string{"corp.test": nil}},
		{ZoneResolvers: map[string][]string{"corp.test": {"10.0.0.53"}}},
		{ZoneResolvers: map[string][]string{"": {"10.0.0.53:53"}}},
		{ZoneResolvers: map[string][]string{"*.corp.test": {"10.0.0.53:53"}}},
		{ZoneResolvers: map[string][]string{"_corp.test": {"10.0.0.53:53"}}},
		{CAA: true},
		{CAAIdentities: []string{"10.0.0.1"}},
		{CAAIdentities: []string{"*.ca.example"}},
		{CAAIdentities: []string{""}},
		{CAAIdentities: strings.Split("a b c d e f g h i j k", " ")},
	} {
		if _, err := validate.New(bad); err == nil {
			t.Errorf("%+v was accepted", bad)
		}
	}
	newValidator(t, validate.Config{Resolvers: []string{"10.0.0.53:53", "[fd00::53]:53", "dns:53"}})
}
