package lint_test

import (
	"testing"

	zx509 "github.com/zmap/zcrypto/x509"

	"github.com/mayflyca/mayfly/ca/internal/lint"
)

var kinds = []string{"P-256", "RSA-2048"}

func benchmark(b *testing.B, check func(der []byte) error) {
	for _, sort := range kinds {
		b.Run(sort, func(b *testing.B) {
			d := good(b)
			d.key = key(b, sort)
			der := d.der(b)
			if err := check(der); err != nil {
				b.Fatal(err)
			}
			b.ReportAllocs()
			for b.Loop() {
				if err := check(der); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkParse is what reading a draft costs before the first lint runs.
func BenchmarkParse(b *testing.B) {
	benchmark(b, func(der []byte) error {
		_, err := zx509.ParseCertificate(der)
		return err
	})
}

// BenchmarkFull is every lint, reading included.
func BenchmarkFull(b *testing.B) { benchmark(b, lint.Full) }

// BenchmarkFirstOfShape is a draft whose shape has to be proven.
func BenchmarkFirstOfShape(b *testing.B) {
	benchmark(b, func(der []byte) error { return newLinter(b).Check(der) })
}

// BenchmarkKnownShape is every later one.
func BenchmarkKnownShape(b *testing.B) { benchmark(b, newLinter(b).Check) }
