package main

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"net"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"time"

	"github.com/coreos/go-systemd/v22/activation"
	"golang.org/x/net/netutil"
	"golang.org/x/sync/errgroup"

	"github.com/mayflyca/mayfly/config"
)

// listeners are the three doors' sockets.
type listeners struct {
	https, publish, metrics net.Listener
}

// Most connections that each door keeps open at once; more wait in the kernel's queue. They leave
// file descriptors for the database.
const (
	maxHTTPS   = 8192
	maxPublish = 1024
	maxMetrics = 64
)

// openListeners takes the sockets that systemd passed by name, and opens the others itself.
func openListeners(c config.Config) (*listeners, error) {
	passed, err := activation.ListenersWithNames()
	if err != nil {
		return nil, fmt.Errorf("taking sockets from systemd: %w", err)
	}
	var l listeners
	for _, want := range []struct {
		name, key, address string
		limit              int
		to                 *net.Listener
	}{
		{"https", "listen", c.Listen, maxHTTPS, &l.https},
		{"publish", "publish.listen", c.Publish.Listen, maxPublish, &l.publish},
		{"metrics", "metrics.listen", c.Metrics.Listen, maxMetrics, &l.metrics},
	} {
		socket, err := openListener(passed[want.name], want.key, want.address)
		if err != nil {
			l.close()
			return nil, err
		}
		*want.to = netutil.LimitListener(socket, want.limit)
		delete(passed, want.name)
	}
	if len(passed) > 0 {
		l.close()
		return nil, fmt.Errorf("systemd passed sockets named %s: set FileDescriptorName= of each "+
			"socket unit to https, publish or metrics",
			strings.Join(slices.Sorted(maps.Keys(passed)), ", "))
	}
	return &l, nil
}

func openListener(passed []net.Listener, key, address string) (net.Listener, error) {
	if len(passed) == 1 {
		return passed[0], nil
	}
	if len(passed) > 1 {
		return nil, fmt.Errorf("systemd passed %d sockets for %s: leave one", len(passed), key)
	}
	socket, err := net.Listen("tcp", address)
	if err == nil {
		return socket, nil
	}
	change := fmt.Sprintf("choose another with --%s, %s or %s", config.FlagName(key),
		config.EnvName(key), key)
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return nil, fmt.Errorf("the address %s is taken by another program: %s", address, change)
	case errors.Is(err, syscall.EACCES):
		return nil, fmt.Errorf("no permission to listen on %s: %s, or give the program the capability "+
			"CAP_NET_BIND_SERVICE", address, change)
	default:
		return nil, fmt.Errorf("listening on %s: %w: %s", address, err, change)
	}
}

func (l *listeners) close() {
	for _, socket := range []net.Listener{l.https, l.publish, l.metrics} {
		if socket != nil {
			socket.Close()
		}
	}
}

// door is a listener with what answers on it.
type door struct {
	socket net.Listener
	server *http.Server
}

// newDoor makes the HTTP server of a door. The limits hold for every listener: a request whose
// client is slow or whose header is large cannot hold a connection for long.
func newDoor(socket net.Listener, h http.Handler, tlsConfig *tls.Config, log *slog.Logger) door {
	return door{socket, &http.Server{
		Handler:           h,
		TLSConfig:         tlsConfig,
		ReadHeaderTimeout: 10 * time.Second,
		ReadTimeout:       30 * time.Second,
		WriteTimeout:      60 * time.Second,
		IdleTimeout:       2 * time.Minute,
		MaxHeaderBytes:    16 << 10,
		HTTP2:             &http.HTTP2Config{MaxConcurrentStreams: 100},
		// Broken handshakes and the like: the strangers' doing, not worth more than debug.
		ErrorLog: slog.NewLogLogger(log.Handler(), slog.LevelDebug),
	}}
}

// drainTime bounds how long a stop waits for requests that are being answered.
const drainTime = 20 * time.Second

// serve answers until ctx ends, then takes no new connections, lets what is being answered finish,
// and returns.
func (d door) serve(ctx context.Context) error {
	var g errgroup.Group
	stopped := make(chan struct{})
	g.Go(func() error {
		defer close(stopped)
		var err error
		if d.server.TLSConfig != nil {
			err = d.server.ServeTLS(d.socket, "", "")
		} else {
			err = d.server.Serve(d.socket)
		}
		if !errors.Is(err, http.ErrServerClosed) {
			return fmt.Errorf("serving %s: %w", d.socket.Addr(), err)
		}
		return nil
	})
	g.Go(func() error {
		select {
		case <-ctx.Done():
		case <-stopped:
		}
		drain, cancel := context.WithTimeout(context.WithoutCancel(ctx), drainTime)
		defer cancel()
		if err := d.server.Shutdown(drain); err != nil {
			d.server.Close() // what is left had its time
		}
		return nil
	})
	return g.Wait()
}
