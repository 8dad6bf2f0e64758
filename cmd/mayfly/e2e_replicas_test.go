package main_test

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"

	"github.com/mayflyca/mayfly/store/storetest"
)

// Two replicas on one database behind a balancer that knows nothing: every request of a flow goes to
// the other one than the request before.
func TestReplicas(t *testing.T) {
	t.Parallel()
	database, dns := storetest.PostgresURL(t), serveDNS(t)
	front := fmt.Sprintf("localhost:%d", freePort(t))
	first := newServer(t, database)
	second := newServer(t, database)
	second.http01Port = first.http01Port
	for _, s := range []*server{first, second} {
		s.env = append(s.env, "MAYFLY_ACME_RESOLVER="+dns.address, "MAYFLY_EXTERNAL_URL=https://"+front,
			"MAYFLY_PUBLISH_EXTERNAL_URL="+first.publish,
			fmt.Sprintf("MAYFLY_ACME_HTTP01_PORT=%d", first.http01Port))
	}
	first.start(t)
	second.copyData(t, first)
	second.start(t)
	counts := balance(t, front, first.address(), second.address())

	client := &http.Client{Timeout: patience, Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: first.pool(t)}, DisableKeepAlives: true,
	}}
	acme, err := newACMEClient(t.Context(), client, "https://"+front+"/acme/directory", serveResponder(t, first))
	if err != nil {
		t.Fatal(err)
	}
	var last []byte
	for n := range 5 {
		chain, err := acme.flow(t.Context(), fmt.Sprintf("n%d.replicas.test", n))
		if err != nil {
			t.Fatal(err)
		}
		last = chain[0]
	}
	for i := range counts {
		if counts[i].Load() < 15 {
			t.Errorf("replica %d got %d requests", i, counts[i].Load())
		}
	}
	if err := acme.revoke(t.Context(), last, 4); err != nil {
		t.Error(err)
	}
	token := first.token(t)
	for _, s := range []*server{first, second} {
		if got := s.list(t, token, "suffix=replicas.test&status=valid"); len(got) != 4 {
			t.Errorf("%s lists %d valid certificates, want 4", s.url, len(got))
		}
	}

	// One goes, the other carries on alone.
	if code := first.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
	second.issue(t, token, "alone.replicas.test")
}

// balance hands each connection to the next address.
func balance(t *testing.T, front string, to ...string) []atomic.Int64 {
	t.Helper()
	l, err := net.Listen("tcp", strings.Replace(front, "localhost", "127.0.0.1", 1))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { l.Close() })
	counts := make([]atomic.Int64, len(to))
	go func() {
		for n := 0; ; n++ {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			counts[n%len(to)].Add(1)
			go forward(conn, to[n%len(to)])
		}
	}()
	return counts
}

func forward(from net.Conn, to string) {
	defer from.Close()
	conn, err := net.Dial("tcp", to)
	if err != nil {
		return
	}
	defer conn.Close()
	go func() {
		io.Copy(conn, from)
		conn.(*net.TCPConn).CloseWrite()
	}()
	io.Copy(from, conn)
}
