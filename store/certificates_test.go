package store_test

import (
	"context"
	"crypto/rand"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

var noon = time.Date(2026, 11, 24, 12, 0, 0, 0, time.UTC)

// promise makes a promise that fits no other but by ref.
func promise(t testing.TB, ref string, names ...string) ca.Promise {
	t.Helper()
	serial, err := ca.NewSerial(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	p := ca.Promise{
		Serial: serial, Ref: ref, Issuer: "0123456789abcdef", Shard: 3, Profile: "server",
		Caller: "token/1", Owner: "team", SPKISHA256: [32]byte{1}, TBSSHA256: [32]byte{0xff},
		NotBefore: noon.Add(-time.Hour), NotAfter: noon.Add(23*time.Hour - time.Second),
		PromisedAt: noon,
	}
	for _, name := range names {
		p.Names = append(p.Names, identity.Name{Type: identity.DNS, Value: name})
	}
	return p
}

func entry(kind audit.Kind, p ca.Promise) audit.Entry {
	return audit.New(noon, kind, p.Caller, p.Serial.String(), map[string]string{"profile": p.Profile})
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func wantErr(t testing.TB, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Fatalf("%s: got %v, want %v", what, got, want)
	}
}

func wantKind(t testing.TB, what string, err error, want fault.Kind) {
	t.Helper()
	if !fault.Is(err, want) {
		t.Fatalf("%s: got %v, want kind %v", what, err, want)
	}
}

func TestRoadToIssued(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		p := promise(t, "api/1", "a.internal", "*.b.internal")
		must(t, s.Promise(ctx, p, entry(audit.Promised, p)))
		must(t, s.Record(ctx, p.Serial, []byte("DER"), noon, entry(audit.Issued, p)))
		s = storetest.Reopen(t, s)
		want := &ca.Certificate{Promise: p, State: ca.Issued, DER: []byte("DER"), IssuedAt: noon}
		got, err := s.CertificateByRef(ctx, "api/1")
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		got, err = s.CertificateBySerial(ctx, p.Serial)
		must(t, err)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		latest, err := s.LatestEntry(ctx)
		must(t, err)
		if !latest.Equal(noon) {
			t.Errorf("latest entry: got %v, want %v", latest, noon)
		}
	})
}

func TestOneReferenceOneWinner(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		var won atomic.Int32
		var wg sync.WaitGroup
		for range 50 {
			wg.Go(func() {
				err := s.Promise(t.Context(), promise(t, "acme/order/x", "a.internal"))
				switch {
				case err == nil:
					won.Add(1)
				case !errors.Is(err, ca.ErrRefTaken):
					t.Error(err)
				}
			})
		}
		wg.Wait()
		if won.Load() != 1 {
			t.Errorf("got %d winners, want 1", won.Load())
		}
	})
}

func TestTaken(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		p := promise(t, "api/1", "a.internal")
		must(t, s.Promise(ctx, p, entry(audit.Promised, p)))
		same := promise(t, "api/1", "b.internal")
		late := entry(audit.Promised, same)
		late.At = noon.Add(time.Hour)
		wantErr(t, "same reference", s.Promise(ctx, same, late), ca.ErrRefTaken)
		other := promise(t, "api/2", "b.internal")
		other.Serial = p.Serial
		wantErr(t, "same serial", s.Promise(ctx, other, late), ca.ErrSerialTaken)
		wantErr(t, "both", s.Promise(ctx, p, late), ca.ErrRefTaken)

		// What was refused left no name and no entry.
		found, err := s.Certificates(ctx, ca.Query{Name: "b.internal"}, noon)
		must(t, err)
		latest, err := s.LatestEntry(ctx)
		must(t, err)
		if len(found) > 0 || !latest.Equal(noon) {
			t.Errorf("a refused promise left traces: %v, %v", found, latest)
		}
		must(t, s.Promise(ctx, promise(t, ""), late)) // none is not a reference
		must(t, s.Promise(ctx, promise(t, ""), late))
	})
}

func TestRecordAndVoidNeedAPromise(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		p, q := promise(t, "api/1", "a.internal"), promise(t, "api/2")
		wantErr(t, "unknown", s.Record(ctx, p.Serial, []byte("x"), noon), ca.ErrNotPromised)
		wantErr(t, "unknown", s.Void(ctx, p.Serial, noon), ca.ErrNotPromised)
		must(t, s.Promise(ctx, p))
		must(t, s.Promise(ctx, q))
		must(t, s.Void(ctx, p.Serial, noon.Add(time.Minute), entry(audit.Voided, p)))
		must(t, s.Record(ctx, q.Serial, []byte("q"), noon))
		for _, serial := range []ca.Serial{p.Serial, q.Serial} {
			wantErr(t, "again", s.Record(ctx, serial, []byte("y"), noon), ca.ErrNotPromised)
			wantErr(t, "again", s.Void(ctx, serial, noon), ca.ErrNotPromised)
		}
		got, err := s.CertificateBySerial(ctx, p.Serial)
		must(t, err)
		end := &ca.Revocation{At: noon.Add(time.Minute)}
		if got.State != ca.Void || got.DER != nil || !cmp.Equal(got.Revocation, end) {
			t.Errorf("void row: got %+v", got)
		}
		_, err = s.CertificateByRef(ctx, "api/1")
		wantKind(t, "freed reference", err, fault.NotFound)
		must(t, s.Promise(ctx, promise(t, "api/1", "a.internal")))
	})
}

func TestUnsettled(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		var want []ca.Promise
		for i := range 5 {
			p := promise(t, "", "a.internal")
			p.PromisedAt = noon.Add(time.Duration(i) * time.Second)
			must(t, s.Promise(ctx, p))
			want = append(want, p)
		}
		must(t, s.Record(ctx, want[1].Serial, []byte("x"), noon))
		got, err := s.Unsettled(ctx, want[4].PromisedAt, 2)
		must(t, err)
		if diff := cmp.Diff([]ca.Promise{want[0], want[2]}, got); diff != "" {
			t.Error(diff)
		}
		got, err = s.Unsettled(ctx, want[4].PromisedAt, 10)
		must(t, err)
		if len(got) != 3 { // 0, 2, 3: the bound is exclusive
			t.Errorf("got %d, want 3", len(got))
		}
	})
}

// never #13: one form of a serial, whatever its octets.
func TestSerialsOfEveryShape(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		for _, text := range []string{
			"01", "80", "00ff", "0001020304050607", "7f000000000000000000000000000000",
			"ff000000000000000000000000000000", "00000000000000000000000000000100",
			"7fffffffffffffffffffffffffffffffffffffff", "0100000000000000000000000000000000000000",
		} {
			serial, err := ca.ParseSerial(text)
			must(t, err)
			p := promise(t, "ref/"+text, "n.internal")
			p.Serial = serial
			must(t, s.Promise(ctx, p))
			must(t, s.Record(ctx, serial, []byte(text), noon))
			must(t, s.Revoke(ctx, serial, ca.Revocation{At: noon, Reason: 1}))
			got, err := s.CertificateBySerial(ctx, serial)
			must(t, err)
			if got.Serial != serial || string(got.DER) != text {
				t.Errorf("serial %s came back as %s", serial, got.Serial)
			}
		}
		listed, err := s.Certificates(ctx, ca.Query{Name: "n.internal"}, noon)
		must(t, err)
		revoked, err := s.Revoked(ctx, "0123456789abcdef", 3, noon)
		must(t, err)
		if len(listed) != 9 || len(revoked) != 9 {
			t.Errorf("got %d listed and %d revoked, want 9", len(listed), len(revoked))
		}
	})
}

func TestAFailureHitsItsOwnerOnly(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx := t.Context()
		root := ca.Issuer{ID: "a", Kind: ca.Root, Parent: "a", Certificate: []byte("DER"), Shards: 1, CreatedAt: noon}
		must(t, s.AddIssuers(ctx, []ca.Issuer{root}))
		fresh := root
		fresh.ID = "b"
		var wg sync.WaitGroup
		for i := range 100 {
			wg.Go(func() {
				if i%10 == 0 { // fails in its second row: the first must not stay
					err := s.AddIssuers(ctx, []ca.Issuer{fresh, root})
					if !fault.Is(err, fault.Conflict) {
						t.Errorf("double issuer: got %v, want a conflict", err)
					}
					return
				}
				p := promise(t, "", "a.internal")
				if i%10 == 5 {
					p.Owner = "not \x00 text" // which Postgres refuses
					if err := s.Promise(ctx, p); err != nil && !fault.Is(err, fault.Invalid) {
						t.Error(err)
					}
					return
				}
				if err := s.Promise(ctx, p); err != nil {
					t.Error(err)
				}
				if err := s.Record(ctx, p.Serial, []byte("x"), noon); err != nil {
					t.Error(err)
				}
			})
		}
		wg.Wait()
		issuers, err := s.Issuers(ctx)
		must(t, err)
		if diff := cmp.Diff([]ca.Issuer{root}, issuers); diff != "" {
			t.Error(diff)
		}
		valid, err := s.Certificates(ctx, ca.Query{Status: ca.StatusValid}, noon)
		must(t, err)
		if len(valid) != 80 {
			t.Errorf("got %d certificates, want 80", len(valid))
		}
	})
}

func TestACallerMayLeave(t *testing.T) {
	storetest.Each(t, func(t *testing.T, s *store.Store) {
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		err := s.Promise(ctx, promise(t, ""))
		wantKind(t, "promise", err, fault.Unavailable)
		wantErr(t, "promise", err, context.Canceled)
		must(t, s.Promise(t.Context(), promise(t, "")))
	})
}
