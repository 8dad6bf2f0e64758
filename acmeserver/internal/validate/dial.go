package validate

import (
	"context"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/identity"
)

const (
	// dialTimeout lets one lost SYN be sent again before the next address gets its turn.
	dialTimeout = 2500 * time.Millisecond
	// maxDials keeps a name with many addresses from making us a port scanner.
	maxDials = 4
)

// connect opens a TCP connection to a port of host, and with nobody else: it resolves host once,
// drops the addresses that the policy refuses and dials exactly the others until one answers. The
// connection fails all reads and writes when ctx ends.
func (v *Validator) connect(
	ctx context.Context, host identity.Name, port uint16, t *trace,
) (net.Conn, *problem) {
	addrs, p := v.resolver.addresses(ctx, host, t)
	if p != nil {
		return nil, p
	}
	targets, p := v.permitAny(host, addrs, port, t)
	if p != nil {
		return nil, p
	}
	var tried []string
	for _, target := range targets[:min(len(targets), maxDials)] {
		at, start := target.at, v.now()
		conn, err := v.dial(ctx, target)
		if err == nil {
			t.add("connected to %s in %s", at, v.since(start))
			return conn, nil
		}
		tried = append(tried, fmt.Sprintf("%s: %s", at, reason(err)))
		t.add("connecting to %s failed after %s: %s", at, v.since(start), reason(err))
	}
	return nil, failed(connection, "connecting to %s failed (%s); "+
		"the responder must be reachable from this CA on port %d of every address of the name",
		host.Value, strings.Join(tried, "; "), port)
}

// permitAny gives those of the addresses that may be dialled; it fails if none may.
func (v *Validator) permitAny(
	host identity.Name, addrs []netip.Addr, port uint16, t *trace,
) ([]permitted, *problem) {
	var targets []permitted
	var out []string
	for _, addr := range addrs {
		target, no := v.policy.permit(addr, port)
		if no != nil {
			t.add("refused to dial %s", no)
			out = append(out, no.String())
			continue
		}
		targets = append(targets, target)
	}
	if len(targets) == 0 {
		return nil, failed(connection, "%s has no address that this CA may dial (%s); correct its "+
			"address, or have the CA's operator add the network to acme.validation_networks.allow",
			host.Value, strings.Join(out[:min(len(out), 3)], "; "))
	}
	return targets, nil
}

// since is the time from start in a form for people.
func (v *Validator) since(start time.Time) string {
	return fmt.Sprintf("%.2f ms", v.now().Sub(start).Seconds()*1000)
}

// dial waits for its turn at the address, and keeps it as long as the connection is open.
func (v *Validator) dial(ctx context.Context, target permitted) (net.Conn, error) {
	leave, err := v.addresses.enter(ctx, target.at.Addr())
	if err != nil {
		return nil, err
	}
	dialer := net.Dialer{Timeout: dialTimeout, KeepAlive: -1}
	conn, err := dialer.DialContext(ctx, "tcp", target.at.String())
	if err != nil {
		leave()
		return nil, err
	}
	stop := context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	return boundConn{conn, stop, leave}, nil
}

// boundConn is a connection whose deadline is the end of a context.
type boundConn struct {
	net.Conn
	stop  func() bool
	leave func()
}

func (c boundConn) Close() error {
	defer c.leave()
	c.stop()
	return c.Conn.Close()
}
