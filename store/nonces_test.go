package store_test

import (
	"math"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

func nonceKey(t testing.TB, s *store.Store) acmeserver.NonceKey {
	t.Helper()
	key, err := s.NonceKey(t.Context())
	must(t, err)
	if key == (acmeserver.NonceKey{}) {
		t.Fatal("an empty nonce key")
	}
	return key
}

func wantRedeemed(
	t testing.TB, s *store.Store, key acmeserver.NonceKey, n acmeserver.NonceID, want bool,
) {
	t.Helper()
	first, err := s.RedeemNonce(t.Context(), key, n)
	must(t, err)
	if first != want {
		t.Errorf("nonce %d/%d: first is %v", n.Source, n.Count, first)
	}
}

func TestNonceOnce(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		key := nonceKey(t, stores[0])
		if nonceKey(t, stores[1]) != key {
			t.Fatal("two keys on one database")
		}
		var all []acmeserver.NonceID
		for _, source := range []uint64{0, 1, math.MaxInt64, 1 << 63, math.MaxUint64} {
			for _, count := range []uint64{0, 1, 63, 64, 4095, 4096, 1 << 63, math.MaxUint64} {
				all = append(all, acmeserver.NonceID{Source: source, Count: count, Minted: noon})
			}
		}
		for _, n := range all {
			wantRedeemed(t, stores[0], key, n, true)
		}
		for _, n := range all {
			wantRedeemed(t, stores[1], key, n, false)
			wantRedeemed(t, stores[0], key, n, false)
		}
		foreign := key
		foreign.ID[0]++
		n := acmeserver.NonceID{Source: 1, Count: 2, Minted: noon}
		_, err := stores[0].RedeemNonce(t.Context(), foreign, n)
		wantErr(t, "another key", err, acmeserver.ErrNonceKeyVoid)
		wantRedeemed(t, stores[0], key, n, true)
	})
}

func TestNonceRace(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		key := nonceKey(t, stores[0])
		var won [5]atomic.Int32
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				n := acmeserver.NonceID{Source: 7, Count: uint64(i % 5), Minted: noon}
				first, err := stores[i/5%2].RedeemNonce(t.Context(), key, n)
				if err != nil {
					t.Error(err)
				}
				if first {
					won[i%5].Add(1)
				}
			})
		}
		wg.Wait()
		for i := range won {
			if won[i].Load() != 1 {
				t.Errorf("nonce %d was first %d times", i, won[i].Load())
			}
		}
	})
}

func TestCleanNonces(t *testing.T) {
	eachPair(t, func(t *testing.T, stores [2]*store.Store) {
		s, key := stores[0], nonceKey(t, stores[0])
		nonce := func(count int, age time.Duration) acmeserver.NonceID {
			return acmeserver.NonceID{Source: 7, Count: uint64(count), Minted: noon.Add(-age)}
		}
		const hour = time.Hour
		wantRedeemed(t, s, key, nonce(1, 2*hour), true)
		wantRedeemed(t, s, key, nonce(2, hour), true)
		wantRedeemed(t, s, key, nonce(5000, 2*hour), true)
		must(t, stores[1].CleanNonces(t.Context(), noon.Add(-hour)))
		wantRedeemed(t, s, key, nonce(1, 2*hour), false)    // forgotten, but known to be too old
		wantRedeemed(t, s, key, nonce(3, 2*hour), false)    // likewise
		wantRedeemed(t, s, key, nonce(5000, 2*hour), false) // likewise
		wantRedeemed(t, s, key, nonce(2, hour), false)      // kept
		wantRedeemed(t, s, key, nonce(4, hour), true)
		must(t, s.CleanNonces(t.Context(), noon.Add(-9*hour))) // the horizon does not go back
		wantRedeemed(t, s, key, nonce(5000, 2*hour), false)
		if nonceKey(t, s) != key {
			t.Error("cleaning changed the key")
		}
	})
}

// never #36: cleaning is done in batches, and ends.
func TestCleanManyNonces(t *testing.T) {
	s := storetest.Postgres(t)
	key := nonceKey(t, s)
	db := storetest.DB(t, s)
	_, err := db.Exec(`INSERT INTO used_nonces (source, count, minted)
		SELECT n % 3, n, $1 FROM generate_series(1, 10001) AS g (n)`, noon.UnixMicro())
	must(t, err)
	live := acmeserver.NonceID{Source: 1, Minted: noon.Add(time.Second)}
	wantRedeemed(t, s, key, live, true)
	must(t, s.CleanNonces(t.Context(), live.Minted))
	var left int
	must(t, db.QueryRow(`SELECT count(*) FROM used_nonces`).Scan(&left))
	if left != 1 {
		t.Errorf("%d left, want 1", left)
	}
	wantRedeemed(t, s, key, live, false)
}

func TestRestartVoidsNoncesOnSQLite(t *testing.T) {
	s := storetest.SQLite(t)
	key := nonceKey(t, s)
	n := acmeserver.NonceID{Source: 7, Count: 1, Minted: noon}
	wantRedeemed(t, s, key, n, true)
	s = storetest.Reopen(t, s)
	_, err := s.RedeemNonce(t.Context(), key, n)
	wantErr(t, "the old key", err, acmeserver.ErrNonceKeyVoid)
	if nonceKey(t, s) == key {
		t.Error("the key came back, but not what was used with it")
	}
}

func TestNoncesOutliveARestartOnPostgres(t *testing.T) {
	s := storetest.Postgres(t)
	key := nonceKey(t, s)
	n := acmeserver.NonceID{Source: 7, Count: 1, Minted: noon}
	wantRedeemed(t, s, key, n, true)
	s = storetest.Reopen(t, s)
	if nonceKey(t, s) != key {
		t.Error("a new key, although the database remembers")
	}
	wantRedeemed(t, s, key, n, false)
}
