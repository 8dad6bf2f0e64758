package ca

import (
	"context"
	"crypto"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"fmt"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca/internal/keys"
)

const (
	year          = 365 * 24 * time.Hour
	rootLife      = 10 * year
	issuingLife   = 5 * year
	leafShards    = 4
	issuerOctets  = 8 // of an Issuer.ID
	genesisBehind = time.Hour
)

// firstIssuers makes a root (P-384) and an issuing CA (P-256), unless another process is quicker.
// The keys are on disk before the record knows of them: a crash leaves key files that no issuer
// refers to, and the next start makes new ones.
func (c *CA) firstIssuers(ctx context.Context, ring *keys.Ring) (rows []Issuer, err error) {
	err = c.store.Exclusive(ctx, "first issuers", func(ctx context.Context) error {
		if rows, err = c.store.Issuers(ctx); err != nil || len(rows) > 0 {
			return err
		}
		rows, err = c.makeIssuers(ctx, ring)
		return err
	})
	return rows, err
}

type newKey struct {
	signer crypto.Signer
	uri    string
}

func (c *CA) makeIssuers(ctx context.Context, ring *keys.Ring) ([]Issuer, error) {
	var root, issuing newKey
	var g errgroup.Group // encrypting a key is slow by intent
	g.Go(func() (err error) {
		root.signer, root.uri, err = ring.Create("root", elliptic.P384())
		return err
	})
	g.Go(func() (err error) {
		issuing.signer, issuing.uri, err = ring.Create("issuing", elliptic.P256())
		return err
	})
	if err := g.Wait(); err != nil {
		return nil, err
	}
	now := c.now().UTC().Truncate(time.Microsecond)
	first, err := c.makeIssuer(root, nil, root, now)
	if err != nil {
		return nil, fmt.Errorf("making the root: %w", err)
	}
	second, err := c.makeIssuer(issuing, &first, root, now)
	if err != nil {
		return nil, fmt.Errorf("making the issuing CA: %w", err)
	}
	rows := []Issuer{first, second}
	var entries []audit.Entry
	for _, row := range rows {
		sum := sha256.Sum256(row.Certificate)
		entries = append(entries, audit.New(now, audit.IssuerCreated, "system", row.ID,
			map[string]string{"kind": string(row.Kind), "sha256": hex.EncodeToString(sum[:])}))
	}
	return rows, c.store.AddIssuers(ctx, rows, entries...)
}

// makeIssuer makes the certificate of a CA key: a root if parent is nil, otherwise an issuing CA
// under it.
func (c *CA) makeIssuer(key newKey, parent *Issuer, signer newKey, now time.Time) (Issuer, error) {
	serial, err := NewSerial(c.random)
	if err != nil {
		return Issuer{}, err
	}
	keyID, err := subjectKeyID(key.signer.Public())
	if err != nil {
		return Issuer{}, err
	}
	begin := now.Add(-genesisBehind).Truncate(time.Second)
	row := Issuer{Kind: Root, KeyURI: key.uri, Shards: 1, CreatedAt: now}
	template := &x509.Certificate{
		SerialNumber: serial.Big(),
		// The key's name tells one installation's CA from another's in a trust store.
		Subject:   pkix.Name{CommonName: "Mayfly Root CA " + hex.EncodeToString(keyID[:4])},
		NotBefore: begin, NotAfter: begin.Add(rootLife - time.Second),
		KeyUsage: x509.KeyUsageCertSign | x509.KeyUsageCRLSign, IsCA: true,
		BasicConstraintsValid: true, SubjectKeyId: keyID,
	}
	issuedBy := template
	if parent != nil {
		row.Kind, row.Parent, row.Shards = Issuing, parent.ID, leafShards
		row.CreatedAt = now.Add(time.Microsecond) // lists are in order of creation
		if issuedBy, err = x509.ParseCertificate(parent.Certificate); err != nil {
			return Issuer{}, fmt.Errorf("reading the root: %w", err)
		}
		template.Subject.CommonName = "Mayfly Issuing CA " + hex.EncodeToString(keyID[:4])
		template.NotAfter = begin.Add(issuingLife - time.Second)
		template.MaxPathLenZero = true
		template.IssuingCertificateURL = []string{c.issuerURL(&issuer{Issuer: *parent})}
		template.CRLDistributionPoints = []string{c.crlURL(Shard{Issuer: parent.ID})}
	}
	row.Certificate, err = x509.CreateCertificate(c.random, template, issuedBy, key.signer.Public(),
		signer.signer)
	if err != nil {
		return Issuer{}, fmt.Errorf("signing: %w", err)
	}
	sum := sha256.Sum256(row.Certificate)
	row.ID = hex.EncodeToString(sum[:issuerOctets])
	if parent == nil {
		row.Parent = row.ID
	}
	return row, nil
}
