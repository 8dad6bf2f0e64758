package ca_test

import (
	"testing"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store/storetest"
)

// BenchmarkCheck is the road without the disk: decide, shape, check.
func BenchmarkCheck(b *testing.B) {
	c := catest.New(b, storetest.SQLite(b))
	req := request(b, "", "a.internal", "b.internal")
	for b.Loop() {
		must(b, c.Check(b.Context(), req))
	}
}

// BenchmarkIssue is the whole road on SQLite, with 64 callers sharing commits.
func BenchmarkIssue(b *testing.B) {
	c := catest.New(b, storetest.SQLite(b))
	csr := catest.CSR(b, catest.Key(b), "a.internal", "b.internal")
	b.SetParallelism(64)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			issue(b, c, ca.Request{Caller: anyone, CSR: csr})
		}
	})
}
