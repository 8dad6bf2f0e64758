package policy_test

import (
	"crypto/elliptic"
	"crypto/x509"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

var noon = time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)

func dns(values ...string) []identity.Name {
	var names []identity.Name
	for _, v := range values {
		names = append(names, identity.Name{Type: identity.DNS, Value: v})
	}
	return names
}

func profile(t testing.TB, name string) policy.Profile {
	t.Helper()
	all := policy.Builtin()
	i := slices.IndexFunc(all, func(p policy.Profile) bool { return p.Name == name })
	if i < 0 {
		t.Fatalf("no profile %q", name)
	}
	return all[i]
}

// sound is content that profile p gives to whoever may hold the names.
func sound(t testing.TB, p policy.Profile, names ...identity.Name) policy.Content {
	return policy.Content{
		Names: names, PublicKey: ecKey(t, elliptic.P256()),
		NotBefore: noon, NotAfter: noon.Add(p.Lifetime - time.Second),
	}
}

func TestBuiltin(t *testing.T) {
	var names []string
	for _, p := range policy.Builtin() {
		names = append(names, p.Name)
		if p.Lifetime != 24*time.Hour || p.Backdate <= 0 || p.Backdate > time.Hour || p.MaxNames != 100 {
			t.Errorf("%s: lifetime %v, backdate %v, %d names", p.Name, p.Lifetime, p.Backdate, p.MaxNames)
		}
		if !strings.HasSuffix(p.Description, ".") || strings.Count(p.Description, ".") != 1 {
			t.Errorf("%s: %q is not one sentence", p.Name, p.Description)
		}
	}
	if !slices.Equal(names, []string{"server", "client", "peer"}) {
		t.Errorf("profiles %v", names)
	}
	server, client := x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth
	for name, want := range map[string][]x509.ExtKeyUsage{
		"server": {server}, "client": {client}, "peer": {server, client},
	} {
		if got := profile(t, name).ExtKeyUsage; !slices.Equal(got, want) {
			t.Errorf("%s: extended key usages %v", name, got)
		}
	}
}

func TestDecide(t *testing.T) {
	server := profile(t, "server")
	a := dns("a.internal", "b.internal")
	owner := identity.Caller{ID: "acme/account/1", Names: a}
	admin := identity.Caller{ID: "token/1", AnyName: true}
	long := strings.Repeat("x", 60) + ".internal"
	many := make([]string, server.MaxNames+1)
	for i := range many {
		many[i] = fmt.Sprintf("n%d.internal", i)
	}
	with := func(names []identity.Name, change func(*policy.Content)) policy.Content {
		c := sound(t, server, names...)
		if change != nil {
			change(&c)
		}
		return c
	}
	commonName := func(text string) func(*policy.Content) {
		return func(c *policy.Content) { c.CommonName = text }
	}
	for _, test := range []struct {
		name    string
		who     identity.Caller
		content policy.Content
		kind    fault.Kind
		want    string // of the error; empty: allowed
	}{
		{"all names", owner, with(a, nil), 0, ""},
		{"all names, other order", owner, with([]identity.Name{a[1], a[0]}, nil), 0, ""},
		{"any name", admin, with(dns("*.internal", "x"), nil), 0, ""},
		{"most names", admin, with(dns(many[1:]...), nil), 0, ""},
		{"common name", owner, with(a, commonName("b.internal")), 0, ""},
		{"one name less", owner, with(a[:1], nil), fault.Denied, `dns "b.internal" is missing`},
		{
			"one name more", owner, with(append(dns("c.internal"), a...), nil), fault.Denied,
			`dns "c.internal" is not among the names proven by acme/account/1`,
		},
		{"wildcard is another name", owner, with(dns("*.internal"), nil), fault.Denied, `"*.internal" is not among`},
		{
			"same text, other type",
			identity.Caller{Names: []identity.Name{{Type: identity.DNS, Value: "10.0.0.1"}}},
			with([]identity.Name{{Type: identity.IP, Value: "10.0.0.1"}}, nil), fault.Denied, "is not among",
		},
		{"nobody", identity.Caller{}, with(a, nil), fault.Denied, "is not among"},
		{"no names", admin, with(nil, nil), fault.Invalid, "names: there is none"},
		{"too many names", admin, with(dns(many...), nil), fault.Invalid, "names: there are 101"},
		{"twice", admin, with(append(a, a[0]), nil), fault.Invalid, `names: "a.internal" is there twice`},
		{"not canonical", admin, with(dns("A.internal"), nil), fault.Invalid, `canonical form "a.internal"`},
		{"malformed", admin, with(dns("a_b.internal"), nil), fault.Invalid, "underscore"},
		{"unknown type", admin, with([]identity.Name{{Type: "x", Value: "a"}}, nil), fault.Invalid, "not a type of name"},
		{
			"type of another profile", admin, with([]identity.Name{{Type: identity.URI, Value: "spiffe://a.b/c"}}, nil),
			fault.Denied, `profile "server" does not allow names of type uri, and "spiffe://a.b/c" is one`,
		},
		{"foreign common name", admin, with(a, commonName("c.internal")), fault.Invalid, "not among the subject"},
		{"common name in capitals", admin, with(a, commonName("A.internal")), fault.Invalid, "not among the subject"},
		{"long common name", admin, with(dns(long), commonName(long)), fault.Invalid, "longer than 64"},
		{"weak key", admin, with(a, func(c *policy.Content) { c.PublicKey = nil }), fault.Invalid, "csr: "},
		// never #9
		{
			"a second more", admin, with(a, func(c *policy.Content) { c.NotAfter = noon.Add(server.Lifetime) }),
			fault.Denied, "ends at 2026-03-02T11:59:59Z and not at 2026-03-02T12:00:00Z",
		},
		{
			"a second less", admin, with(a, func(c *policy.Content) { c.NotAfter = c.NotAfter.Add(-time.Second) }),
			fault.Denied, "ends at",
		},
		{"a fraction", admin, with(a, func(c *policy.Content) {
			c.NotBefore, c.NotAfter = c.NotBefore.Add(time.Nanosecond), c.NotAfter.Add(time.Nanosecond)
		}), fault.Denied, "whole seconds"},
	} {
		err := policy.Decide(test.who, server, test.content)
		switch {
		case test.want == "" && err != nil:
			t.Errorf("%s: %v", test.name, err)
		case test.want != "" && (!fault.Is(err, test.kind) || !strings.Contains(err.Error(), test.want)):
			t.Errorf("%s: %v; want %v saying %q", test.name, err, test.kind, test.want)
		}
	}
}

// never #7: whatever is wrong with one name, it is found wherever the name stands.
func TestDecideLooksAtEveryName(t *testing.T) {
	const count = 20
	p := profile(t, "server")
	var all []string
	for i := range count {
		all = append(all, fmt.Sprintf("n%d.internal", i))
	}
	good := dns(all...)
	owner, admin := identity.Caller{ID: "x", Names: good}, identity.Caller{AnyName: true}
	for k := range count {
		for _, bad := range []struct {
			who  identity.Caller
			name identity.Name
		}{
			{owner, identity.Name{Type: identity.DNS, Value: "forbidden.internal"}},
			{admin, identity.Name{Type: identity.DNS, Value: "under_score.internal"}},
			{admin, identity.Name{Type: identity.DNS, Value: "Capital.internal"}},
			{admin, identity.Name{Type: identity.Email, Value: "a@internal"}},
			{admin, good[(k+1)%count]},
		} {
			names := slices.Clone(good)
			names[k] = bad.name
			if policy.Decide(bad.who, p, sound(t, p, names...)) == nil {
				t.Errorf("%v at place %d is allowed", bad.name, k)
			}
		}
		fewer := slices.Delete(slices.Clone(good), k, k+1)
		if err := policy.Decide(owner, p, sound(t, p, fewer...)); !fault.Is(err, fault.Denied) {
			t.Errorf("without name %d: %v", k, err)
		}
	}
	if err := policy.Decide(owner, p, sound(t, p, good...)); err != nil {
		t.Error(err)
	}
}

// A caller gets a certificate for a set of names if and only if it is the caller's set.
func TestDecideComparesSets(t *testing.T) {
	p := profile(t, "peer")
	key := ecKey(t, elliptic.P256())
	pool := append(dns("a", "b.internal", "*.b.internal"),
		identity.Name{Type: identity.IP, Value: "10.0.0.1"},
		identity.Name{Type: identity.URI, Value: "spiffe://b.internal/x"})
	rapid.Check(t, func(t *rapid.T) {
		subset := rapid.SliceOfNDistinct(rapid.SampledFrom(pool), 1, len(pool), rapid.ID)
		held, asked := subset.Draw(t, "held"), subset.Draw(t, "asked")
		err := policy.Decide(identity.Caller{ID: "x", Names: held}, p, policy.Content{
			Names: asked, PublicKey: key, NotBefore: noon, NotAfter: noon.Add(p.Lifetime - time.Second),
		})
		same := len(held) == len(asked)
		for _, n := range asked {
			same = same && slices.Contains(held, n)
		}
		if same != (err == nil) || err != nil && !fault.Is(err, fault.Denied) {
			t.Fatalf("held %v, asked %v: %v", held, asked, err)
		}
	})
}

// never #9: for every lifetime and start, through leap days and the turn of 2050, the last second is
// the only one that is right.
func TestDecideValidity(t *testing.T) {
	who := identity.Caller{AnyName: true}
	key := ecKey(t, elliptic.P256())
	rapid.Check(t, func(t *rapid.T) {
		p := policy.Builtin()[0]
		p.Lifetime = time.Duration(rapid.Int64Range(1, 400*24*3600).Draw(t, "lifetime")) * time.Second
		start := time.Unix(rapid.Int64Range(0, 4e9).Draw(t, "start"), 0)
		off := rapid.Int64Range(-3, 3).Draw(t, "off")
		err := policy.Decide(who, p, policy.Content{
			Names: dns("a"), PublicKey: key, NotBefore: start,
			NotAfter: start.Add(p.Lifetime + time.Duration(off)*time.Second),
		})
		if (err == nil) != (off == -1) {
			t.Fatalf("lifetime %v, %d seconds off: %v", p.Lifetime, off, err)
		}
	})
}

func BenchmarkDecide(b *testing.B) {
	p := profile(b, "server")
	names := dns("a.internal", "b.internal", "*.c.internal")
	who, c := identity.Caller{Names: names}, sound(b, p, names...)
	for b.Loop() {
		if err := policy.Decide(who, p, c); err != nil {
			b.Fatal(err)
		}
	}
}
