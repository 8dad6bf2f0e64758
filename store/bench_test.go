package store_test

import (
	"crypto/rand"
	"fmt"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// onDisk runs f with many callers at once on both engines, fsync on, until b is satisfied, and
// reports rates and the processor time of this process and of the server.
func onDisk(b *testing.B, f func(b *testing.B, s *store.Store, n uint64)) {
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("SQLite/%d", callers), func(b *testing.B) {
			run(b, storetest.SQLite(b), callers, func() time.Duration { return 0 }, f)
		})
	}
	for _, callers := range []int{1, 16, 64} {
		b.Run(fmt.Sprintf("Postgres/%d", callers), func(b *testing.B) {
			server := storetest.NewServer(b, true)
			s := storetest.Open(b, store.Config{DatabaseURL: server.Database(b), Migrate: true})
			run(b, s, callers, func() time.Duration { return server.CPU(b) }, f)
		})
	}
}

func run(
	b *testing.B, s *store.Store, callers int, theirs func() time.Duration,
	f func(b *testing.B, s *store.Store, n uint64),
) {
	var done atomic.Uint64
	var wg sync.WaitGroup
	ownBefore, theirsBefore := ownCPU(b), theirs()
	b.ResetTimer()
	for range callers {
		wg.Go(func() {
			for n := done.Add(1); n <= uint64(b.N); n = done.Add(1) {
				f(b, s, n)
			}
		})
	}
	wg.Wait()
	perOp := func(d time.Duration) float64 { return float64(d.Microseconds()) / float64(b.N) }
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), "ops/s")
	b.ReportMetric(perOp(ownCPU(b)-ownBefore), "own-cpu-µs/op")
	b.ReportMetric(perOp(theirs()-theirsBefore), "server-cpu-µs/op")
}

func ownCPU(b *testing.B) time.Duration {
	var usage syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &usage); err != nil {
		b.Fatal(err)
	}
	return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
}

// BenchmarkIssueWrites is what one certificate costs on disk: a promise and a record, each with its
// entry.
func BenchmarkIssueWrites(b *testing.B) {
	der := make([]byte, 900)
	rand.Read(der)
	onDisk(b, func(b *testing.B, s *store.Store, _ uint64) {
		p := promise(b, "acme/order/"+rand.Text(), "www.example.internal")
		if err := s.Promise(b.Context(), p, entry(audit.Promised, p)); err != nil {
			b.Error(err)
		}
		if err := s.Record(b.Context(), p.Serial, der, noon, entry(audit.Issued, p)); err != nil {
			b.Error(err)
		}
	})
}

// BenchmarkRedeemNonce is what every request of an ACME client costs.
func BenchmarkRedeemNonce(b *testing.B) {
	var keys sync.Map // store → its key
	onDisk(b, func(b *testing.B, s *store.Store, n uint64) {
		key, _ := keys.LoadOrStore(s, sync.OnceValue(func() acmeserver.NonceKey {
			return nonceKey(b, s)
		}))
		nonce := acmeserver.NonceID{Source: 1, Count: n, Minted: noon}
		first, err := s.RedeemNonce(b.Context(), key.(func() acmeserver.NonceKey)(), nonce)
		if err != nil || !first {
			b.Errorf("redeemed %v: %v", first, err)
		}
	})
}

// BenchmarkOrder reads an order with its certificate.
func BenchmarkOrder(b *testing.B) {
	var once sync.Map // store → its order
	onDisk(b, func(b *testing.B, s *store.Store, _ uint64) {
		made, _ := once.LoadOrStore(s, sync.OnceValue(func() acmeserver.Order {
			o := order("account")
			must(b, s.CreateOrder(b.Context(), o))
			issue(b, s, promise(b, o.Ref(), "a.internal"))
			return o
		}))
		if _, err := s.Order(b.Context(), made.(func() acmeserver.Order)().ID); err != nil {
			b.Error(err)
		}
	})
}
