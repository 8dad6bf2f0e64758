package store

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// meter counts what one committer does.
type meter struct {
	seconds prometheus.Observer
	writes  prometheus.Observer
	queue   prometheus.Gauge
	ok      prometheus.Counter
	failed  prometheus.Counter
}

// newMeters makes a meter per lane and registers them; reg may be nil.
func newMeters(reg prometheus.Registerer, lanes ...string) (map[string]*meter, error) {
	seconds := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "mayfly_store_commit_seconds",
		Help:    "How long transactions of the group commit took.",
		Buckets: prometheus.ExponentialBuckets(0.00025, 2, 16),
	}, []string{"lane"})
	writes := prometheus.NewHistogramVec(prometheus.HistogramOpts{
		Name:    "mayfly_store_batch_writes",
		Help:    "How many writes shared a transaction.",
		Buckets: prometheus.ExponentialBuckets(1, 2, 9),
	}, []string{"lane"})
	queue := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "mayfly_store_queue_writes",
		Help: "How many writes wait for the end of their transaction.",
	}, []string{"lane"})
	commits := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "mayfly_store_commits_total",
		Help: "Transactions of the group commit, by how they ended.",
	}, []string{"lane", "result"})
	if reg != nil {
		for _, c := range []prometheus.Collector{seconds, writes, queue, commits} {
			if err := reg.Register(c); err != nil {
				return nil, err
			}
		}
	}
	meters := make(map[string]*meter, len(lanes))
	for _, lane := range lanes {
		meters[lane] = &meter{
			seconds: seconds.WithLabelValues(lane),
			writes:  writes.WithLabelValues(lane),
			queue:   queue.WithLabelValues(lane),
			ok:      commits.WithLabelValues(lane, "ok"),
			failed:  commits.WithLabelValues(lane, "failed"),
		}
	}
	return meters, nil
}

func (m *meter) committed(took time.Duration, writes int, err error) {
	m.seconds.Observe(took.Seconds())
	m.writes.Observe(float64(writes))
	if err != nil {
		m.failed.Inc()
		return
	}
	m.ok.Inc()
}
