package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/pem"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"runtime/debug"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/config"
	"github.com/mayflyca/mayfly/policy"
	"github.com/mayflyca/mayfly/store"
)

// house is the whole program, opened: what its doors and workers are made of.
type house struct {
	config     config.Config
	log        *slog.Logger
	registry   *prometheus.Registry
	sockets    *listeners
	url        string // base of what the HTTPS door hands out
	publishURL string // base of what the publish door hands out
	store      *store.Store
	ca         *ca.CA
	own        *ownCertificate
	rootFile   string
	adminToken string // what the banner says of it
}

// serve opens everything in the order in which each needs the other, says so, and serves until ctx
// ends:
//
//	data directory → sockets → database → passphrase → CA → roots file, admin token → own certificate
//	→ doors and workers
//
// Whatever cannot be opened ends it before a door answers.
func serve(ctx context.Context, c config.Config, start startOptions, std streams) error {
	spendMemory()
	h := &house{config: c, log: newLogger(c.Log, std.err), registry: newRegistry()}
	defer h.close()
	for _, open := range []func(context.Context) error{
		h.openSockets,
		func(ctx context.Context) error { return h.openStore(ctx, !start.NoMigrate) },
		h.openCA,
		h.writeRoots,
		func(ctx context.Context) error { return h.openAdminToken(ctx, start.NewAdminToken) },
		h.openOwnCertificate,
	} {
		if err := open(ctx); err != nil {
			return err
		}
	}
	doors, workers, err := h.open()
	if err != nil {
		return err
	}
	if err := h.banner(std.out); err != nil {
		return err
	}
	debug.FreeOSMemory() // what opening left behind
	return runAll(ctx, h.log, doors, workers)
}

// gcPercent lets the heap, a few megabytes, grow to five times itself before it is collected: that is
// still little memory, and saves a tenth of the processor under load.
const gcPercent = 400

func spendMemory() {
	if os.Getenv("GOGC") == "" {
		debug.SetGCPercent(gcPercent)
	}
}

func newLogger(c config.Log, to io.Writer) *slog.Logger {
	options := &slog.HandlerOptions{Level: c.Level}
	if c.Format == "json" {
		return slog.New(slog.NewJSONHandler(to, options))
	}
	return slog.New(slog.NewTextHandler(to, options))
}

// openSockets comes early, because the URLs in every certificate follow from where we listen. What
// connects before the doors open waits in the kernel's queue.
func (h *house) openSockets(ctx context.Context) (err error) {
	if err := prepareDataDir(h.config.DataDir); err != nil {
		return err
	}
	if h.sockets, err = openListeners(h.config); err != nil {
		return err
	}
	h.url = externalURL(ctx, h.config.ExternalURL, "https", h.config.Listen, h.sockets.https.Addr())
	h.publishURL = externalURL(ctx, h.config.Publish.ExternalURL, "http", h.config.Publish.Listen,
		h.sockets.publish.Addr())
	return nil
}

func (h *house) openStore(ctx context.Context, migrate bool) (err error) {
	h.store, err = store.Open(ctx, store.Config{
		DataDir: h.config.DataDir, DatabaseURL: h.config.DatabaseURL, Migrate: migrate,
		Log: h.log, Metrics: h.registry, Now: time.Now,
	})
	return err
}

func (h *house) openCA(ctx context.Context) error {
	made, err := h.caExists(ctx)
	if err != nil {
		return err
	}
	passphrase, err := passphraseSource{
		File: os.Getenv("MAYFLY_PASSPHRASE_FILE"), Credentials: os.Getenv("CREDENTIALS_DIRECTORY"),
		DataDir: h.config.DataDir, HasCA: made,
	}.read()
	if err != nil {
		return err
	}
	h.ca, err = ca.New(ctx, ca.Config{
		Store: h.store, KeyDir: keyDir(h.config.DataDir), Passphrase: passphrase,
		Profiles:   policy.Builtin(),
		PublishURL: h.publishURL, Now: time.Now, Random: rand.Reader, Log: h.log, Metrics: h.registry,
		Alone: h.store.Alone(),
	})
	return err
}

// caExists tells whether a CA was made already: the record has it, or its keys are here.
func (h *house) caExists(ctx context.Context) (bool, error) {
	issuers, err := h.store.Issuers(ctx)
	if err != nil {
		return false, err
	}
	keys, err := hasKeys(h.config.DataDir)
	return keys || len(issuers) > 0, err
}

// writeRoots leaves the roots beside the data, where whoever stands at this machine can take them
// without asking the network.
func (h *house) writeRoots(context.Context) error {
	h.rootFile = filepath.Join(h.config.DataDir, "roots.pem")
	var text []byte
	for _, issuer := range h.ca.Issuers() {
		if issuer.Kind == ca.Root {
			block := &pem.Block{Type: "CERTIFICATE", Bytes: issuer.Certificate}
			text = append(text, pem.EncodeToMemory(block)...)
		}
	}
	if kept, err := os.ReadFile(h.rootFile); err == nil && bytes.Equal(kept, text) {
		return nil
	}
	if err := replaceFile(h.rootFile, text, 0o644); err != nil {
		return fmt.Errorf("writing the roots: %w", err)
	}
	return nil
}

func (h *house) openOwnCertificate(ctx context.Context) error {
	h.own = &ownCertificate{
		ca: h.ca, names: doorNames(h.url, listenHost(h.config.Listen)), now: time.Now, log: h.log,
	}
	if err := h.own.renew(ctx); err != nil {
		return err
	}
	watchOwnCertificate(h.registry, h.own)
	return nil
}

func (h *house) close() {
	if h.sockets != nil {
		h.sockets.close()
	}
	if h.store != nil {
		if err := h.store.Close(); err != nil {
			h.log.Error("closing the database", "error", err)
		}
	}
}
