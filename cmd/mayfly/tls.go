package main

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"sync/atomic"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/identity"
)

// issuer is what the door's own certificate needs of the CA.
type issuer interface {
	Issue(ctx context.Context, req ca.Request) (*ca.Certificate, error)
	Chain(issuer string) [][]byte
}

// ownCertificate is the TLS certificate of our own door. It is issued over the same road as every
// other, its key lives only in memory, and it renews itself (never #44). Safe for concurrent use:
// only Run and renew store current, everybody may load it.
type ownCertificate struct {
	ca      issuer
	names   []identity.Name
	now     func() time.Time
	log     *slog.Logger
	current atomic.Pointer[tls.Certificate]
}

// tlsConfig is what the HTTPS door speaks: TLS 1.3, or 1.2 with forward secrecy and AEAD only.
func (o *ownCertificate) tlsConfig() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		CipherSuites: []uint16{
			tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256, tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384,
			tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256,
		},
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return o.current.Load(), nil
		},
	}
}

// renew gets a new certificate with a new key and puts it in place.
func (o *ownCertificate) renew(ctx context.Context) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return fmt.Errorf("making the key of our own certificate: %w", err)
	}
	var template x509.CertificateRequest
	for _, name := range o.names {
		if name.Type == identity.IP {
			template.IPAddresses = append(template.IPAddresses, net.ParseIP(name.Value))
		} else {
			template.DNSNames = append(template.DNSNames, name.Value)
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader, &template, key)
	if err != nil {
		return fmt.Errorf("making the request for our own certificate: %w", err)
	}
	issued, err := o.ca.Issue(ctx, ca.Request{
		Ref: "system/tls/" + rand.Text(), Caller: identity.System(o.names), Profile: "server", CSR: csr,
	})
	if err != nil {
		return fmt.Errorf("issuing our own certificate: %w", err)
	}
	leaf, err := x509.ParseCertificate(issued.DER)
	if err != nil {
		return fmt.Errorf("reading our own certificate: %w", err)
	}
	o.current.Store(&tls.Certificate{
		Certificate: append([][]byte{issued.DER}, o.ca.Chain(issued.Issuer)...),
		PrivateKey:  key,
		Leaf:        leaf,
	})
	return nil
}

// Between tries that failed. The wall clock is looked at once a minute at least, because timers
// stand still while a machine sleeps.
const (
	firstRetry = time.Second
	longestGap = time.Minute
)

// Run renews at two thirds of each lifetime until ctx ends. While it cannot, the old certificate
// stays in service.
func (o *ownCertificate) Run(ctx context.Context) error {
	retry := firstRetry
	for {
		wait := min(o.renewAt().Sub(o.now()), longestGap)
		if wait <= 0 {
			wait, retry = o.tryRenew(ctx, retry)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-time.After(wait):
		}
	}
}

// tryRenew says how long to wait before looking again, and the wait after the next failure. Even a
// success is followed by a pause: close to the issuer's own end, a certificate is due when it is new.
func (o *ownCertificate) tryRenew(ctx context.Context, retry time.Duration) (wait, next time.Duration) {
	err := o.renew(ctx)
	if err == nil {
		o.log.Info("renewed our own certificate", "not_after", o.expires())
		return longestGap, firstRetry
	}
	if ctx.Err() == nil {
		o.log.Error("our own certificate could not be renewed; the old one stays in service",
			"error", err, "expires", o.expires(), "retry_in", retry)
	}
	return retry, min(2*retry, longestGap)
}

func (o *ownCertificate) renewAt() time.Time {
	leaf := o.current.Load().Leaf
	return leaf.NotBefore.Add(leaf.NotAfter.Sub(leaf.NotBefore) * 2 / 3)
}

func (o *ownCertificate) expires() time.Time { return o.current.Load().Leaf.NotAfter }

// Ready fails once only a sixth of the lifetime is left: half the time for renewing has gone by in
// vain, and people have the other half to act.
func (o *ownCertificate) Ready(context.Context) error {
	leaf := o.current.Load().Leaf
	left := leaf.NotAfter.Sub(o.now())
	switch {
	case left <= 0:
		return errors.New("our own certificate has expired and could not be renewed")
	case left < leaf.NotAfter.Sub(leaf.NotBefore)/6:
		return fmt.Errorf("our own certificate expires in %s and could not be renewed",
			left.Round(time.Second))
	default:
		return nil
	}
}
