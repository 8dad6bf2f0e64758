package main

import (
	"fmt"
	"net"
	"net/netip"
	"slices"
	"testing"

	"github.com/mayflyca/mayfly/config"
)

// never #5: what a validation must not dial is known for every socket and every form of database URL.
func TestOwnAddresses(t *testing.T) {
	var h house
	h.sockets = &listeners{}
	var sockets []string
	for _, to := range []*net.Listener{&h.sockets.https, &h.sockets.publish, &h.sockets.metrics} {
		socket, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		defer socket.Close()
		*to = socket
		sockets = append(sockets, socket.Addr().String())
	}
	for url, database := range map[string][]string{
		"": nil,
		"postgres://mayfly:secret@10.0.0.5/mayfly":                        {"10.0.0.5:5432"},
		"postgres://mayfly@10.0.0.5:5433,[fd00::5]:5434/mayfly":           {"10.0.0.5:5433", "[fd00::5]:5434"},
		"postgres://mayfly@localhost:5435/mayfly?sslmode=prefer":          {"127.0.0.1:5435"},
		"postgres:///mayfly?host=/run/postgresql":                         nil,
		"postgres:///mayfly?host=/run/postgresql,10.0.0.6&port=5432,5436": {"10.0.0.6:5436"},
	} {
		h.config = config.Config{DatabaseURL: url}
		own, err := h.ownAddresses(t.Context())
		if err != nil {
			t.Errorf("%s: %v", url, err)
		}
		for _, want := range append(slices.Clone(sockets), database...) {
			if !slices.Contains(own, netip.MustParseAddrPort(want)) {
				t.Errorf("%s: %s is not among %s", url, want, own)
			}
		}
		if database == nil && len(own) != len(sockets) {
			t.Errorf("%s: %s", url, fmt.Sprint(own))
		}
	}
}
