package main

import (
	"context"
	"fmt"
	"net/http"
	"os"
	"slices"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/api"
	"github.com/mayflyca/mayfly/publish"
	"github.com/mayflyca/mayfly/web"
)

// open makes the doors and the workers behind them.
func (h *house) open() ([]door, []worker, error) {
	acme, err := h.openACME()
	if err != nil {
		return nil, nil, fmt.Errorf("opening the ACME door: %w", err)
	}
	console, err := web.New(web.Config{
		CA: h.ca, BaseURL: h.url, PublishURL: h.publishURL, Version: programVersion(),
		HTTP01Port: h.config.ACME.HTTP01Port, Trial: h.config.Trial(),
	})
	if err != nil {
		return nil, nil, fmt.Errorf("opening the console: %w", err)
	}
	public := publish.New(publish.Config{CA: h.ca, Now: time.Now, Log: h.log})

	https := http.NewServeMux()
	https.Handle("/acme/", acme)
	rest := api.New(api.Config{
		CA: h.ca, ACME: acme.Operator(), Tokens: h.store, Now: time.Now,
		Version: programVersion(), Log: h.log,
	})
	https.Handle("/api/", rest)
	https.Handle("/openapi.json", rest)
	for _, path := range []string{"/roots.pem", "/issuers.pem", "/roots/"} {
		https.Handle(path, public)
	}
	h.handleHealth(https)
	https.Handle("/", console)

	monitoring := http.NewServeMux()
	monitoring.Handle("/", metricsHandler(h.registry))
	h.handleHealth(monitoring) // here too, for probes that speak no TLS

	doors := []door{
		newDoor(h.sockets.https, h.edge(https, true), h.own.tlsConfig(), h.log),
		newDoor(h.sockets.publish, h.edge(public, false), nil, h.log),
		newDoor(h.sockets.metrics, h.edge(monitoring, false), nil, h.log),
	}
	workers := []worker{
		{"CA", h.ca.Run},
		{"ACME door", acme.Run},
		{"certificate of our own door", h.own.Run},
		{"watchdog", func(ctx context.Context) error { return watchdog(ctx, h.log) }},
	}
	return doors, workers, nil
}

func (h *house) openACME() (*acmeserver.Server, error) {
	c := h.config.ACME
	if !c.RateLimits {
		h.log.Warn("rate limits and pausing are off (acme.rate_limits)")
	}
	own, err := h.ownAddresses(context.Background())
	if err != nil {
		return nil, err
	}
	var roots []byte
	if slices.Contains(c.Challenges, "device-attest-01") && c.AttestationRoots != "" {
		if roots, err = os.ReadFile(c.AttestationRoots); err != nil {
			return nil, fmt.Errorf("reading acme.attestation_roots: %w", err)
		}
	}
	return acmeserver.New(acmeserver.Config{
		Store: h.store, CA: h.ca, BaseURL: h.url,
		Validation: acmeserver.Validation{
			Challenges: c.Challenges, Resolvers: c.Resolvers, ZoneResolvers: c.ZoneResolvers,
			HTTP01Port: c.HTTP01Port, TLSALPN01Port: c.TLSALPN01Port,
			Allow: c.AllowNetworks, Deny: c.DenyNetworks, AllowLoopback: h.config.Trial(), Own: own,
			CAA: c.CAA, CAAIdentities: c.CAAIdentities, AttestationRoots: roots,
		},
		EABRequired: c.EABRequired, TermsOfService: c.TermsOfService,
		RateLimits: c.RateLimits, RateLimitOverrides: c.RateLimitOverrides,
		Now: time.Now, Log: h.log, Metrics: h.registry,
	})
}

func (h *house) handleHealth(mux *http.ServeMux) {
	mux.HandleFunc("/healthz", healthy)
	mux.HandleFunc("/readyz", ready([]check{
		{"database", h.store.Ping},
		{"signer", h.ca.Ready},
		{"certificate", h.own.Ready},
	}, h.log))
}

func (h *house) edge(next http.Handler, https bool) http.Handler {
	return &edge{next: http.MaxBytesHandler(next, maxBody), log: h.log, https: https, now: time.Now}
}

// maxBody is above what any door reads; each has tighter limits of its own.
const maxBody = 1 << 20
