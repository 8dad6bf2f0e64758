// Package ca is the issuance road and everything else that a signing key does.
//
// A request becomes a certificate in one way only (issue.go):
//
//	decide ─► shape ─► check ─► promise ─► sign ─► compare ─► record ─► answer
//
// Each step takes what the former one made, so that none can be left out. Before the key signs, what
// it will sign has been decided upon, drafted, read back, linted, and promised on
// disk; after it signed, the result is compared with the promise and recorded before anybody gets it.
package ca

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mayflyca/mayfly/ca/internal/keys"
	"github.com/mayflyca/mayfly/ca/internal/lint"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/policy"
)

// Config is what New needs.
type Config struct {
	Store      Store
	KeyDir     string           // where the encrypted key files are
	Passphrase []byte           // opens them
	Profiles   []policy.Profile // the first is the default
	PublishURL string           // base of CRL and AIA URLs, no trailing slash
	Now        func() time.Time
	Random     io.Reader
	Log        *slog.Logger
	Metrics    prometheus.Registerer // nil for none
	// Alone says that no other process issues on this database (SQLite), so that a promise left open
	// by an earlier process can be settled at once.
	Alone bool
}

// CA issues and revokes. Safe for concurrent use.
type CA struct {
	store      Store
	profiles   []policy.Profile
	publishURL string
	now        func() time.Time
	random     io.Reader
	log        *slog.Logger
	metrics    *metrics
	linter     *lint.Linter
	ring       *keys.Ring
	issuers    []*issuer     // roots first; fixed at start
	active     *issuer       // the one that issues
	anyKey     crypto.Signer // stands in for a subject's key in Check
	kick       chan struct{} // tells Run that a CRL has to be made
	latest     atomic.Int64  // the newest time seen, unix microseconds

	mu        sync.Mutex
	abandoned []Serial // promises of this process that failed half-way
}

// New opens the CA, makes root and issuer on the very first start, settles what an earlier process
// left open, and sees to it that every CRL is there.
func New(ctx context.Context, config Config) (*CA, error) {
	ring, err := keys.Open(config.KeyDir, config.Passphrase)
	if err != nil {
		return nil, err
	}
	c := &CA{
		store: config.Store, profiles: config.Profiles, publishURL: config.PublishURL,
		ring: ring, now: config.Now, random: config.Random, log: config.Log, kick: make(chan struct{}, 1),
	}
	if c.metrics, err = newMetrics(config.Metrics); err != nil {
		return nil, err
	}
	if c.linter, err = lint.New(config.Profiles); err != nil {
		return nil, fmt.Errorf("preparing the lints: %w", err)
	}
	if c.anyKey, err = ecdsa.GenerateKey(elliptic.P256(), config.Random); err != nil {
		return nil, fmt.Errorf("making a throwaway key: %w", err)
	}
	if err := c.checkClock(ctx); err != nil {
		return nil, err
	}
	if err := c.openIssuers(ctx, ring); err != nil {
		return nil, err
	}
	settleBefore := c.now().Add(-settleAge)
	if config.Alone {
		settleBefore = c.now().Add(time.Second)
	}
	if err := c.settle(ctx, settleBefore); err != nil {
		return nil, err
	}
	return c, c.refreshCRLs(ctx)
}

// checkClock refuses a clock that is behind what the record has seen: certificates would be dated
// before others that exist already (never #34).
func (c *CA) checkClock(ctx context.Context) error {
	latest, err := c.store.LatestEntry(ctx)
	if err != nil {
		return fmt.Errorf("reading the record's newest time: %w", err)
	}
	if !latest.IsZero() {
		c.latest.Store(latest.UnixMicro())
	}
	_, err = c.clock()
	return err
}

// clockSlack is how far the clock may be behind what it has shown before: replicas differ a little.
const clockSlack = 5 * time.Minute

// clock gives the time, unless the clock has been set back.
func (c *CA) clock() (time.Time, error) {
	now := c.now().UTC()
	for latest := c.latest.Load(); now.UnixMicro() > latest; latest = c.latest.Load() {
		if c.latest.CompareAndSwap(latest, now.UnixMicro()) {
			break
		}
	}
	if behind := time.UnixMicro(c.latest.Load()).Sub(now); behind > clockSlack {
		return now, fault.New(fault.Unavailable, "the clock is %s behind the newest entry of the record: "+
			"set the clock right", behind.Round(time.Second))
	}
	return now, nil
}

// Profiles lists the profiles, the default first.
func (c *CA) Profiles() []policy.Profile { return slices.Clone(c.profiles) }

func (c *CA) profile(name string) (policy.Profile, error) {
	for _, p := range c.profiles {
		if p.Name == name || name == "" {
			return p, nil
		}
	}
	return policy.Profile{}, fault.Field("profile", "%.40q does not exist", name)
}

// Certificate finds one in whatever state; fault.NotFound if none was issued with the serial.
func (c *CA) Certificate(ctx context.Context, serial Serial) (*Certificate, error) {
	found, err := c.store.CertificateBySerial(ctx, serial)
	if err != nil {
		return nil, err
	}
	if found.State != Issued {
		return nil, fault.New(fault.NotFound, "no certificate was issued with serial %s", serial)
	}
	return found, nil
}

// Certificates lists what q selects, judged by the present time.
func (c *CA) Certificates(ctx context.Context, q Query) ([]Certificate, error) {
	return c.store.Certificates(ctx, q, c.now())
}

// CRL gives the newest of a shard; fault.NotFound if there is none.
func (c *CA) CRL(ctx context.Context, shard Shard) (*CRL, error) { return c.store.CRL(ctx, shard) }

// Ready tells why the CA cannot issue, nil if it can. It does not ask the database: whoever has that
// can (store.Store.Ping).
func (c *CA) Ready(context.Context) error {
	now, err := c.clock()
	if err != nil {
		return err
	}
	_, err = c.issuerAt(now.Add(c.profiles[0].Lifetime))
	return err
}

// Seal encrypts a secret of a door with the passphrase of the CA's keys, and Unseal opens it again.
// Both are slow by intent.
func (c *CA) Seal(secret []byte) ([]byte, error) { return c.ring.Seal(secret) }

// Unseal opens what Seal made.
func (c *CA) Unseal(sealed []byte) ([]byte, error) { return c.ring.Unseal(sealed) }

// Between two looks at what may have to be done. A revocation here does not wait for it; one by a
// replica that died before it made the CRL does.
const lookEvery = 3 * time.Second

// Run settles promises left open by a process that died, and keeps the CRLs fresh, until ctx ends.
// What fails is tried again at the next look.
func (c *CA) Run(ctx context.Context) error {
	tick := time.NewTicker(lookEvery)
	defer tick.Stop()
	for {
		err := errors.Join(c.settleAbandoned(ctx), c.settle(ctx, c.now().Add(-settleAge)))
		if err != nil && ctx.Err() == nil {
			c.log.Error("promises left open could not be settled", "error", err)
		}
		if err := c.refreshCRLs(ctx); err != nil && ctx.Err() == nil {
			c.log.Error("CRLs could not be refreshed", "error", err)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-c.kick:
		case <-tick.C:
		}
	}
}
