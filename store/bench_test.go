package store_test

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// BenchmarkIssueWrites is what one certificate costs on disk: a promise and a record, each with its
// entry, durable (fsync on).
func BenchmarkIssueWrites(b *testing.B) {
	engines := map[string]func(b *testing.B) *store.Store{
		"SQLite": func(b *testing.B) *store.Store { return storetest.SQLite(b) },
		"Postgres": func(b *testing.B) *store.Store {
			url := storetest.NewServer(b, true).Database(b)
			return storetest.Open(b, store.Config{DatabaseURL: url, Migrate: true})
		},
	}
	for _, engine := range []string{"SQLite", "Postgres"} {
		for _, callers := range []int{1, 16, 64} {
			b.Run(fmt.Sprintf("%s/%d", engine, callers), func(b *testing.B) {
				issueWrites(b, engines[engine](b), callers)
			})
		}
	}
}

func issueWrites(b *testing.B, s *store.Store, callers int) {
	der := make([]byte, 900)
	rand.Read(der)
	var left atomic.Int64
	left.Store(int64(b.N))
	var wg sync.WaitGroup
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for left.Add(-1) >= 0 {
				p := promise(b, "acme/order/"+rand.Text(), "www.example.internal")
				if err := s.Promise(b.Context(), p, entry(audit.Promised, p)); err != nil {
					b.Error(err)
					return
				}
				err := s.Record(b.Context(), p.Serial, der, noon, entry(audit.Issued, p))
				if err != nil {
					b.Error(err)
					return
				}
			}
		})
	}
	wg.Wait()
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "certs/s")
}
