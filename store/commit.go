package store

import (
	"context"
	"errors"
	"sync"
	"time"

	"github.com/mayflyca/mayfly/audit"
)

// write is one caller's change on its way to disk.
type write struct {
	// keys are what it touches. Two writes with a key in common never share a batch, so that within
	// a batch every row's answer is its own.
	keys    []string
	entries []audit.Entry
	row     any // what the array statements of Postgres read: *promiseRow and so on
	// plain is the same change for one write. It tests its condition before it writes anything, and
	// answers with unchanged if that does not hold.
	plain func(ctx context.Context, tx tx) error

	ctx    context.Context // the caller's; a write that nobody waits for any more is not begun
	answer error           // set by the committer before done is closed
	done   chan struct{}
}

const maxBatch = 256

// committer gathers writes into transactions: the next takes what queued while the last ran. One
// goroutine commits while there is work; it owns the writes it took.
type committer struct {
	// commit runs the writes in one transaction and sets their answers. An error means that the
	// transaction as a whole did not (or may not) stand.
	commit func(ctx context.Context, batch []*write) error
	meter  *meter
	now    func() time.Time

	mu      sync.Mutex
	queue   []*write
	running bool
	closed  bool
	idle    sync.WaitGroup
}

var errClosed = errors.New("the store is closed")

// do queues w and waits for its answer or for ctx. In the latter case w may happen all the same.
func (c *committer) do(ctx context.Context, w *write) error {
	w.ctx, w.done = ctx, make(chan struct{})
	c.mu.Lock()
	if c.closed {
		c.mu.Unlock()
		return unavailable(errClosed)
	}
	c.queue = append(c.queue, w)
	c.meter.queue.Inc()
	if !c.running {
		c.running = true
		c.idle.Go(c.run)
	}
	c.mu.Unlock()
	select {
	case <-w.done:
		return w.answer
	case <-ctx.Done():
		return unavailable(ctx.Err())
	}
}

// close lets the queue run dry and takes no more.
func (c *committer) close() {
	c.mu.Lock()
	c.closed = true
	c.mu.Unlock()
	c.idle.Wait()
}

func (c *committer) run() {
	for {
		batch := c.take()
		if batch == nil {
			return
		}
		c.settle(batch)
		c.answered(batch...)
	}
}

// take removes the next batch from the queue: in order, but a write waits for the next batch if it
// touches what an earlier one touches. nil ends the run.
func (c *committer) take() []*write {
	c.mu.Lock()
	defer c.mu.Unlock()
	var batch, later []*write
	touched := make(map[string]bool)
	for i, w := range c.queue {
		if len(batch) == maxBatch {
			later = append(later, c.queue[i:]...)
			break
		}
		if w.ctx.Err() != nil {
			w.answer = unavailable(w.ctx.Err())
			c.answered(w)
			continue
		}
		shared := false
		for _, key := range w.keys {
			shared = shared || touched[key]
			touched[key] = true
		}
		if shared {
			later = append(later, w)
		} else {
			batch = append(batch, w)
		}
	}
	c.queue = later
	c.running = len(batch) > 0
	return batch
}

func (c *committer) answered(writes ...*write) {
	for _, w := range writes {
		close(w.done)
	}
	c.meter.queue.Sub(float64(len(writes)))
}

// settle commits the batch. If one of its writes spoils it, each runs alone, so that the error hits
// only its owner.
func (c *committer) settle(batch []*write) {
	err := c.transact(batch)
	if err == nil {
		return
	}
	if len(batch) > 1 && ownFault(err) {
		batch, err = c.oneByOne(batch)
	}
	for _, w := range batch {
		w.answer = classify(err)
	}
}

// oneByOne gives up when the engine does, and returns whom that hits and why.
func (c *committer) oneByOne(batch []*write) (rest []*write, err error) {
	for i := range batch {
		err := c.transact(batch[i : i+1])
		if err == nil {
			continue
		}
		if !ownFault(err) {
			return batch[i:], err
		}
		batch[i].answer = classify(err)
	}
	return nil, nil
}

func (c *committer) transact(batch []*write) error {
	ctx, cancel := context.WithTimeout(context.Background(), answerLimit)
	defer cancel()
	begun := c.now()
	for _, w := range batch {
		w.answer = nil
	}
	err := c.commit(ctx, batch)
	c.meter.committed(c.now().Sub(begun), len(batch), err)
	return err
}
