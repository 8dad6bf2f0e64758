package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"errors"
	"log/slog"
	"math/big"
	"slices"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/identity"
)

// littleCA signs what it is asked, with the shape of the real one's certificates: 24 hours of which
// one lies in the past. The real road is walked by the end-to-end tests; this one obeys a fake clock.
type littleCA struct {
	key    *ecdsa.PrivateKey
	down   atomic.Bool
	issued atomic.Int64
	tried  atomic.Int64
}

func newLittleCA(t *testing.T) *littleCA {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	return &littleCA{key: key}
}

func (l *littleCA) Issue(_ context.Context, req ca.Request) (*ca.Certificate, error) {
	l.tried.Add(1)
	if l.down.Load() {
		return nil, errors.New("the database is away")
	}
	csr, err := x509.ParseCertificateRequest(req.CSR)
	if err != nil {
		return nil, err
	}
	begin := time.Now().Add(-time.Hour)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(l.issued.Add(1)), DNSNames: csr.DNSNames, IPAddresses: csr.IPAddresses,
		NotBefore: begin, NotAfter: begin.Add(24*time.Hour - time.Second),
	}
	parent := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "CA"}}
	der, err := x509.CreateCertificate(rand.Reader, template, parent, csr.PublicKey, l.key)
	return &ca.Certificate{DER: der}, err
}

func (l *littleCA) Chain(string) [][]byte { return [][]byte{{1}} }

func newOwn(t *testing.T, c *littleCA) *ownCertificate {
	t.Helper()
	own := &ownCertificate{
		ca: c, now: time.Now, log: slog.New(slog.DiscardHandler),
		names: []identity.Name{
			{Type: identity.DNS, Value: "localhost"},
			{Type: identity.IP, Value: "127.0.0.1"},
			{Type: identity.IP, Value: "::1"},
		},
	}
	if err := own.renew(t.Context()); err != nil {
		t.Fatal(err)
	}
	return own
}

// never #44: three lifetimes go by, and at every minute of them the door shows a certificate that
// is valid for long enough, without a restart.
func TestOwnCertificateRenewsItself(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLittleCA(t)
		own := newOwn(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- own.Run(ctx) }()
		show := own.tlsConfig().GetCertificate
		serials := map[string]bool{}
		for range 3 * 24 * 60 {
			<-time.After(time.Minute)
			shown, err := show(&tls.ClientHelloInfo{})
			if err != nil {
				t.Fatal(err)
			}
			if left := time.Until(shown.Leaf.NotAfter); left < 7*time.Hour {
				t.Fatalf("only %s left", left)
			}
			if err := own.Ready(ctx); err != nil {
				t.Fatal(err)
			}
			serials[shown.Leaf.SerialNumber.String()] = true
		}
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if len(serials) < 4 || len(serials) > 6 {
			t.Errorf("%d certificates in three days", len(serials))
		}
	})
}

// While the CA cannot issue, the old certificate stays in service, /readyz says so in time, and the
// first chance is taken.
func TestOwnCertificateOutlivesAnOutage(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c := newLittleCA(t)
		own := newOwn(t, c)
		ctx, cancel := context.WithCancel(t.Context())
		done := make(chan error)
		go func() { done <- own.Run(ctx) }()
		synctest.Wait()
		c.down.Store(true)
		<-time.After(17 * time.Hour) // 18 of the 24 are gone: due for two
		synctest.Wait()
		if own.current.Load() == nil || own.Ready(ctx) != nil {
			t.Errorf("not ready with six hours left: %v", own.Ready(ctx))
		}
		if tried := c.tried.Load(); tried < 60 || tried > 200 {
			t.Errorf("tried %d times in two hours", tried)
		}
		<-time.After(3 * time.Hour)
		if err := own.Ready(ctx); err == nil {
			t.Error("ready with three hours left and no renewal")
		}
		synctest.Wait()
		c.down.Store(false)
		<-time.After(2 * time.Minute)
		synctest.Wait()
		if err := own.Ready(ctx); err != nil || c.issued.Load() != 2 {
			t.Errorf("after the outage: %v, %d issued", err, c.issued.Load())
		}
		cancel()
		<-done
	})
}

func TestOwnCertificateNames(t *testing.T) {
	leaf := newOwn(t, newLittleCA(t)).current.Load().Leaf
	if !slices.Equal(leaf.DNSNames, []string{"localhost"}) || len(leaf.IPAddresses) != 2 {
		t.Errorf("names %v %v", leaf.DNSNames, leaf.IPAddresses)
	}
	if got := len(newOwn(t, newLittleCA(t)).current.Load().Certificate); got != 2 {
		t.Errorf("the chain has %d certificates", got)
	}
}
