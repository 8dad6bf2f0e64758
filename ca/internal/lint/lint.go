// Package lint checks the draft of a certificate before the real key signs it.
//
// A draft is taken apart into its content, all that one request can influence (serial, validity,
// subject, names, public key and its identifier), and its shape, everything else. The first draft of
// a shape goes through every lint that zlint has for RFC 5280 and its neighbours, and through the
// rules that our own certificates follow. Later drafts of that shape differ from a proven one in
// content only, and the content of every draft is held against a grammar that is narrower than what
// any lint accepts: DER times in the right form, and the policy's own verdict on the names, common
// name, key and validity that the draft's octets say. TestContentLints proves, lint by lint, which
// ones look at content at all, and that the grammar refuses whatever they refuse.
package lint

import (
	"fmt"
	"slices"
	"sync"
	"time"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
	_ "github.com/zmap/zlint/v3/lints/community" // registers its lints
	_ "github.com/zmap/zlint/v3/lints/rfc"       // registers its lints

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// harmless are the lints whose warnings and notices are let pass. Errors never are.
var harmless = []string{
	// An internal name may well look like a public suffix; nobody outside sees it.
	"n_san_iana_pub_suffix_empty",
	// RFC 5280 section 4.1.2.4 has every certificate repeat its issuer's name as it is, so that only a
	// new issuer could mend these.
	"w_issuer_dn_leading_whitespace", "w_issuer_dn_trailing_whitespace", "w_multiple_issuer_rdn",
}

// leftOut are the lints that do not run.
var leftOut = []string{
	// It searches a list of public CA keys, none of which can be ours, and alone costs more than
	// everything else on the road.
	"e_cert_issued_by_compromised_emudhra_ca",
	// It takes a URI's host and port for a web address, so that it refuses http://a.b/ and lets
	// http://localhost:80/ pass. The policy holds the host to RFC 5280 (identity.ParseName).
	"e_ext_san_uri_host_not_fqdn_or_ip",
}

// maxShapes bounds what a Linter remembers. A CA has a few dozen shapes: profile × kind of key ×
// types of name × CRL shard.
const maxShapes = 4096

// Linter checks drafts. Safe for concurrent use.
type Linter struct {
	profiles []policy.Profile
	lints    []*lint.CertificateLint
	eras     []time.Time // when a lint begins or ceases to matter, sorted

	mu     sync.RWMutex
	proven map[proof][]policy.Profile // which profiles have this shape
}

// proof is what one run of all lints settles: a shape, at a time when these lints are in force.
type proof struct {
	shape string
	era   int
}

// New makes a Linter for drafts of these profiles.
func New(profiles []policy.Profile) (*Linter, error) {
	lints, err := rfcAndCommunity()
	if err != nil {
		return nil, err
	}
	return newLinter(profiles, lints), nil
}

func newLinter(profiles []policy.Profile, lints []*lint.CertificateLint) *Linter {
	l := &Linter{profiles: profiles, lints: lints, proven: map[proof][]policy.Profile{}}
	for _, li := range lints {
		l.eras = append(l.eras, li.EffectiveDate, li.IneffectiveDate)
	}
	slices.SortFunc(l.eras, time.Time.Compare)
	return l
}

var rfcAndCommunity = sync.OnceValues(func() ([]*lint.CertificateLint, error) {
	registry, err := lint.GlobalRegistry().Filter(lint.FilterOptions{
		IncludeSources: lint.SourceList{
			lint.RFC3279, lint.RFC5280, lint.RFC5480, lint.RFC5891, lint.RFC6960, lint.RFC6962,
			lint.RFC8813, lint.Community,
		},
		ExcludeNames: leftOut,
	})
	if err != nil {
		return nil, fmt.Errorf("choosing the lints: %w", err)
	}
	return registry.CertificateLints().Lints(), nil
})

// Check says whether a real key may sign what is in the draft (DER), which a throwaway key has
// signed. An error is fault.Internal, since it is the road that made the draft; it names the lint or
// the field and what was found.
func (l *Linter) Check(der []byte) error {
	d, err := read(der)
	if err != nil {
		return refuse(err)
	}
	p := proof{shape: string(d.shape), era: l.era(d.content.NotBefore)}
	l.mu.RLock()
	profiles, isProven := l.proven[p]
	l.mu.RUnlock()
	if !isProven {
		if err := run(l.lints, der); err != nil {
			return refuse(err)
		}
		if profiles, err = l.checkForm(der); err != nil {
			return refuse(err)
		}
	}
	if err := d.check(profiles); err != nil {
		return refuse(err)
	}
	if !isProven {
		l.remember(p, profiles)
	}
	return nil
}

// check asks the policy whether the content may be issued under one of the profiles, whoever wants
// it (never #15: the verdict is on what the octets say).
func (d *draft) check(profiles []policy.Profile) (err error) {
	for _, p := range profiles {
		if err = policy.Decide(identity.Caller{AnyName: true}, p, d.content); err == nil {
			return nil
		}
	}
	return fmt.Errorf("asking the policy about the draft's content: %w", err)
}

func refuse(err error) error {
	return fault.Wrap(fault.Internal, err, "the draft of the certificate is not fit to be signed")
}

// era counts the dates of lints that have passed at t: between two of them all drafts meet the
// same lints.
func (l *Linter) era(t time.Time) int {
	era, _ := slices.BinarySearchFunc(l.eras, t, func(date, t time.Time) int {
		if date.After(t) {
			return 1
		}
		return -1
	})
	return era
}

func (l *Linter) remember(p proof, profiles []policy.Profile) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.proven) >= maxShapes {
		clear(l.proven)
	}
	l.proven[p] = profiles
}

// Full runs every lint over a certificate (DER) and nothing else. The lints' dates are compared with
// the certificate's own notBefore.
func Full(der []byte) error {
	lints, err := rfcAndCommunity()
	if err != nil {
		return err
	}
	return run(lints, der)
}

// run gives an error for the first lint that the certificate fails, and for one that panics.
func run(lints []*lint.CertificateLint, der []byte) (err error) {
	defer func() {
		if cause := recover(); cause != nil {
			err = fmt.Errorf("the lints panicked: %v", cause)
		}
	}()
	c, err := zx509.ParseCertificate(der)
	if err != nil {
		return fmt.Errorf("reading the certificate for the lints: %w", err)
	}
	config := lint.NewEmptyConfig()
	for _, li := range lints {
		if err := verdict(li, li.Execute(c, config)); err != nil {
			return err
		}
	}
	return nil
}

func verdict(li *lint.CertificateLint, result *lint.LintResult) error {
	switch result.Status {
	case lint.NA, lint.NE, lint.Pass:
		return nil
	case lint.Notice, lint.Warn:
		if slices.Contains(harmless, li.Name) {
			return nil
		}
	}
	text := fmt.Sprintf("lint %s: %s: %s", li.Name, result.Status, li.Description)
	if result.Details != "" {
		text += " (" + result.Details + ")"
	}
	return fmt.Errorf("%s [%s]", text, li.Citation)
}
