package main

import (
	"context"
	"fmt"
	"net"
	"net/netip"

	"github.com/jackc/pgx/v5/pgconn"
)

// ownAddresses are where our listeners and our database are reached, which a validation must never
// dial (never #5). A database of several addresses counts with all that its name has now.
func (h *house) ownAddresses(ctx context.Context) ([]netip.AddrPort, error) {
	var own []netip.AddrPort
	for _, socket := range []net.Listener{h.sockets.https, h.sockets.publish, h.sockets.metrics} {
		if at, err := netip.ParseAddrPort(socket.Addr().String()); err == nil { // else a Unix socket
			own = append(own, at)
		}
	}
	if h.config.DatabaseURL == "" {
		return own, nil
	}
	database, err := pgconn.ParseConfig(h.config.DatabaseURL)
	if err != nil {
		return nil, err
	}
	servers := append([]*pgconn.FallbackConfig{{Host: database.Host, Port: database.Port}},
		database.Fallbacks...)
	for _, server := range servers {
		if network, _ := pgconn.NetworkAddress(server.Host, server.Port); network == "unix" {
			continue
		}
		addrs, err := net.DefaultResolver.LookupNetIP(ctx, "ip", server.Host)
		if err != nil {
			return nil, fmt.Errorf("looking up the database's address: %w", err)
		}
		for _, addr := range addrs {
			own = append(own, netip.AddrPortFrom(addr.Unmap(), server.Port))
		}
	}
	return own, nil
}
