package validate_test

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

// What draft-ietf-acme-dns-persist-02 section 10.2 computes.
const (
	hashPrefix = "https://ca.example/account-hash/"
	accountURI = "https://ca.example/acct/123"
	thumbprint = "NzbLsXh8uDCcd-6MNwXF4W_7noWXFZAfHkxZsRGC9Xs"
	hashedURI  = hashPrefix + "sha-256/5SQm7n6tPh2-PlLbCKGnViTXX5z19SCN4cPGQHSk-kw"
	anyHashed  = hashPrefix + "sha-256/NpDnSwUthQK8zCgFdefYxAdAVPnygMLbs9US6oO-5ug"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

func persistChallenge(wildcard bool) validate.Challenge {
	c := challenge(validate.DNSPersist01, "example.com")
	c.Wildcard, c.AccountURI = wildcard, accountURI
	c.Thumbprints = []string{"0000000000000000000000000000000000000000000", thumbprint}
	return c
}

func persistConfig(resolver string) validate.Config {
	return validate.Config{
		Resolvers: []string{resolver}, CAAIdentities: []string{"authority.example", "ca2.example"},
		AccountHashPrefix: hashPrefix, Now: func() time.Time { return noon },
	}
}

func persist(t *testing.T, wildcard bool, texts ...string) validate.Result {
	t.Helper()
	var records []string
	for _, text := range texts {
		records = append(records, fmt.Sprintf("_validation-persist.example.com. TXT \"%s\" \"%s\"",
			text[:len(text)/2], text[len(text)/2:]))
	}
	server := startDNS(t, zone(t, records...))
	return check(t, newValidator(t, persistConfig(server.addr)), persistChallenge(wildcard))
}

func TestDNSPersist01(t *testing.T) {
	right := "authority.example; accounturi=" + hashedURI
	for name, test := range map[string]struct {
		wildcard bool
		texts    []string
		until    int64
	}{
		"hashed":             {false, []string{right}, 0},
		"for any name":       {false, []string{"authority.example; accounturi=" + anyHashed}, 0},
		"account's URL":      {false, []string{"authority.example;accounturi=" + accountURI}, 0}, // until -01
		"other name of ours": {false, []string{"  CA2.Example  ;accounturi = " + hashedURI}, 0},
		"among others": {false, []string{
			"other.example; accounturi=" + hashedURI, "v=spf1 -all", "authority.example;;",
			"authority.example; accounturi=" + hashedURI + "x", right,
		}, 0},
		"unknown parameters": {false, []string{right + "; future=1; future=2; x=" + strings.Repeat("y", 300)}, 0},
		"unknown policy":     {false, []string{right + "; policy=strict"}, 0},
		"wildcard's policy":  {false, []string{right + "; policy=wildcard"}, 0},
		"wildcard":           {true, []string{right + "; Policy=WildCard"}, 0},
		"until now":          {false, []string{fmt.Sprintf("%s; persistUntil=%d", right, noon.Unix())}, noon.Unix()},
		"until later":        {true, []string{right + "; policy=wildcard; persistuntil=9999999999"}, 9999999999},
		"for ever":           {false, []string{right + "; persistUntil=18446744073709551615"}, 253402300799},
	} {
		t.Run(name, func(t *testing.T) {
			r := persist(t, test.wildcard, test.texts...)
			wantOK(t, r)
			if test.until == 0 && !r.Until.IsZero() || test.until != 0 && r.Until.Unix() != test.until {
				t.Errorf("proven until %s, want %d", r.Until, test.until)
			}
		})
	}
}

func TestDNSPersist01Problems(t *testing.T) {
	right := "authority.example; accounturi=" + hashedURI
	for name, test := range map[string]struct {
		wildcard bool
		text     string
		kind     string
		part     string
	}{
		"another CA":        {false, "other.example; accounturi=" + hashedURI, "unauthorized", "names this CA; create one with the value"},
		"subdomain of ours": {false, "x." + right, "unauthorized", "none of the 1"},
		"no CA":             {false, ";accounturi=" + hashedURI, "unauthorized", "none of the 1"},
		"with a dot":        {false, "authority.example.;accounturi=" + hashedURI, "unauthorized", "none of the 1"},
		"another account":   {false, right + "x", "unauthorized", "not this account's, " + hashPrefix + "sha-256/"},
		"another prefix":    {false, strings.ReplaceAll(right, "ca.example", "ca2.example"), "unauthorized", "not this account's"},
		"case of account":   {false, strings.ReplaceAll(right, "5SQm", "5sqm"), "unauthorized", "not this account's"},
		"prefix of account": {false, right[:len(right)-1], "unauthorized", "not this account's"},
		"no account":        {false, "authority.example", "malformed", "one accounturi"},
		"empty account":     {false, "authority.example; accounturi=", "unauthorized", "not this account's"},
		"account twice":     {false, right + "; accountURI=" + hashedURI, "malformed", "one accounturi"},
		"until twice":       {false, right + "; persistUntil=1; persistUntil=9999999999", "malformed", "at most one"},
		"policy twice":      {true, right + "; policy=x; policy=wildcard", "malformed", "at most one"},
		"ended":             {false, fmt.Sprintf("%s; persistUntil=%d", right, noon.Unix()-1), "unauthorized", "ended at 2026-11-24T11:59:59Z"},
		"ended long ago":    {false, right + "; persistUntil=0", "unauthorized", "ended at 1970"},
		"until a date":      {false, right + "; persistUntil=2030-01-01", "malformed", "persistUntil"},
		"until signed":      {false, right + "; persistUntil=+9999999999", "malformed", "persistUntil"},
		"until nothing":     {false, right + "; persistUntil=", "malformed", "persistUntil"},
		"trailing ;":        {false, right + ";", "malformed", "tag=value"},
		"no value":          {false, right + "; policy", "malformed", "tag=value"},
		"space in value":    {false, right + " x", "malformed", "tag=value"},
		"hostile":           {false, right + `\027[31m\000`, "unauthorized", "not this account's"},
		// never #17: the record must say that it is for wildcards.
		"wildcard, no policy":    {true, right, "unauthorized", "no policy=wildcard"},
		"wildcard, other policy": {true, right + "; policy=wildcards", "unauthorized", "no policy=wildcard"},
	} {
		t.Run(name, func(t *testing.T) {
			r := persist(t, test.wildcard, test.text)
			wantProblem(t, r, test.kind, test.part, "_validation-persist.example.com")
			if !r.Until.IsZero() {
				t.Errorf("failed, and yet proven until %s", r.Until)
			}
		})
	}
	wantProblem(t, persist(t, false), "dns", "does not exist")
	v := newValidator(t, validate.Config{Resolvers: []string{startDNS(t, zone(t)).addr}})
	wantProblem(t, check(t, v, persistChallenge(false)), "malformed", "acme.caa_identities")
}

// A name of the greatest length is hashed with its length in one byte.
func TestDNSPersist01LongName(t *testing.T) {
	long := strings.Repeat(strings.Repeat("a", 49)+".", 4) + "example.com"
	c := persistChallenge(false)
	c.Name.Value, c.Thumbprints = long, []string{thumbprint}
	server := startDNS(t, zone(t, "_validation-persist."+long+". TXT x"))
	r := check(t, newValidator(t, persistConfig(server.addr)), c)
	wantProblem(t, r, "unauthorized", "sha-256/t5M2FyVLkfV5_B3cAZW0R6F0ZQp9K8peYCmQCRK_U3A")
}

// The label is the example of draft-ietf-acme-dns-account-label.
func TestDNSAccount01(t *testing.T) {
	c := challenge(validate.DNSAccount01, "example.org")
	c.AccountURI, c.Wildcard = "https://example.com/acme/acct/ExampleAccount", true
	at := "_ujmmovf2vn55tgye._acme-challenge.example.org. TXT "
	for _, test := range []struct{ record, kind string }{
		{at + keyDigest(), ""},
		{at + "x", "unauthorized"},
		{"_acme-challenge.example.org. TXT " + keyDigest(), "dns"}, // dns-01's record is not it
	} {
		server := startDNS(t, zone(t, test.record))
		r := check(t, newValidator(t, validate.Config{Resolvers: []string{server.addr}}), c)
		if test.kind == "" {
			wantOK(t, r)
			continue
		}
		wantProblem(t, r, test.kind, "_ujmmovf2vn55tgye._acme-challenge.example.org")
	}
}
