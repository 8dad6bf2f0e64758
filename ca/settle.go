package ca

import (
	"context"
	"errors"
	"time"

	"github.com/mayflyca/mayfly/audit"
)

const (
	// settleAge is how old a promise must be before a replica takes its process for dead: well above
	// finishWithin. Where clocks differ by more, a promise can be voided while its process is at it;
	// then record refuses, and the client tries again.
	settleAge   = 30 * time.Second
	settleBatch = 200
	mostBatches = 500 // in one look; the next goes on (never #36)
)

// abandon leaves a promise of this process to the next look: nobody works on it any more.
func (c *CA) abandon(serial Serial) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.abandoned) < settleBatch { // beyond that, age tells
		c.abandoned = append(c.abandoned, serial)
	}
}

// settleAbandoned voids what this process left, so that a request can be tried again soon.
func (c *CA) settleAbandoned(ctx context.Context) error {
	c.mu.Lock()
	defer c.mu.Unlock()
	for len(c.abandoned) > 0 {
		if err := c.void(ctx, c.abandoned[0], nil); err != nil {
			return err
		}
		c.abandoned = c.abandoned[1:]
	}
	return nil
}

// settle voids promises older than the given time. What they describe may have been signed, though
// nobody was given it; so a CRL lists it from now on, and its Ref is free for another try.
func (c *CA) settle(ctx context.Context, before time.Time) error {
	for range mostBatches {
		open, err := c.store.Unsettled(ctx, before, settleBatch)
		if err != nil {
			return err
		}
		for _, p := range open {
			facts := map[string]string{"ref": p.Ref, "owner": p.Owner}
			if err := c.void(ctx, p.Serial, facts); err != nil {
				return err
			}
		}
		if len(open) < settleBatch {
			return nil
		}
	}
	return nil
}

// void is content if the promise is not open any more: it was never kept, is recorded, or another
// process was quicker.
func (c *CA) void(ctx context.Context, serial Serial, facts map[string]string) error {
	at := c.now().UTC().Truncate(time.Microsecond)
	err := c.store.Void(ctx, serial, at,
		audit.New(at, audit.Voided, "system", serial.String(), facts))
	if errors.Is(err, ErrNotPromised) {
		return nil
	}
	if err == nil {
		c.log.Warn("a promise was never recorded; its certificate is listed as revoked, in case it "+
			"exists", "serial", serial)
	}
	return err
}
