package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"fmt"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/mayflyca/mayfly/ca/internal/keys"
	"github.com/mayflyca/mayfly/fault"
)

// IssuerKind tells the root from those under it.
type IssuerKind string

// The kinds of issuer.
const (
	Root    IssuerKind = "root"
	Issuing IssuerKind = "issuing"
)

// Issuer is a CA certificate of ours and where its key is.
type Issuer struct {
	ID          string // the first 16 hex digits of the certificate's SHA-256
	Kind        IssuerKind
	Parent      string // the Issuer.ID that signed it; its own for a root
	Certificate []byte // DER
	KeyURI      string // where ca/internal/keys finds the key
	Shards      int    // how many CRLs its revocations are spread over
	CreatedAt   time.Time
}

// issuer is an Issuer ready to sign. Its key is used in sign.go only.
type issuer struct {
	Issuer
	certificate *x509.Certificate
	spki        [32]byte // SHA-256 of its public key
	key         crypto.Signer
	algorithm   x509.SignatureAlgorithm
	hash        crypto.Hash
	models      map[modelKey]model
}

// openIssuers loads the issuers, or makes them if the record has none.
func (c *CA) openIssuers(ctx context.Context, ring *keys.Ring) error {
	rows, err := c.store.Issuers(ctx)
	if err == nil && len(rows) == 0 {
		rows, err = c.firstIssuers(ctx, ring)
	}
	if err != nil {
		return fmt.Errorf("opening the issuers: %w", err)
	}
	c.issuers = make([]*issuer, len(rows))
	var g errgroup.Group // opening a key is slow by intent
	for i, row := range rows {
		g.Go(func() (err error) {
			c.issuers[i], err = c.openIssuer(row, ring)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	slices.SortStableFunc(c.issuers, func(a, b *issuer) int {
		if a.Kind != b.Kind && a.Kind == Root {
			return -1
		} else if a.Kind != b.Kind {
			return 1
		}
		return 0
	})
	for n, i := range c.issuers {
		c.metrics.issuerExpiry.WithLabelValues(i.ID, string(i.Kind)).
			Set(float64(i.certificate.NotAfter.Unix()))
		// The newest key issues, by its first certificate: a cross-signed one is there for Chains.
		if i.Kind == Issuing && !slices.ContainsFunc(c.issuers[:n], i.isTwin) {
			c.active = i
		}
	}
	if c.active == nil {
		return fault.New(fault.Conflict, "the record has a root but no issuing CA")
	}
	if left := c.active.certificate.NotAfter.Sub(c.now()); left < warnBefore {
		c.log.Warn("the issuing CA expires soon and will then issue nothing", "issuer", c.active.ID,
			"expires", c.active.certificate.NotAfter)
	}
	return nil
}

// warnBefore is how long before the issuing CA's end every start warns.
const warnBefore = 60 * 24 * time.Hour

func (c *CA) openIssuer(row Issuer, ring *keys.Ring) (*issuer, error) {
	certificate, err := x509.ParseCertificate(row.Certificate)
	if err != nil {
		return nil, fault.Wrap(fault.Internal, err, "reading the certificate of issuer "+row.ID)
	}
	key, err := ring.Load(row.KeyURI, certificate.PublicKey)
	if err != nil {
		return nil, err
	}
	i := &issuer{Issuer: row, certificate: certificate, key: key}
	i.spki = sha256.Sum256(certificate.RawSubjectPublicKeyInfo)
	public, ok := certificate.PublicKey.(*ecdsa.PublicKey)
	if !ok {
		return nil, fault.New(fault.Invalid, "the key of issuer %s is a %T; ECDSA is known", row.ID,
			certificate.PublicKey)
	}
	i.algorithm, i.hash = x509.ECDSAWithSHA256, crypto.SHA256
	if public.Params().BitSize > 256 {
		i.algorithm, i.hash = x509.ECDSAWithSHA384, crypto.SHA384
	}
	throwaway, err := ecdsa.GenerateKey(public.Curve, c.random)
	if err != nil {
		return nil, fmt.Errorf("making a throwaway key: %w", err)
	}
	return i, c.makeModels(i, throwaway)
}

// issuerAt gives the issuer for a certificate that ends at notAfter. A certificate never outlives
// its issuer (never #10).
func (c *CA) issuerAt(notAfter time.Time) (*issuer, error) {
	if notAfter.After(c.active.certificate.NotAfter) {
		return nil, fault.New(fault.Unavailable, "the issuing CA expires at %s, and no certificate "+
			"outlives its issuer: the operator has to make a new one",
			c.active.certificate.NotAfter.Format(time.RFC3339))
	}
	return c.active, nil
}

func (c *CA) issuer(id string) *issuer {
	for _, i := range c.issuers {
		if i.ID == id {
			return i
		}
	}
	return nil
}

// Issuers lists all CA certificates, roots first.
func (c *CA) Issuers() []Issuer {
	all := make([]Issuer, len(c.issuers))
	for n, i := range c.issuers {
		all[n] = i.Issuer
	}
	return all
}

// The URLs that certificates carry.
func (c *CA) issuerURL(i *issuer) string { return c.publishURL + "/issuers/" + i.ID + ".cer" }

func (c *CA) crlURL(s Shard) string {
	return fmt.Sprintf("%s/crl/%s/%d.crl", c.publishURL, s.Issuer, s.Shard)
}
