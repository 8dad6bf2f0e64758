package acmeserver_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// The figures that operators watch are there, and count.
func TestMetrics(t *testing.T) {
	h := open(t)
	registry := prometheus.NewRegistry()
	h.config.Metrics = registry
	h.reopen(t, always(wrong))
	c := h.customer(t)
	header := c.header(c.account)
	header["nonce"] = b64(make([]byte, 40))
	c.send(c.account, sign(c.key, header, nil)).refused(t, 400, "badNonce")
	c.post(c.authorization(c.newOrder("a.example.com").Authorizations[0]).Challenges[0].URL, `{}`).ok(t, 200)
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := make(map[string]float64)
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var labels []string
			for _, l := range m.GetLabel() {
				labels = append(labels, l.GetValue())
			}
			got[fmt.Sprintf("%s %s", f.GetName(), strings.Join(labels, " "))] =
				m.GetCounter().GetValue() + m.GetGauge().GetValue() + float64(m.GetHistogram().GetSampleCount())
		}
	}
	for name, want := range map[string]float64{
		"mayfly_acme_requests_total newOrder ":                1,
		"mayfly_acme_requests_total account badNonce":         1,
		"mayfly_acme_nonces_total unknown":                    1,
		"mayfly_acme_nonces_total good":                       4,
		"mayfly_acme_validation_seconds unauthorized http-01": 1,
		"mayfly_acme_validations accepted":                    0,
		"mayfly_acme_validations running":                     0,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s is %v, want %v; there are %v", name, value, want, got)
		}
	}
}
