package validate_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

func caaConfig(resolver string) validate.Config {
	return validate.Config{
		Resolvers: []string{resolver}, CAA: true, CAAIdentities: []string{"CA.example", "ca2.example"},
	}
}

func caaChallenge(name string, wildcard bool) validate.Challenge {
	c := challenge(validate.DNS01, name)
	c.Wildcard, c.AccountURI = wildcard, accountURI
	return c
}

func askCAA(t *testing.T, wildcard bool, records ...string) (validate.Result, *dnsServer) {
	t.Helper()
	server := startDNS(t, zone(t, records...))
	v := newValidator(t, caaConfig(server.addr))
	return v.CAA(t.Context(), caaChallenge("www.corp.test", wildcard)), server
}

// RFC 8659 sections 3 and 4, RFC 8657.
func TestCAA(t *testing.T) {
	const at = "www.corp.test. CAA "
	for name, test := range map[string]struct {
		wildcard bool
		records  []string
		refusal  string // part of the detail; "" means permitted
	}{
		"nothing anywhere":   {false, nil, ""},
		"exists without":     {false, []string{"www.corp.test. A 10.0.0.1"}, ""},
		"ours":               {false, []string{at + `0 issue "ca.example"`}, ""},
		"case":               {false, []string{at + `0 ISSUE " CA.Example "`}, ""},
		"second of ours":     {false, []string{at + `0 issue "ca2.example; x=y"`}, ""},
		"one of several":     {false, []string{at + `0 issue "a.example"`, at + `0 issue "ca.example"`, at + `0 issue ";"`}, ""},
		"another's":          {false, []string{at + `0 issue "a.example"`}, `"a.example" is not for this CA`},
		"above ours":         {false, []string{at + `0 issue "example"`}, "not for this CA"},
		"below ours":         {false, []string{at + `0 issue "x.ca.example"`}, "not for this CA"},
		"nobody":             {false, []string{at + `0 issue ";"`}, "not for this CA"},
		"empty":              {false, []string{at + `0 issue ""`}, "not for this CA"},
		"unreadable":         {false, []string{at + `0 issue "ca.example;"`, at + `0 issue "ca.example; x"`}, ""},
		"only unreadable":    {false, []string{at + `0 issue "ca.example; x"`}, "cannot be read"},
		"case, nobody":       {false, []string{at + `0 IssUe ";"`}, "not for this CA"},
		"no tag":             {false, []string{at + `0 issue "ca.example; =y"`}, "cannot be read"},
		"odd tag":            {false, []string{at + `0 issue "ca.example; a_b=y"`}, "cannot be read"},
		"trailing ;":         {false, []string{at + `0 issue "ca.example; x=y;"`}, "cannot be read"},
		"spaces":             {false, []string{at + `0 issue "ca example"`}, "cannot be read"},
		"underscore":         {false, []string{at + `0 issue "_x.ca.example"`}, "cannot be read"},
		"only iodef":         {false, []string{at + `128 iodef "mailto:a@corp.test"`}, ""},
		"unknown":            {false, []string{at + `0 future "x"`}, ""},
		"reserved flag":      {false, []string{at + `1 future "x"`}, ""},
		"critical unknown":   {false, []string{at + `128 future "x"`, at + `0 issue "ca.example"`}, `critical tag "future"`},
		"critical, flags":    {false, []string{at + `255 future "x"`}, "critical tag"},
		"critical known":     {false, []string{at + `128 issue "ca.example"`}, ""},
		"parent":             {false, []string{"corp.test. CAA 0 issue \"a.example\""}, "records at corp.test do not"},
		"top":                {false, []string{"test. CAA 0 issue \"a.example\""}, "records at test do not"},
		"nearest wins":       {false, []string{at + `0 issue "ca.example"`, "corp.test. CAA 0 issue \"a.example\""}, ""},
		"nearest says no":    {false, []string{at + `0 issue ";"`, "corp.test. CAA 0 issue \"ca.example\""}, "records at www.corp.test"},
		"nearest is iodef":   {false, []string{at + `0 iodef "x"`, "corp.test. CAA 0 issue \";\""}, ""},
		"wild, issue":        {true, []string{at + `0 issue "ca.example"`}, ""},
		"wild, issue no":     {true, []string{at + `0 issue "a.example"`}, "not for this CA"},
		"wild, issuewild":    {true, []string{at + `0 issue ";"`, at + `0 issuewild "ca.example"`}, ""},
		"wild, issuewild no": {true, []string{at + `0 issue "ca.example"`, at + `0 issuewild ";"`}, "0 issuewild ca.example"},
		"issuewild only":     {false, []string{at + `0 issuewild ";"`}, ""},
		"issuewild ignored":  {false, []string{at + `0 issue ";"`, at + `0 issuewild "ca.example"`}, "0 issue ca.example"},
		"account":            {false, []string{at + `0 issue "ca.example; accounturi=` + accountURI + `"`}, ""},
		"account's case":     {false, []string{at + `0 issue "ca.example; accounturi=` + strings.ToUpper(accountURI) + `"`}, "another account"},
		"tag's case":         {false, []string{at + `0 issue "ca.example; AccountURI=` + accountURI + `4"`}, "another account"},
		"no account":         {false, []string{at + `0 issue "ca.example; accounturi="`}, "another account"},
		"account twice":      {false, []string{at + `0 issue "ca.example; accounturi=` + accountURI + `; accounturi=` + accountURI + `"`}, "twice"},
		"method":             {false, []string{at + `0 issue "ca.example; validationmethods=http-01,dns-01"`}, ""},
		"other method":       {false, []string{at + `0 issue "ca.example; validationmethods=http-01,dns-011"`}, `does not allow "dns-01"`},
		"no method":          {false, []string{at + `0 issue "ca.example; validationmethods="`}, "does not allow"},
		"method's case":      {false, []string{at + `0 issue "ca.example; validationmethods=DNS-01"`}, "does not allow"},
		"methods twice":      {false, []string{at + `0 issue "ca.example; validationmethods=dns-01; validationmethods=dns-01"`}, "twice"},
		"either, not both": {false, []string{
			at + `0 issue "ca.example; validationmethods=http-01"`,
			at + `0 issue "ca.example; accounturi=https://other/"`,
		}, `does not allow "dns-01"; "ca.example; accounturi=https://other/" is for another account`},
		"alias": {false, []string{
			"www.corp.test. CNAME web.cdn.test.", `web.cdn.test. CAA 0 issue "ca.example"`,
			`corp.test. CAA 0 issue ";"`,
		}, ""},
		"alias says no": {false, []string{
			"www.corp.test. CNAME web.cdn.test.", `web.cdn.test. CAA 0 issue ";"`,
		}, "records at www.corp.test"},
		"alias's parent doesn't count": {false, []string{
			"www.corp.test. CNAME web.cdn.test.", "web.cdn.test. A 10.0.0.1",
			`cdn.test. CAA 0 issue ";"`, `corp.test. CAA 0 issue "ca.example"`,
		}, ""},
		"alias to nothing": {false, []string{
			"www.corp.test. CNAME web.cdn.test.", `corp.test. CAA 0 issue ";"`,
		}, "records at corp.test"},
	} {
		t.Run(name, func(t *testing.T) {
			r, server := askCAA(t, test.wildcard, test.records...)
			if test.refusal == "" {
				wantOK(t, r)
			} else {
				wantProblem(t, r, "caa", test.refusal)
			}
			wantTrace(t, r, "www.corp.test (CAA, ", "via "+server.addr)
		})
	}
}

// A lookup that fails forbids, wherever on the way up.
func TestCAAFailsClosed(t *testing.T) {
	for _, failing := range []string{"www.corp.test.", "corp.test.", "test."} {
		answers := zone(t, "www.corp.test. A 10.0.0.1")
		server := startDNS(t, func(question dns.Question, reply *dns.Msg, network string) {
			if answers(question, reply, network); question.Name == failing {
				reply.Rcode = dns.RcodeServerFailure
			}
		})
		r := newValidator(t, caaConfig(server.addr)).CAA(t.Context(), caaChallenge("www.corp.test", false))
		wantProblem(t, r, "dns", "the CAA record of "+strings.TrimSuffix(failing, "."), "SERVFAIL")
	}
	for _, circle := range [][]string{
		{"www.corp.test. CNAME www.corp.test."},
		{"www.corp.test. CNAME a.test.", "a.test. CNAME www.corp.test."},
	} {
		r, _ := askCAA(t, false, circle...)
		wantProblem(t, r, "dns", "circle")
	}
	// The same in one answer, from a resolver that follows aliases.
	answers := zone(t, "www.corp.test. CNAME a.test.", "a.test. CNAME www.corp.test.")
	server := startDNS(t, func(question dns.Question, reply *dns.Msg, network string) {
		answers(question, reply, network)
		if len(reply.Answer) == 1 {
			question.Name = reply.Answer[0].(*dns.CNAME).Target
			answers(question, reply, network)
		}
	})
	r := newValidator(t, caaConfig(server.addr)).CAA(t.Context(), caaChallenge("www.corp.test", false))
	wantProblem(t, r, "dns", "circle")
}

// never #6: the way up is bounded.
func TestCAALongNames(t *testing.T) {
	for labels, ok := range map[int]bool{validate.MaxClimb: true, validate.MaxClimb + 1: false} {
		server := startDNS(t, zone(t))
		name := strings.Repeat("a.", labels-1) + "test"
		r := newValidator(t, caaConfig(server.addr)).CAA(t.Context(), caaChallenge(name, false))
		if r.OK != ok {
			t.Errorf("%d labels: OK is %t: %s", labels, r.OK, r.Detail)
		}
		if n := server.total(); n != validate.MaxClimb {
			t.Errorf("%d labels: asked %d times", labels, n)
		}
	}
}

// Addresses have no CAA records, and localhost is nobody's.
func TestCAANotApplicable(t *testing.T) {
	server := startDNS(t, zone(t, `localhost. CAA 0 issue ";"`))
	v := newValidator(t, caaConfig(server.addr))
	for _, name := range []string{"127.0.0.1", "::1", "localhost", "app.localhost"} {
		wantOK(t, v.CAA(t.Context(), challenge("http-01", name)))
	}
	if n := server.total(); n > 0 {
		t.Errorf("asked %d times", n)
	}
}

// never #7: a proven name is valid only if its own CAA records permit.
func TestCheckIncludesCAA(t *testing.T) {
	names := []string{"a.test", "b.test", "c.test"}
	for _, forbidden := range names {
		records := []string{"a.test. A 127.0.0.1", "b.test. A 127.0.0.1", "c.test. A 127.0.0.1"}
		server := startDNS(t, zone(t, append(records, forbidden+`. CAA 0 issue ";"`)...))
		config := caaConfig(server.addr)
		config.AllowLoopback, config.HTTP01Port = true, serveHTTP(t, "127.0.0.1:0", serveKey)
		v := newValidator(t, config)
		config.CAA = false
		ignoring := newValidator(t, config)
		for _, name := range names {
			c := challenge("http-01", name)
			wantOK(t, check(t, ignoring, c))
			r := check(t, v, c)
			if name != forbidden {
				wantOK(t, r)
				continue
			}
			wantProblem(t, r, "caa", forbidden)
			wantTrace(t, r, "200 OK", fmt.Sprintf("CAA at %s forbids", name))
		}
		if n := server.asked("CAA " + forbidden + "."); n != 1 {
			t.Errorf("asked %d times for the CAA records of %s", n, forbidden)
		}
	}
	// What is not proven is not asked for.
	server := startDNS(t, zone(t))
	r := check(t, newValidator(t, caaConfig(server.addr)), caaChallenge("a.test", false))
	wantProblem(t, r, "dns", "_acme-challenge.a.test does not exist")
	if n := server.asked("CAA a.test."); n != 0 {
		t.Errorf("asked %d times", n)
	}
}
