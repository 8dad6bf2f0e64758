package ca

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// Request asks for one certificate.
type Request struct {
	// Ref makes the request repeatable: a second request with the same Ref gets the first's answer.
	Ref     string
	Caller  identity.Caller
	Profile string // "" for the default
	CSR     []byte // PKCS#10, DER; nil only for Check
	// Names are for the certificate beside the CSR's; they are all that a Check without a CSR has.
	Names []identity.Name
}

// Issue walks the whole road. Errors are classified by fault: Invalid and Denied for what the
// request or the policy forbids, NotReady while another caller's request with the same Ref is on its
// way, Conflict if the Ref's certificate is for another key or other names, Unavailable if nothing
// can be recorded. Once it has promised, it goes on although ctx ends.
func (c *CA) Issue(ctx context.Context, req Request) (*Certificate, error) {
	begun := c.now()
	if req.CSR == nil {
		return nil, c.refuse(ctx, req, fault.Field("csr", "is missing"))
	}
	decided, err := c.decide(req)
	if err != nil {
		return nil, c.refuse(ctx, req, err)
	}
	promised, err := c.reserve(ctx, decided)
	if errors.Is(err, ErrRefTaken) {
		return c.earlier(ctx, decided)
	}
	if err != nil {
		return nil, c.refuse(ctx, req, err)
	}
	issued, err := c.fulfil(ctx, promised)
	if err != nil {
		c.abandon(promised.serial)
		return nil, err
	}
	c.metrics.issued.WithLabelValues(issued.Profile).Inc()
	c.metrics.seconds.Observe(c.now().Sub(begun).Seconds())
	return issued, nil
}

// fulfil is sign, compare and record. A crash at any line leaves the promise, and perhaps a
// certificate that nobody was given: settle voids it, and a CRL lists it.
func (c *CA) fulfil(ctx context.Context, p promised) (*Certificate, error) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), finishWithin)
	defer cancel()
	signed, err := sign(p)
	if err != nil {
		return nil, err
	}
	compared, err := compare(signed)
	if err != nil {
		return nil, err
	}
	return c.record(ctx, compared)
}

// finishWithin bounds the road from promise to record, well below settleAge: a promise that is on
// its way is never mistaken for one whose process died.
const finishWithin = 10 * time.Second

// Check walks decide, shape and check and stops: would Issue do it? For a request without a CSR, a
// key of ours stands in for the subject's.
func (c *CA) Check(ctx context.Context, req Request) error {
	decided, err := c.decide(req)
	if err != nil {
		return c.refuse(ctx, req, err)
	}
	shaped, err := c.shape(decided)
	if err != nil {
		return c.refuse(ctx, req, err)
	}
	_, err = c.check(shaped)
	return c.refuse(ctx, req, err)
}

// triesForSerial bounds how often a serial is drawn anew when the store knows it already. Once is
// beyond belief; twice is a broken source of randomness (never #12).
const triesForSerial = 2

// reserve is shape, check and promise, with another serial if the first exists.
func (c *CA) reserve(ctx context.Context, d decided) (p promised, err error) {
	for range triesForSerial {
		var s shaped
		var k checked
		if s, err = c.shape(d); err != nil {
			return p, err
		}
		if k, err = c.check(s); err != nil {
			return p, err
		}
		p, err = c.promise(ctx, k)
		if fault.Is(err, fault.Unavailable) {
			c.abandon(s.serial) // it may have been kept all the same
		}
		if !errors.Is(err, ErrSerialTaken) {
			return p, err
		}
	}
	return p, fault.Wrap(fault.Unavailable, err, "no fresh serial number can be drawn")
}

// refuse records that a request was refused, and gives the reason back. What is no decision about
// the request (something is away, or on its way) is not recorded. If the entry cannot be kept, that
// is the answer: nothing is decided off the record.
func (c *CA) refuse(ctx context.Context, req Request, reason error) error {
	kind := fault.KindOf(reason)
	if reason == nil || kind != fault.Invalid && kind != fault.Denied && kind != fault.Internal {
		return reason
	}
	c.metrics.refused.WithLabelValues(kind.String()).Inc()
	data := map[string]string{
		"kind": kind.String(), "reason": limit(reason.Error()), "profile": limit(req.Profile),
	}
	err := c.store.Log(ctx, audit.New(c.now(), audit.Refused, req.Caller.ID, req.Ref, data))
	if err != nil {
		return err
	}
	return reason
}

// limit keeps a stranger's text from filling the record.
func limit(text string) string {
	const most = 500
	if len(text) > most {
		text = text[:most] + "…"
	}
	return strings.ToValidUTF8(strings.ReplaceAll(text, "\x00", "\uFFFD"), "\uFFFD")
}

// Between two looks at a promise that another caller is about to keep, and how many.
const (
	lookAgain = 20 * time.Millisecond
	mostLooks = 100
)

// earlier gives the certificate that carries the request's Ref already.
func (c *CA) earlier(ctx context.Context, d decided) (*Certificate, error) {
	onItsWay := &fault.Error{
		Kind: fault.NotReady, RetryAfter: time.Second,
		Detail: "a request with this reference is being worked on; ask again",
	}
	for range mostLooks {
		found, err := c.store.CertificateByRef(ctx, d.Ref)
		if fault.Is(err, fault.NotFound) {
			return nil, onItsWay // voided in the meantime: the reference is free again
		}
		if err != nil {
			return nil, err
		}
		if !d.wants(found) {
			return nil, fault.New(fault.Conflict, "this reference has a certificate for another key, "+
				"other names, another profile or another caller")
		}
		if found.State == Issued {
			return found, nil
		}
		select {
		case <-time.After(lookAgain):
		case <-ctx.Done():
			return nil, onItsWay
		}
	}
	return nil, onItsWay
}

// wants reports whether a certificate is what was asked for.
func (d decided) wants(found *Certificate) bool {
	if found.SPKISHA256 != d.spki || found.Profile != d.profile.Name || found.Caller != d.Caller.ID ||
		len(found.Names) != len(d.content.Names) {
		return false
	}
	for _, name := range d.content.Names {
		if !slices.Contains(found.Names, name) {
			return false
		}
	}
	return true
}
