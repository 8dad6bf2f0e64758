package store_test

import (
	"context"
	"errors"
	"sync"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity/signin"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// load issues until an error stops it, and remembers what was answered with nil.
type load struct {
	mu               sync.Mutex
	promised, issued []ca.Serial
	writers          sync.WaitGroup
}

func startLoad(t *testing.T, s *store.Store, writers int) *load {
	t.Helper()
	l := new(load)
	for range writers {
		l.writers.Go(func() {
			for {
				if err := l.one(t, s); err != nil {
					if !fault.Is(err, fault.Unavailable) {
						t.Errorf("under load: %v", err)
					}
					return
				}
			}
		})
	}
	return l
}

func (l *load) one(t *testing.T, s *store.Store) error {
	p := promise(t, "", "a.internal")
	if err := s.Promise(t.Context(), p, entry(audit.Promised, p)); err != nil {
		return err
	}
	l.mu.Lock()
	l.promised = append(l.promised, p.Serial)
	l.mu.Unlock()
	if err := s.Record(t.Context(), p.Serial, []byte("DER"), noon, entry(audit.Issued, p)); err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.issued = append(l.issued, p.Serial)
	return nil
}

func (l *load) answered() int {
	l.mu.Lock()
	defer l.mu.Unlock()
	return len(l.issued)
}

// check finds everything that was answered, and every row with its entries.
func (l *load) check(t *testing.T, s *store.Store) {
	t.Helper()
	for _, serial := range l.promised {
		_, err := s.CertificateBySerial(t.Context(), serial)
		must(t, err)
	}
	for _, serial := range l.issued {
		c, err := s.CertificateBySerial(t.Context(), serial)
		must(t, err)
		if c.State != ca.Issued || string(c.DER) != "DER" {
			t.Fatalf("answered as issued, but is %+v", c)
		}
	}
	var rows, issued, promises, issues int
	must(t, storetest.DB(t, s).QueryRow(`SELECT count(*), count(der) FROM certificates`).
		Scan(&rows, &issued))
	for _, e := range storetest.Entries(t, s) {
		switch e.Kind {
		case audit.Promised:
			promises++
		case audit.Issued:
			issues++
		}
	}
	if rows != promises || issued != issues {
		t.Errorf("%d rows, %d issued, but %d and %d entries", rows, issued, promises, issues)
	}
	t.Logf("answered: %d promises, %d certificates; kept: %d, %d",
		len(l.promised), len(l.issued), rows, issued)
}

// never #11: what was answered is there after a crash of the database in the middle of everything,
// even if its administrator does not care for that as we do.
func TestNoAnsweredWriteIsLost(t *testing.T) {
	server := storetest.NewServer(t, true)
	s := storetest.Open(t, store.Config{DatabaseURL: server.Database(t), Migrate: true})
	_, err := storetest.DB(t, s).Exec(`DO $$ BEGIN EXECUTE
		format('ALTER DATABASE %I SET synchronous_commit = off', current_database()); END $$`)
	must(t, err)
	s = storetest.Reopen(t, s)
	key := nonceKey(t, s)
	nonce := acmeserver.NonceID{Source: 1, Count: 1, Minted: noon}
	wantRedeemed(t, s, key, nonce, true)

	for range 2 {
		l := startLoad(t, s, 32)
		eventually(t, "a few are issued", func() bool { return l.answered() > 200 })
		server.Stop(t)
		l.writers.Wait()
		server.Start(t)
		eventually(t, "the store works again", func() bool { return s.Ping(t.Context()) == nil })
		l.check(t, s)
	}
	eventually(t, "a connection from before the crash is given up", func() bool {
		_, err = s.RedeemNonce(t.Context(), key, nonce)
		return !fault.Is(err, fault.Unavailable)
	})
	wantErr(t, "a nonce from before the crash", err, acmeserver.ErrNonceKeyVoid)
	fresh := nonceKey(t, s)
	if fresh == key {
		t.Error("the database kept the key and forgot the nonces")
	}
	wantRedeemed(t, s, fresh, nonce, true)
}

// everything calls each method once. What it answers with a working engine does not matter here.
func everything(ctx context.Context, t *testing.T, s *store.Store) map[string]func() error {
	p := promise(t, "")
	query := func(f func() (any, error)) func() error {
		return func() error { _, err := f(); return err }
	}
	return map[string]func() error{
		"Ping":    func() error { return s.Ping(ctx) },
		"Promise": func() error { return s.Promise(ctx, p) },
		"Record":  func() error { return s.Record(ctx, p.Serial, []byte("DER"), noon) },
		"Void":    func() error { return s.Void(ctx, p.Serial, noon) },
		"Revoke":  func() error { return s.Revoke(ctx, p.Serial, ca.Revocation{At: noon}) },
		"Log":     func() error { return s.Log(ctx, entry(audit.Refused, p)) },
		"PublishCRL": func() error {
			return s.PublishCRL(ctx, ca.CRL{Number: 1, DER: []byte("DER")})
		},
		"AddIssuers":          func() error { return s.AddIssuers(ctx, nil) },
		"AddToken":            func() error { return s.AddToken(ctx, signin.Token{}) },
		"CreateOrder":         func() error { return s.CreateOrder(ctx, order("a")) },
		"UpdateOrder":         func() error { return s.UpdateOrder(ctx, order("a")) },
		"CleanOrders":         query(func() (any, error) { return s.CleanOrders(ctx, noon, 1) }),
		"CreateAccount":       query(func() (any, error) { _, _, err := s.CreateAccount(ctx, account("k")); return nil, err }),
		"UpdateAccount":       func() error { return s.UpdateAccount(ctx, account("k")) },
		"NonceKey":            query(func() (any, error) { return s.NonceKey(ctx) }),
		"RedeemNonce":         query(func() (any, error) { return s.RedeemNonce(ctx, acmeserver.NonceKey{}, acmeserver.NonceID{}) }),
		"CleanNonces":         func() error { return s.CleanNonces(ctx, noon) },
		"Unsettled":           query(func() (any, error) { return s.Unsettled(ctx, noon, 1) }),
		"CertificateByRef":    query(func() (any, error) { return s.CertificateByRef(ctx, "r") }),
		"CertificateBySerial": query(func() (any, error) { return s.CertificateBySerial(ctx, p.Serial) }),
		"Certificates":        query(func() (any, error) { return s.Certificates(ctx, ca.Query{}, noon) }),
		"Revoked":             query(func() (any, error) { return s.Revoked(ctx, "i", 0, noon) }),
		"StaleShards":         query(func() (any, error) { return s.StaleShards(ctx, noon) }),
		"CRL":                 query(func() (any, error) { return s.CRL(ctx, ca.Shard{}) }),
		"Issuers":             query(func() (any, error) { return s.Issuers(ctx) }),
		"LatestEntry":         query(func() (any, error) { return s.LatestEntry(ctx) }),
		"Account":             query(func() (any, error) { return s.Account(ctx, "a") }),
		"AccountByThumbprint": query(func() (any, error) { return s.AccountByThumbprint(ctx, "k") }),
		"Order":               query(func() (any, error) { return s.Order(ctx, "o") }),
		"Orders":              query(func() (any, error) { return s.Orders(ctx, "a", "", noon, 1) }),
		"ListAccounts":        query(func() (any, error) { return s.ListAccounts(ctx, acmeserver.AccountQuery{}) }),
		"ListOrders":          query(func() (any, error) { return s.ListOrders(ctx, "a", nil, 1) }),
		"AddEABKey":           query(func() (any, error) { return s.AddEABKey(ctx, eabKey("k")) }),
		"EABKey":              query(func() (any, error) { return s.EABKey(ctx, "k") }),
		"ListEABKeys":         query(func() (any, error) { return s.ListEABKeys(ctx, "", nil, 1) }),
		"RevokeEABKey":        func() error { return s.RevokeEABKey(ctx, "k", noon) },
		"AddGrant":            query(func() (any, error) { return s.AddGrant(ctx, grantTo(eabKey("k"), "g")) }),
		"Grant":               query(func() (any, error) { return s.Grant(ctx, "g") }),
		"GrantsOf":            query(func() (any, error) { return s.GrantsOf(ctx, account("k"), noon) }),
		"ListGrants":          query(func() (any, error) { return s.ListGrants(ctx, acmeserver.GrantQuery{}) }),
		"RemoveGrant":         func() error { return s.RemoveGrant(ctx, "g") },
		"CleanGrants":         query(func() (any, error) { return s.CleanGrants(ctx, noon, 1) }),
		"SealedSecret":        query(func() (any, error) { return s.SealedSecret(ctx) }),
		"KeepSealedSecret":    query(func() (any, error) { return s.KeepSealedSecret(ctx, []byte{1}) }),
		"TokenByHash":         query(func() (any, error) { return s.TokenByHash(ctx, [32]byte{}) }),
		"HasToken":            query(func() (any, error) { return s.HasToken(ctx, "r") }),
		"Exclusive": func() error {
			return s.Exclusive(ctx, "x", func(context.Context) error { return nil })
		},
	}
}

func TestPostgresAway(t *testing.T) {
	server := storetest.NewServer(t, false)
	c := store.Config{DatabaseURL: server.Database(t), Migrate: true}
	s := storetest.Open(t, c)
	inside := make(chan struct{})
	guarded := make(chan error, 1)
	go func() {
		guarded <- s.Exclusive(t.Context(), "worker", func(ctx context.Context) error {
			close(inside)
			<-ctx.Done()
			return ctx.Err()
		})
	}()
	<-inside
	server.Stop(t)
	wantKind(t, "the worker", <-guarded, fault.Unavailable)
	for name, call := range everything(t.Context(), t, s) {
		begun := time.Now()
		err := call()
		wantKind(t, name, err, fault.Unavailable)
		if took := time.Since(begun); took > 5*time.Second {
			t.Errorf("%s took %v to say so", name, took)
		}
		var known *fault.Error
		if errors.As(err, &known); known.RetryAfter <= 0 {
			t.Errorf("%s does not say when to try again", name)
		}
	}
	_, err := store.Open(t.Context(), c)
	wantKind(t, "opening", err, fault.Unavailable)

	server.Start(t)
	eventually(t, "the store works again", func() bool { return s.Ping(t.Context()) == nil })
	for name, call := range everything(t.Context(), t, s) {
		if err := call(); fault.Is(err, fault.Unavailable) {
			t.Errorf("%s after the outage: %v", name, err)
		}
	}
}

// A server that takes requests and does not answer costs patience, but a limited amount.
func TestPostgresStuck(t *testing.T) {
	t.Parallel()
	s := storetest.Postgres(t)
	db := storetest.DB(t, s)
	tx, err := db.BeginTx(t.Context(), nil)
	must(t, err)
	_, err = tx.Exec(`LOCK TABLE certificates, issuers IN ACCESS EXCLUSIVE MODE`)
	must(t, err)

	p := promise(t, "")
	begun := time.Now()
	var wg sync.WaitGroup
	for name, call := range map[string]func() error{
		"a hot write": func() error { return s.Promise(context.Background(), p) },
		"a rare write": func() error {
			return s.AddIssuers(context.Background(), []ca.Issuer{{ID: "i", Certificate: []byte("DER")}})
		},
		"a read": func() error { _, err := s.Issuers(context.Background()); return err },
	} {
		wg.Go(func() {
			if err := call(); !fault.Is(err, fault.Unavailable) {
				t.Errorf("%s: got %v", name, err)
			}
		})
	}
	waiting := func() (n int) {
		must(t, db.QueryRow(`SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event_type = 'Lock'`).Scan(&n))
		return n
	}
	eventually(t, "all three are stuck", func() bool { return waiting() == 3 })
	brief, cancel := context.WithTimeout(context.Background(), 50*time.Millisecond)
	defer cancel()
	wantKind(t, "a caller in a hurry", s.Promise(brief, promise(t, "")), fault.Unavailable)
	if took := time.Since(begun); took > 10*time.Second {
		t.Errorf("a caller in a hurry waited for %v", took)
	}
	wg.Wait()
	if took := time.Since(begun); took > 25*time.Second {
		t.Errorf("giving up took %v", took)
	}
	eventually(t, "the server has given up, too", func() bool { return waiting() == 0 })
	must(t, tx.Rollback())
	_, err = s.CertificateBySerial(t.Context(), p.Serial)
	wantKind(t, "what failed", err, fault.NotFound)
	must(t, s.Promise(t.Context(), p))
}
