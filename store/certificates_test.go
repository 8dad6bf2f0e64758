package store_test

import (
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
