package acmeserver

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	requests    *prometheus.CounterVec   // by endpoint and problem type, which is empty for none
	nonces      *prometheus.CounterVec   // by result
	validation  *prometheus.HistogramVec // by challenge type and outcome
	validations *prometheus.GaugeVec     // by state
	limited     *prometheus.CounterVec   // by limit
	paused      prometheus.Gauge
}

// newMetrics makes and registers the door's metrics; reg may be nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mayfly_acme_requests_total",
			Help: "ACME requests by endpoint and the type of the problem they met, if any.",
		}, []string{"endpoint", "problem"}),
		nonces: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mayfly_acme_nonces_total",
			Help: "Nonces that came with requests, by what became of them.",
		}, []string{"result"}),
		validation: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "mayfly_acme_validation_seconds",
			Help:    "How long one attempt at a challenge took.",
			Buckets: prometheus.ExponentialBuckets(0.001, 2, 15),
		}, []string{"type", "outcome"}),
		validations: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mayfly_acme_validations",
			Help: "Challenges that are being validated: accepted in all, and with an attempt running.",
		}, []string{"state"}),
		limited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mayfly_acme_rate_limited_total",
			Help: "What ACME clients were refused because of a limit, by limit.",
		}, []string{"limit"}),
		paused: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "mayfly_acme_paused",
			Help: "Names that accounts may not order because their validations failed for a day.",
		}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.requests, m.nonces, m.validation, m.validations, m.limited, m.paused,
	} {
		if err := reg.Register(c); err != nil {
			return nil, err
		}
	}
	return m, nil
}
