package storetest

import (
	"context"
	"time"

	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/store"
)

var _ ca.Store = (*Faulty)(nil)

// Faulty is a ca.Store whose writes fail when told to. Fault is asked before each write, with the
// method's name. If before is not nil, it is the answer and nothing was written; if after is not
// nil, it is the answer although the write was kept (one that fails by itself answers for itself).
type Faulty struct {
	*store.Store
	Fault func(method string) (before, after error)
}

func (f *Faulty) do(method string, write func() error) error {
	before, after := f.Fault(method)
	if before != nil {
		return before
	}
	if err := write(); err != nil {
		return err
	}
	return after
}

// Promise is ca.Store's.
func (f *Faulty) Promise(ctx context.Context, p ca.Promise, entries ...audit.Entry) error {
	return f.do("Promise", func() error { return f.Store.Promise(ctx, p, entries...) })
}

// Record is ca.Store's.
func (f *Faulty) Record(
	ctx context.Context, serial ca.Serial, der []byte, at time.Time, entries ...audit.Entry,
) error {
	return f.do("Record", func() error { return f.Store.Record(ctx, serial, der, at, entries...) })
}

// Void is ca.Store's.
func (f *Faulty) Void(
	ctx context.Context, serial ca.Serial, at time.Time, entries ...audit.Entry,
) error {
	return f.do("Void", func() error { return f.Store.Void(ctx, serial, at, entries...) })
}

// Revoke is ca.Store's.
func (f *Faulty) Revoke(
	ctx context.Context, serial ca.Serial, r ca.Revocation, entries ...audit.Entry,
) error {
	return f.do("Revoke", func() error { return f.Store.Revoke(ctx, serial, r, entries...) })
}

// PublishCRL is ca.Store's.
func (f *Faulty) PublishCRL(ctx context.Context, crl ca.CRL, entries ...audit.Entry) error {
	return f.do("PublishCRL", func() error { return f.Store.PublishCRL(ctx, crl, entries...) })
}

// AddIssuers is ca.Store's.
func (f *Faulty) AddIssuers(
	ctx context.Context, issuers []ca.Issuer, entries ...audit.Entry,
) error {
	return f.do("AddIssuers", func() error { return f.Store.AddIssuers(ctx, issuers, entries...) })
}

// Log is ca.Store's.
func (f *Faulty) Log(ctx context.Context, entries ...audit.Entry) error {
	return f.do("Log", func() error { return f.Store.Log(ctx, entries...) })
}
