package lint

import (
	"fmt"

	zx509 "github.com/zmap/zcrypto/x509"
	"github.com/zmap/zlint/v3/lint"
)

// MaxShapes is for the test of the bound.
const MaxShapes = maxShapes

// Proven counts the remembered shapes.
func (l *Linter) Proven() int { return len(l.proven) }

// Add makes a Linter run one more lint.
func (l *Linter) Add(li *lint.CertificateLint) { l.lints = append(l.lints, li) }

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
