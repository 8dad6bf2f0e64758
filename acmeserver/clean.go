package acmeserver

import (
	"context"
	"time"
)

const (
	cleanEvery = 10 * time.Minute
	// orderRetention is how long an order stays after it expired: somebody asks why it failed; and a grant.
	orderRetention = 7 * 24 * time.Hour
	cleanBatch     = 1000
	cleanBatches   = 100 // bounds one pass (never #36)
)

// Run cleans up until ctx ends, and then waits for the validations that run: they end without a
// verdict, and whoever polls for one has it taken up again by another process or the next.
func (s *Server) Run(ctx context.Context) error {
	tick := time.NewTicker(cleanEvery)
	defer tick.Stop()
	for {
		if err := s.clean(ctx); err != nil && ctx.Err() == nil {
			s.log.Error("cleaning up orders and nonces", "error", err)
		}
		select {
		case <-ctx.Done():
			s.validations.stop()
			return nil
		case <-tick.C:
		}
	}
}

func (s *Server) clean(ctx context.Context) error {
	if err := s.nonces.clean(ctx); err != nil {
		return err
	}
	if err := s.cleanStreaks(ctx); err != nil {
		return err
	}
	before := s.now().Add(-orderRetention)
	for _, clean := range []func(context.Context, time.Time, int) (int, error){
		s.store.CleanOrders, s.store.CleanGrants,
	} {
		for range cleanBatches {
			deleted, err := clean(ctx, before, cleanBatch)
			if err != nil {
				return err
			}
			if deleted < cleanBatch {
				break
			}
		}
	}
	return nil
}
