package lint_test

import (
	"testing"

	"github.com/mayflyca/mayfly/ca/internal/lint"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// TestEveryKind goes through profile × kind of key × with and without common name, and through the
// types of name.
func TestEveryKind(t *testing.T) {
	l := newLinter(t)
	for _, p := range policy.Builtin() {
		for _, sort := range []string{"P-256", "P-384", "P-521", "Ed25519", "RSA-2048", "RSA-3072"} {
			for _, commonName := range []string{"", "web.example.internal"} {
				d := good(t)
				d.profile, d.key, d.commonName = p, key(t, sort), commonName
				for range 2 { // as a first draft, as a later one
					der := d.der(t)
					if err := l.Check(der); err != nil {
						t.Errorf("%s, %s, CN %q: %v", p.Name, sort, commonName, err)
					}
					if err := lint.Full(der); err != nil {
						t.Errorf("%s, %s, CN %q: Full: %v", p.Name, sort, commonName, err)
					}
				}
			}
		}
	}
	if got := l.Proven(); got != 3*6*2 {
		t.Errorf("%d shapes, want 36", got)
	}
	d := good(t)
	d.profile = policy.Builtin()[1]
	d.names = []identity.Name{
		{Type: identity.DNS, Value: "*.example.internal"}, {Type: identity.DNS, Value: "localhost"},
		{Type: identity.DNS, Value: "xn--bcher-kva.example"}, {Type: identity.DNS, Value: "internal"},
		{Type: identity.IP, Value: "10.1.2.3"}, {Type: identity.IP, Value: "2001:db8::1"},
		{Type: identity.URI, Value: "spiffe://example.internal/ns/a"}, {Type: identity.URI, Value: "urn:a:b"},
		{Type: identity.Email, Value: "Ann.O'Hara@example.internal"},
	}
	for range 2 {
		if err := l.Check(d.der(t)); err != nil {
			t.Error(err)
		}
	}
}
