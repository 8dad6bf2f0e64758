package lint

import (
	"fmt"
	"slices"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"

	"github.com/mayflyca/mayfly/policy"
)

// MaxShapes is for the test of the bound.
const MaxShapes = maxShapes

// Proven counts the remembered shapes.
func (l *Linter) Proven() int { return len(l.proven) }

// Fill makes a Linter remember n shapes.
func (l *Linter) Fill(n int) {
	for i := range n {
		l.remember(proof{era: -1 - i}, nil)
	}
}

// Add makes a Linter that runs one more lint.
func Add(profiles []policy.Profile, extra *lint.CertificateLint) *Linter {
	return newLinter(profiles, append(slices.Clone(mustLints()), extra))
}

// Harmless are the lints that may warn.
var Harmless = harmless

// Shape gives what a draft has in common with others.
func Shape(der []byte) (string, error) {
	d, err := read(der)
	if err != nil {
		return "", err
	}
	return string(d.shape), nil
}

// Lints are the names of all lints.
func Lints() []string {
	var names []string
	for _, li := range mustLints() {
		names = append(names, li.Name)
	}
	return names
}

// Verdicts gives what each lint says of a certificate, and which ones block it.
func Verdicts(der []byte) (all map[string]lint.LintStatus, blocking []string, err error) {
	c, err := zx509.ParseCertificate(der)
	if err != nil {
		return nil, nil, fmt.Errorf("parsing: %w", err)
	}
	all, config := map[string]lint.LintStatus{}, lint.NewEmptyConfig()
	for _, li := range mustLints() {
		result := li.Execute(c, config)
		all[li.Name] = result.Status
		if verdict(li, result) != nil {
			blocking = append(blocking, li.Name)
		}
	}
	return all, blocking, nil
}

func mustLints() []*lint.CertificateLint {
	lints, err := rfcAndCommunity()
	if err != nil {
		panic(err)
	}
	return lints
}
