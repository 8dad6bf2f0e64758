package ca

import (
	"fmt"

	"github.com/prometheus/client_golang/prometheus"
)

type metrics struct {
	issued       *prometheus.CounterVec
	refused      *prometheus.CounterVec
	revoked      *prometheus.CounterVec
	seconds      prometheus.Histogram
	crls         prometheus.Counter
	issuerExpiry *prometheus.GaugeVec
}

// newMetrics makes the counters and registers them; reg may be nil.
func newMetrics(reg prometheus.Registerer) (*metrics, error) {
	m := &metrics{
		issued: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mayfly_certificates_issued_total",
			Help: "Certificates issued.",
		}, []string{"profile"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mayfly_certificates_refused_total",
			Help: "Requests for a certificate that were refused.",
		}, []string{"kind"}),
		revoked: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "mayfly_certificates_revoked_total",
			Help: "Certificates revoked.",
		}, []string{"reason"}),
		seconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "mayfly_issue_seconds",
			Help:    "How long issuing took, from request to record.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 14),
		}),
		crls: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "mayfly_crls_published_total",
			Help: "CRLs signed and published.",
		}),
		issuerExpiry: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "mayfly_issuer_expiry_timestamp_seconds",
			Help: "When a CA certificate of ours expires, in Unix time.",
		}, []string{"issuer", "kind"}),
	}
	if reg == nil {
		return m, nil
	}
	for _, c := range []prometheus.Collector{
		m.issued, m.refused, m.revoked, m.seconds, m.crls, m.issuerExpiry,
	} {
		if err := reg.Register(c); err != nil {
			return nil, fmt.Errorf("registering the CA's metrics: %w", err)
		}
	}
	return m, nil
}
