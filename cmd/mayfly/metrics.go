package main

import (
	"net/http"
	"runtime"
	"runtime/debug"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"
)

// newRegistry makes the registry that every package adds its metrics to.
func newRegistry() *prometheus.Registry {
	registry := prometheus.NewRegistry()
	build := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name:        "mayfly_build_info",
		Help:        "Always 1; the labels tell which program runs.",
		ConstLabels: prometheus.Labels{"version": programVersion(), "go_version": runtime.Version()},
	}, func() float64 { return 1 })
	registry.MustRegister(build, collectors.NewGoCollector(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return registry
}

// watchOwnCertificate shows when our own certificate expires, so that monitoring can warn before.
func watchOwnCertificate(registry prometheus.Registerer, own *ownCertificate) {
	registry.MustRegister(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "mayfly_own_certificate_expiry_timestamp_seconds",
		Help: "When the certificate of our own HTTPS door expires, in Unix time.",
	}, func() float64 { return float64(own.expires().Unix()) }))
}

// metricsHandler is the monitoring door.
func metricsHandler(registry *prometheus.Registry) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("GET /metrics", promhttp.HandlerFor(registry, promhttp.HandlerOpts{}))
	mux.HandleFunc("/", func(w http.ResponseWriter, _ *http.Request) {
		writeProblem(w, http.StatusNotFound, "Only /metrics is here.")
	})
	return mux
}

// programVersion is what the linker set, or what the module and its repository tell.
func programVersion() string {
	if version != "" {
		return version
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return "unknown"
	}
	if v := info.Main.Version; v != "" && v != "(devel)" {
		return v
	}
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" && len(s.Value) >= 12 {
			return "dev-" + s.Value[:12]
		}
	}
	return "dev"
}
