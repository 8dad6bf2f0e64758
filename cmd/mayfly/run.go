package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"

	"github.com/coreos/go-systemd/v22/daemon"
	"golang.org/x/sync/errgroup"
)

// worker does something until its context ends.
type worker struct {
	name string
	run  func(ctx context.Context) error
}

// runAll opens the doors and runs the workers until ctx ends or one of them fails, and stops in
// order: the doors take no new requests and answer those they have; only then do the workers end,
// so that what was promised to a client can still be kept.
func runAll(ctx context.Context, log *slog.Logger, doors []door, workers []worker) error {
	g, ctx := errgroup.WithContext(ctx)
	working, endWork := context.WithCancel(context.WithoutCancel(ctx))
	for _, w := range workers {
		g.Go(func() error {
			if err := w.run(working); err != nil && !errors.Is(err, context.Canceled) {
				return fmt.Errorf("running the %s: %w", w.name, err)
			}
			return nil
		})
	}
	var open sync.WaitGroup
	for _, d := range doors {
		open.Add(1)
		g.Go(func() error {
			defer open.Done()
			return d.serve(ctx)
		})
	}
	g.Go(func() error {
		open.Wait()
		endWork()
		return nil
	})
	tellSystemd(log, daemon.SdNotifyReady)
	g.Go(func() error {
		<-ctx.Done()
		tellSystemd(log, daemon.SdNotifyStopping)
		log.Info("stopping")
		return nil
	})
	return g.Wait()
}
