package validate_test

import (
	"testing"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

// The longest zone that a name lies in says who is asked, for every type of record.
func TestZoneResolvers(t *testing.T) {
	records := []string{
		"corp.test. A 127.0.0.1", "www.corp.test. A 127.0.0.1", "www.eu.corp.test. A 127.0.0.1",
		"notcorp.test. A 127.0.0.1", "corp.test.other. A 127.0.0.1", "alias.test. CNAME www.eu.corp.test.",
	}
	usual := startDNS(t, zone(t, append(records, "_acme-challenge.notcorp.test. TXT "+keyDigest())...))
	corp := startDNS(t, zone(t, append(records, "_acme-challenge.www.corp.test. TXT "+keyDigest())...))
	eu := startDNS(t, zone(t, append(records, "_acme-challenge.www.eu.corp.test. TXT "+keyDigest())...))
	v := newValidator(t, validate.Config{
		Resolvers: []string{usual.addr},
		ZoneResolvers: map[string][]string{
			"Corp.test.": {corp.addr}, "eu.corp.test": {eu.addr}, "other.test": {"127.0.0.1:1"},
		},
		HTTP01Port: serveHTTP(t, "127.0.0.1:0", serveKey), AllowLoopback: true,
		CAA: true, CAAIdentities: []string{"ca.example"},
	})
	for _, test := range []struct {
		name   string
		server *dnsServer
	}{
		{"corp.test", corp},
		{"www.corp.test", corp},
		{"www.eu.corp.test", eu},
		{"notcorp.test", usual},    // no label boundary
		{"corp.test.other", usual}, // no suffix
	} {
		r := check(t, v, challenge("http-01", test.name))
		wantOK(t, r)
		wantTrace(t, r, test.name+" (A, via "+test.server.addr, test.name+" (AAAA, via "+test.server.addr,
			test.name+" (CAA, via "+test.server.addr)
	}
	for _, name := range []string{"www.corp.test", "www.eu.corp.test", "notcorp.test"} {
		wantOK(t, check(t, v, challenge("dns-01", name)))
	}
	// On the way up, each name is asked for where it belongs.
	r := v.CAA(t.Context(), challenge("dns-01", "www.eu.corp.test"))
	wantTrace(t, r, "eu.corp.test (CAA, via "+eu.addr, "corp.test (CAA, via "+corp.addr,
		"test (CAA, via "+usual.addr)
	// An alias is asked for where it leads.
	r = check(t, v, challenge("http-01", "alias.test"))
	wantOK(t, r)
	wantTrace(t, r, "alias.test (A, alias of www.eu.corp.test, via "+eu.addr)
}
