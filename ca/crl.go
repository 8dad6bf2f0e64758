package ca

import (
	"context"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/asn1"
	"errors"
	"fmt"
	"math/big"
	"strconv"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
)

// How long a CRL is good for. A new one is made half a day before its end, or at once when something
// is to be added.
const (
	leafCRLLife = 24 * time.Hour
	rootCRLLife = 30 * 24 * time.Hour
	crlSpare    = 12 * time.Hour
)

func crlLife(kind IssuerKind) time.Duration {
	if kind == Root {
		return rootCRLLife
	}
	return leafCRLLife
}

// refreshCRLs makes every CRL that is missing, incomplete or close to its end.
func (c *CA) refreshCRLs(ctx context.Context) error {
	stale, err := c.store.StaleShards(ctx, c.now().Add(crlSpare))
	if err != nil {
		return fmt.Errorf("looking for CRLs to make: %w", err)
	}
	var errs []error
	for _, shard := range stale {
		if err := c.makeCRL(ctx, shard); err != nil {
			errs = append(errs, fmt.Errorf("making CRL %d of issuer %s: %w", shard.Shard, shard.Issuer, err))
		}
	}
	return errors.Join(errs...)
}

// makeCRL signs and publishes a shard's next CRL. It lists what was revoked and has not been expired
// for longer than a CRL lives (RFC 5280 section 3.3 wants an entry to outlive its certificate).
// Cleaning takes nothing away that it reads (never #14).
func (c *CA) makeCRL(ctx context.Context, shard Shard) error {
	i := c.issuer(shard.Issuer)
	if i == nil {
		return fault.New(fault.NotReady, "this process does not have the issuer; restart it")
	}
	number, err := c.nextNumber(ctx, shard)
	if err != nil {
		return err
	}
	now := c.now().UTC().Truncate(time.Second)
	crl := CRL{
		Shard: shard, Number: number, ThisUpdate: now, NextUpdate: now.Add(crlLife(i.Kind)),
		Floor: now.Add(-leafCRLLife),
	}
	revoked, err := c.store.Revoked(ctx, shard.Issuer, shard.Shard, crl.Floor)
	if err != nil {
		return fmt.Errorf("reading what is revoked: %w", err)
	}
	crl.Entries = len(revoked)
	if crl.DER, err = c.signCRL(i, crl, revoked); err != nil {
		return err
	}
	err = c.store.PublishCRL(ctx, crl, audit.New(c.now(), audit.CRLSigned, "system", i.ID,
		map[string]string{
			"shard": strconv.Itoa(shard.Shard), "number": strconv.FormatInt(crl.Number, 10),
			"entries": strconv.Itoa(crl.Entries),
		}))
	if errors.Is(err, ErrOlderCRL) {
		return nil // another replica was quicker; if its CRL lacks something, the next look tells
	}
	if err == nil {
		c.metrics.crls.Inc()
	}
	return err
}

// nextNumber is above every number before it, also above those that a restored database has
// forgotten: it is never below the time (never #35).
func (c *CA) nextNumber(ctx context.Context, shard Shard) (int64, error) {
	number := c.now().UnixMilli()
	before, err := c.store.CRL(ctx, shard)
	switch {
	case fault.Is(err, fault.NotFound):
		return number, nil
	case err != nil:
		return 0, fmt.Errorf("reading the CRL before: %w", err)
	default:
		return max(number, before.Number+1), nil
	}
}

func (c *CA) signCRL(i *issuer, crl CRL, revoked []RevokedSerial) ([]byte, error) {
	point, err := c.issuingDistributionPoint(i, crl.Shard)
	if err != nil {
		return nil, err
	}
	template := &x509.RevocationList{
		SignatureAlgorithm: i.algorithm, Number: big.NewInt(crl.Number),
		ThisUpdate: crl.ThisUpdate, NextUpdate: crl.NextUpdate,
		ExtraExtensions: []pkix.Extension{point},
	}
	for _, r := range revoked {
		template.RevokedCertificateEntries = append(template.RevokedCertificateEntries,
			x509.RevocationListEntry{
				SerialNumber: r.Serial.Big(), RevocationTime: r.At.Truncate(time.Second),
				ReasonCode: int(r.Reason),
			})
	}
	der, err := x509.CreateRevocationList(c.random, template, i.certificate, i.key)
	if err != nil {
		return nil, fault.Wrap(fault.Unavailable, err, "the issuer's key does not sign the CRL")
	}
	return der, nil
}

var oidIssuingDistributionPoint = asn1.ObjectIdentifier{2, 5, 29, 28}

// issuingDistributionPoint says which certificates this CRL speaks for: those that name its URL
// (RFC 5280 section 5.2.5).
func (c *CA) issuingDistributionPoint(i *issuer, shard Shard) (pkix.Extension, error) {
	type distributionPoint struct {
		FullName []asn1.RawValue `asn1:"optional,tag:0"`
	}
	point := struct {
		Point      distributionPoint `asn1:"optional,tag:0"`
		OnlyLeaves bool              `asn1:"optional,tag:1"`
		OnlyCAs    bool              `asn1:"optional,tag:2"`
	}{
		Point: distributionPoint{FullName: []asn1.RawValue{{
			Class: asn1.ClassContextSpecific, Tag: 6, Bytes: []byte(c.crlURL(shard)),
		}}},
		OnlyLeaves: i.Kind == Issuing,
		OnlyCAs:    i.Kind == Root,
	}
	value, err := asn1.Marshal(point)
	if err != nil {
		return pkix.Extension{}, fault.Wrap(fault.Internal, err, "encoding a distribution point")
	}
	return pkix.Extension{Id: oidIssuingDistributionPoint, Critical: true, Value: value}, nil
}
