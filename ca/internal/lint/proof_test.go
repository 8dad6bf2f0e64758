package lint_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/net/idna"
	"pgregory.net/rapid"

	zlint "github.com/zmap/zlint/v3/lint"

	"github.com/mayflyca/mayfly/ca/internal/lint"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// TestKnownShape draws drafts, good and bad, and compares a Linter that has seen many shapes with a
// new one, which runs every lint, and with every lint alone.
func TestKnownShape(t *testing.T) {
	warm := newLinter(t)
	said := map[string]map[string]zlint.LintStatus{} // what the lints said of the first of a shape
	accepted, later := 0, 0
	check := func(r *rapid.T, der []byte) {
		before := warm.Proven()
		refusal := warm.Check(der)
		if fresh := newLinter(t).Check(der); (fresh == nil) != (refusal == nil) {
			r.Fatalf("%v from a Linter that is new, %v from one that is not", fresh, refusal)
		}
		if refusal != nil {
			return
		}
		accepted++
		if warm.Proven() == before {
			later++
		}
		shape, err := lint.Shape(der)
		if err != nil {
			r.Fatal(err)
		}
		says, blocking, err := lint.Verdicts(der)
		if err != nil || len(blocking) > 0 {
			r.Fatalf("accepted, but %v object (%v)", blocking, err)
		}
		first, ok := said[shape]
		if !ok {
			said[shape] = says
			return
		}
		for name, status := range says {
			if status != first[name] && !slices.Contains(contentLints, name) && first[name] != zlint.NE &&
				status != zlint.NE {
				r.Fatalf("%s says %s of a draft, and %s of another of its shape", name, status, first[name])
			}
		}
	}
	rapid.Check(t, func(r *rapid.T) {
		kind := drawKind(r)
		for range 8 {
			check(r, drawDraft(r, t, kind).der(t))
		}
	})
	t.Logf("%d accepted, %d of them with a known shape", accepted, later)
	if accepted < 100 || later < 50 {
		t.Errorf("too few for a proof")
	}
}

// kind is what drafts of one shape share, if their content is good.
type kind struct {
	profile policy.Profile
	key     string
	names   []identity.NameType
	hasName bool
}

func drawKind(r *rapid.T) kind {
	return kind{
		profile: rapid.SampledFrom(policy.Builtin()).Draw(r, "profile"),
		key: rapid.SampledFrom([]string{
			"P-256", "P-256", "P-384", "P-521", "Ed25519", "RSA-2048", "RSA-3072",
		}).Draw(r, "key"),
		names: rapid.SliceOfN(rapid.SampledFrom([]identity.NameType{
			identity.DNS, identity.DNS, identity.DNS, identity.IP, identity.URI, identity.Email,
		}), 1, 3).Draw(r, "types"),
		hasName: rapid.Bool().Draw(r, "has a common name"),
	}
}

func drawDraft(r *rapid.T, t *testing.T, k kind) template {
	d := good(t)
	d.profile, d.key, d.begin, d.names = k.profile, key(t, k.key), drawTime(r), nil
	if !strings.HasPrefix(k.key, "RSA") {
		d.key = newKey(t, k.key)
	}
	for _, t := range k.names {
		d.names = append(d.names, drawName(r, t))
	}
	if k.hasName {
		d.commonName = rapid.SampledFrom(d.names).Draw(r, "common name").Value
		if rapid.IntRange(0, 4).Draw(r, "is hostile") == 0 {
			d.commonName = rapid.String().Draw(r, "hostile common name")
		}
	}
	return d
}

// drawTime prefers the edges: forms of time, leap days, dates of the lints.
func drawTime(r *rapid.T) time.Time {
	edge := rapid.SampledFrom([]string{
		"2026-11-24T12:00:00Z", "2026-11-24T12:00:00Z", "2049-12-31T00:00:00Z", "2050-01-01T00:00:00Z", "2028-02-29T00:00:00Z",
		"2027-02-28T12:00:00Z", "2100-02-28T12:00:00Z", "2020-08-01T00:00:00Z", "2008-05-01T00:00:00Z",
	}).Draw(r, "around")
	at, err := time.Parse(time.RFC3339, edge)
	if err != nil {
		panic(err)
	}
	return at.Add(time.Duration(rapid.IntRange(-90_000, 90_000).Draw(r, "seconds")) * time.Second)
}

func drawName(r *rapid.T, kind identity.NameType) identity.Name {
	dns := rapid.OneOf(
		rapid.StringMatching(`([a-z0-9]([a-z0-9-]{0,10}[a-z0-9])?\.){0,4}[a-z]{1,10}`),
		rapid.StringMatching(`(\*\.)?[a-z]{1,5}\.(com|co\.uk|internal|local|svc\.cluster\.local)`),
		rapid.StringMatching(`[a-z]{60,63}`),
		rapid.Custom(func(r *rapid.T) string {
			label := rapid.StringOfN(rapid.RuneFrom([]rune("aéüßжあ中א٣ñ·́-1")), 1, 8, -1).Draw(r, "label")
			ascii, err := idna.Punycode.ToASCII(label)
			if err != nil {
				return "xn--" + label
			}
			return ascii + ".example"
		}),
		rapid.StringMatching(`([a-z]{1,8}\.){1,40}[a-z]{1,8}`),
		rapid.StringMatching(`[a-zA-Z0-9*_. -]{1,70}`),
		rapid.String(),
	)
	var value string
	switch kind {
	case identity.DNS:
		value = dns.Draw(r, "dns")
	case identity.IP:
		value = rapid.OneOf(
			rapid.SampledFrom([]string{"10.0.0.1", "127.0.0.1", "2001:db8::1", "fe80::1", "::", "::1"}),
			rapid.StringN(4, 4, 4), rapid.StringN(16, 16, 16), rapid.String(),
		).Draw(r, "ip")
	case identity.URI:
		value = rapid.SampledFrom([]string{"spiffe://", "https://", "urn:", "http:", ""}).Draw(r, "scheme") +
			dns.Draw(r, "host") + rapid.SampledFrom([]string{"", "/ns/a", ":8443/x?y", "/%zz", "#f"}).Draw(r, "path")
	case identity.Email:
		value = rapid.OneOf(
			rapid.StringMatching(`[a-z.!#$%&'*+/=?^_|{}~-]{1,12}`), rapid.String(),
		).Draw(r, "local") + "@" + dns.Draw(r, "domain")
	}
	return identity.Name{Type: kind, Value: value}
}

// FuzzCheck feeds octets that may not even be a certificate, to a Linter with proven shapes.
func FuzzCheck(f *testing.F) {
	warm := newLinter(f)
	for _, sort := range []string{"P-256", "RSA-2048", "Ed25519"} {
		for _, commonName := range []string{"", "web.example.internal"} {
			d := good(f)
			d.key, d.commonName = key(f, sort), commonName
			der := d.der(f)
			if err := warm.Check(der); err != nil {
				f.Fatal(err)
			}
			f.Add(der)
		}
	}
	f.Fuzz(func(t *testing.T, der []byte) {
		if warm.Check(der) != nil {
			return
		}
		if err := lint.Full(der); err != nil {
			t.Errorf("accepted, but: %v", err)
		}
	})
}
