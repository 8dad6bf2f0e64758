package store_test

import (
	"context"
	"errors"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/audit"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// lane is a store whose group commit can be held up: it asks for the time when it begins.
type lane struct {
	*store.Store
	metrics *prometheus.Registry
	begun   atomic.Int32                  // transactions
	gate    atomic.Pointer[chan struct{}] // which they wait at
}

func openLane(t *testing.T, c store.Config) *lane {
	t.Helper()
	l := &lane{metrics: prometheus.NewRegistry()}
	c.Metrics = l.metrics
	c.Now = func() time.Time {
		l.begun.Add(1)
		if gate := l.gate.Load(); gate != nil {
			<-*gate
		}
		return noon
	}
	l.Store = storetest.Open(t, c)
	return l
}

func eachLane(t *testing.T, f func(t *testing.T, l *lane)) {
	t.Helper()
	eachConfig(t, func(t *testing.T, c store.Config) { f(t, openLane(t, c)) })
}

// hold lets a first write begin its transaction, alone, and no further until the result is called.
func (l *lane) hold(t *testing.T) func() {
	t.Helper()
	gate := make(chan struct{})
	open := sync.OnceFunc(func() { l.gate.Store(nil); close(gate) })
	t.Cleanup(open)
	begun := l.begun.Load()
	l.gate.Store(&gate)
	answer := l.queue(t, l.promise(t, promise(t, "")))[0]
	eventually(t, "the first write has begun", func() bool { return l.begun.Load() > begun })
	return func() {
		open()
		must(t, <-answer)
	}
}

// queue starts writes one after the other, so that they queue in this order, and gives their answers.
func (l *lane) queue(t *testing.T, writes ...func() error) (answers []chan error) {
	t.Helper()
	for _, write := range writes {
		before := l.metric(t, "mayfly_store_queue_writes")
		answer := make(chan error, 1)
		answers = append(answers, answer)
		go func() { answer <- write() }()
		eventually(t, "the write is queued", func() bool {
			return l.metric(t, "mayfly_store_queue_writes") == before+1
		})
	}
	return answers
}

// metric adds up the durable lane's values under a name; a histogram counts as its sum.
func (l *lane) metric(t *testing.T, name string) (sum float64) {
	t.Helper()
	families, err := l.metrics.Gather()
	must(t, err)
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			for _, label := range m.GetLabel() {
				if label.GetName() == "lane" && label.GetValue() == "durable" {
					sum += m.GetGauge().GetValue() + m.GetCounter().GetValue() +
						m.GetHistogram().GetSampleSum()
				}
			}
		}
	}
	return sum
}

func (l *lane) promise(t *testing.T, p ca.Promise, entries ...audit.Entry) func() error {
	return func() error { return l.Promise(t.Context(), p, entries...) }
}

func TestWritersShareTransactions(t *testing.T) {
	eachLane(t, func(t *testing.T, l *lane) {
		const writers = 600 // at most 256 share a transaction
		release := l.hold(t)
		var wg sync.WaitGroup
		for range writers {
			p := promise(t, "", "a.internal")
			wg.Go(func() {
				if err := l.Promise(t.Context(), p, entry(audit.Promised, p)); err != nil {
					t.Error(err)
				}
			})
		}
		eventually(t, "all writers wait", func() bool {
			return l.metric(t, "mayfly_store_queue_writes") == writers+1
		})
		release()
		wg.Wait()
		if n := l.metric(t, "mayfly_store_commits_total"); n != 1+3 {
			t.Errorf("got %v commits, want 4", n)
		}
		if n := l.metric(t, "mayfly_store_batch_writes"); n != 1+writers {
			t.Errorf("the batches held %v writes, want %d", n, 1+writers)
		}
		if n := len(storetest.Entries(t, l.Store)); n != writers {
			t.Errorf("%d entries for %d writes", n, writers)
		}
	})
}

func TestWritesOfOneKeyKeepTheirOrder(t *testing.T) {
	eachLane(t, func(t *testing.T, l *lane) {
		ctx := t.Context()
		o := order("account")
		must(t, l.CreateOrder(ctx, o))
		o.Version = 1
		later := o
		later.Profile = "later"
		p := promise(t, "", "a.internal")
		release := l.hold(t)
		answers := l.queue(t,
			func() error { return l.UpdateOrder(ctx, o) },
			l.promise(t, p),
			func() error { return l.UpdateOrder(ctx, later) },
			func() error { return l.Record(ctx, p.Serial, []byte("DER"), noon) },
			func() error { return l.Record(ctx, p.Serial, []byte("later"), noon) },
		)
		release()
		for i, want := range []error{nil, nil, acmeserver.ErrStale, nil, ca.ErrNotPromised} {
			if err := <-answers[i]; !errors.Is(err, want) {
				t.Errorf("write %d: got %v, want %v", i, err, want)
			}
		}
		o.Version = 2
		wantOrder(t, l.Store, o)
	})
}

// A write that spoils the transaction (on Postgres as late as at its end) fails alone.
func TestASpoiltTransaction(t *testing.T) {
	eachLane(t, func(t *testing.T, l *lane) {
		trigger := []string{`CREATE TRIGGER poison BEFORE INSERT ON audit_entries
			WHEN NEW.subject = 'poison' BEGIN SELECT RAISE(ABORT, 'poison'); END`}
		if !l.Alone() {
			trigger = []string{
				`CREATE FUNCTION poison() RETURNS trigger LANGUAGE plpgsql AS
					$$ BEGIN RAISE 'poison'; END $$`,
				`CREATE CONSTRAINT TRIGGER poison AFTER INSERT ON audit_entries
					DEFERRABLE INITIALLY DEFERRED FOR EACH ROW WHEN (NEW.subject = 'poison')
					EXECUTE FUNCTION poison()`,
			}
		}
		for _, statement := range trigger {
			_, err := storetest.DB(t, l.Store).Exec(statement)
			must(t, err)
		}
		release := l.hold(t)
		var all []ca.Promise
		var writes []func() error
		for i := range 10 {
			p := promise(t, "", "a.internal")
			e := entry(audit.Promised, p)
			if i == 5 {
				e.Subject = "poison"
			}
			all = append(all, p)
			writes = append(writes, l.promise(t, p, e))
		}
		answers := l.queue(t, writes...)
		release()
		for i, p := range all {
			err := <-answers[i]
			_, missing := l.CertificateBySerial(t.Context(), p.Serial)
			if i == 5 {
				wantKind(t, "poison", err, fault.Internal)
				wantKind(t, "what is left of it", missing, fault.NotFound)
				continue
			}
			must(t, err)
			must(t, missing)
		}
		if n := len(storetest.Entries(t, l.Store)); n != 9 {
			t.Errorf("%d entries, want 9", n)
		}
	})
}

func TestCloseWaitsForWrites(t *testing.T) {
	eachConfig(t, func(t *testing.T, c store.Config) {
		l := openLane(t, c)
		release := l.hold(t)
		var all []ca.Promise
		var writes []func() error
		for range 20 {
			p := promise(t, "")
			all = append(all, p)
			writes = append(writes, l.promise(t, p))
		}
		answers := l.queue(t, writes...)
		closed := make(chan error)
		go func() { closed <- l.Close() }()
		eventually(t, "the store is closed", func() bool {
			ctx, cancel := context.WithCancel(t.Context())
			cancel() // not to wait, if it is open
			err := l.Promise(ctx, promise(t, ""))
			wantKind(t, "promise", err, fault.Unavailable)
			return !errors.Is(err, context.Canceled)
		})
		release()
		must(t, <-closed)
		for _, answer := range answers {
			must(t, <-answer)
		}
		must(t, l.Close())
		wantKind(t, "a read", func() error { _, err := l.Issuers(t.Context()); return err }(), fault.Unavailable)
		wantKind(t, "a write", l.AddIssuers(t.Context(), nil), fault.Unavailable)

		s := storetest.Open(t, c)
		for _, p := range all {
			_, err := s.CertificateBySerial(t.Context(), p.Serial)
			must(t, err)
		}
	})
}

// A caller who leaves is let go at once, and what nobody waits for is not begun.
func TestACallerLeavesTheQueue(t *testing.T) {
	eachLane(t, func(t *testing.T, l *lane) {
		release := l.hold(t)
		ctx, cancel := context.WithCancel(t.Context())
		left, stays := promise(t, ""), promise(t, "")
		answers := l.queue(t,
			func() error { return l.Promise(ctx, left) },
			l.promise(t, stays),
		)
		cancel()
		err := <-answers[0]
		wantKind(t, "who left", err, fault.Unavailable)
		wantErr(t, "who left", err, context.Canceled)
		release()
		must(t, <-answers[1])
		_, err = l.CertificateBySerial(t.Context(), stays.Serial)
		must(t, err)
		_, err = l.CertificateBySerial(t.Context(), left.Serial)
		wantKind(t, "what was left", err, fault.NotFound)
		eventually(t, "the queue is empty", func() bool {
			return l.metric(t, "mayfly_store_queue_writes") == 0
		})
	})
}
