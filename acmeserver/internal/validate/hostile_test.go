package validate_test

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/miekg/dns"

	"github.com/mayflyca/mayfly/acmeserver/internal/validate"
)

// drip writes text over and over, a byte a millisecond, until nobody wants it any more.
func drip(conn net.Conn, text string) {
	ticker := time.NewTicker(time.Millisecond)
	defer ticker.Stop()
	for i := 0; ; i++ {
		<-ticker.C
		if _, err := conn.Write([]byte{text[i%len(text)]}); err != nil {
			return
		}
	}
}

// checkWithin runs a check whose time is cut to 100 ms and holds it to that.
func checkWithin(t *testing.T, c validate.Config, challenge validate.Challenge) validate.Result {
	t.Helper()
	c.AllowLoopback = true
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	start := time.Now()
	r := newValidator(t, c).Check(ctx, challenge)
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %s", took)
	}
	return r
}

// never #6: who is slow gains no time by it.
func TestSlowResponders(t *testing.T) {
	ok := "HTTP/1.1 200 OK\r\n"
	for name, test := range map[string]struct{ begin, slowly string }{
		"status line": {"", "HTTP/1.1"},
		"header":      {ok + "X-A: ", "x"},
		"headers":     {ok, "X-A: b\r\n"},
		"interim":     {"", "HTTP/1.1 100 Continue\r\n\r\n"},
		"body":        {ok + "Content-Length: 200\r\n\r\n", "x"},
		"chunks":      {ok + "Transfer-Encoding: chunked\r\n\r\n", "1\r\nx\r\n"},
	} {
		t.Run(name, func(t *testing.T) {
			port := serveRaw(t, "127.0.0.1:0", func(conn net.Conn) {
				io.WriteString(conn, test.begin)
				drip(conn, test.slowly)
			})
			r := checkWithin(t, validate.Config{HTTP01Port: port}, challenge("http-01", "127.0.0.1"))
			wantProblem(t, r, "connection", "timed out")
		})
	}
	t.Run("handshake", func(t *testing.T) {
		port := accept(t, "127.0.0.1:0", func(conn net.Conn) {
			conn.Write([]byte{0x16, 3, 3, 0x40, 0, 2, 0, 0x3f, 0xfc}) // a ServerHello of 16 KiB begins
			drip(conn, "x")
		})
		r := checkWithin(t, validate.Config{TLSALPN01Port: port}, challenge("tls-alpn-01", "127.0.0.1"))
		wantProblem(t, r, "tls", "timed out")
	})
}

// accept lets answer do what it likes with every connection.
func accept(t *testing.T, addr string, answer func(conn net.Conn)) int {
	t.Helper()
	l, port := listen(t, addr)
	var all sync.WaitGroup
	all.Go(func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				return
			}
			all.Go(func() {
				defer conn.Close()
				answer(conn)
			})
		}
	})
	t.Cleanup(func() {
		_ = l.Close()
		all.Wait()
	})
	return port
}

// never #6: a connection that is reset, at each stage.
func TestReset(t *testing.T) {
	for name, begin := range map[string]string{
		"at once":   "",
		"in header": "HTTP/1.1 200 OK\r\nContent-",
		"in body":   "HTTP/1.1 200 OK\r\nContent-Length: 200\r\n\r\nabc",
	} {
		t.Run(name, func(t *testing.T) {
			port := accept(t, "127.0.0.1:0", func(conn net.Conn) {
				conn.Read(make([]byte, 1)) // what is left unread makes the kernel reset
				io.WriteString(conn, begin)
				conn.(*net.TCPConn).SetLinger(0)
			})
			v := newValidator(t, validate.Config{HTTP01Port: port, TLSALPN01Port: port, AllowLoopback: true})
			r := check(t, v, challenge("http-01", "127.0.0.1"))
			wantProblem(t, r, "connection", fmt.Sprintf("127.0.0.1:%d", port))
			r = check(t, v, challenge("tls-alpn-01", "127.0.0.1"))
			wantProblem(t, r, "tls", fmt.Sprintf("127.0.0.1:%d", port))
		})
	}
}

// rawDNS answers each query with the packets that answer makes of it.
func rawDNS(t *testing.T, answer func(query []byte) [][]byte) string {
	t.Helper()
	packets, stream := listenDNS(t)
	_ = stream.Close()
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4096)
		for {
			n, from, err := packets.ReadFrom(buffer)
			if err != nil {
				return
			}
			for _, packet := range answer(buffer[:n:n]) {
				_, _ = packets.WriteTo(packet, from)
			}
		}
	}()
	t.Cleanup(func() {
		_ = packets.Close()
		<-done
	})
	return packets.LocalAddr().String()
}

// rightAnswer packs what a healthy server would answer to a query.
func rightAnswer(t *testing.T, query []byte) []byte {
	t.Helper()
	msg := new(dns.Msg)
	if err := msg.Unpack(query); err != nil {
		t.Error(err)
	}
	reply := new(dns.Msg).SetReply(msg)
	zone(t, "_acme-challenge.www.test. TXT "+keyDigest())(msg.Question[0], reply, "udp")
	packed, err := reply.Pack()
	if err != nil {
		t.Error(err)
	}
	return packed
}

// header is a DNS answer's to the query, with the given number of answers.
func header(query []byte, questions, answers byte) []byte {
	return []byte{query[0], query[1], 0x80, 0, 0, questions, 0, answers, 0, 0, 0, 0}
}

// never #6: whatever a DNS server sends, it proves nothing and takes no more time than there is.
func TestHostileDNS(t *testing.T) {
	question := []byte("\x0f_acme-challenge\x03www\x04test\x00\x00\x10\x00\x01")
	for name, answer := range map[string]func(query []byte) [][]byte{
		"nothing":     func([]byte) [][]byte { return nil },
		"empty":       func([]byte) [][]byte { return [][]byte{{}} },
		"garbage":     func([]byte) [][]byte { return [][]byte{bytes.Repeat([]byte{0xff}, 1400)} },
		"its own":     func(query []byte) [][]byte { return [][]byte{query} },
		"cut off":     func(query []byte) [][]byte { return [][]byte{rightAnswer(t, query)[:70]} },
		"header only": func(query []byte) [][]byte { return [][]byte{header(query, 1, 200)} },
		"other id": func(query []byte) [][]byte {
			other := rightAnswer(t, query)
			other[0] ^= 1
			return [][]byte{other, other, other}
		},
		"loop": func(query []byte) [][]byte { // the name is where the name is
			return [][]byte{append(header(query, 1, 0), 0xc0, 12, 0, 16, 0, 1)}
		},
		"two in a circle": func(query []byte) [][]byte {
			return [][]byte{append(header(query, 1, 0), 0xc0, 14, 0xc0, 12, 0, 16, 0, 1)}
		},
		"loop in the answer": func(query []byte) [][]byte {
			reply := append(header(query, 1, 1), question...)
			at := byte(len(reply))
			return [][]byte{append(reply, 0xc0, at, 0, 16, 0, 1, 0, 0, 0, 0, 0, 1, 0)}
		},
		"length beyond the end": func(query []byte) [][]byte {
			reply := append(header(query, 1, 1), question...)
			return [][]byte{append(reply, 0xc0, 12, 0, 16, 0, 1, 0, 0, 0, 0, 0xff, 0xff, 1, 'x')}
		},
	} {
		t.Run(name, func(t *testing.T) {
			server := rawDNS(t, answer)
			r := checkWithin(t, validate.Config{Resolvers: []string{server}}, challenge("dns-01", "www.test"))
			wantProblem(t, r, "dns", "the TXT record of _acme-challenge.www.test failed", server)
		})
	}
	// Somebody who guesses ids hinders nobody.
	server := rawDNS(t, func(query []byte) [][]byte {
		other := rightAnswer(t, query)
		other[1] ^= 1
		return [][]byte{other, rightAnswer(t, query)}
	})
	wantOK(t, checkWithin(t, validate.Config{Resolvers: []string{server}}, challenge("dns-01", "www.test")))
}

// never #6: the same over TCP, where an answer can be slow and long.
func TestHostileDNSOverTCP(t *testing.T) {
	for name, answer := range map[string]func(conn net.Conn){
		"nothing": func(conn net.Conn) { _, _ = io.Copy(io.Discard, conn) },
		"slowly": func(conn net.Conn) {
			conn.Write([]byte{0xff, 0xff})
			drip(conn, "x")
		},
		"garbage": func(conn net.Conn) { io.WriteString(conn, strings.Repeat("\x00\x20garbage, ", 1000)) },
		"reset":   func(conn net.Conn) { conn.(*net.TCPConn).SetLinger(0) },
	} {
		t.Run(name, func(t *testing.T) {
			server := rawDNS(t, func(query []byte) [][]byte {
				reply := rightAnswer(t, query)
				reply[2] |= 2 // truncated
				return [][]byte{reply}
			})
			accept(t, server, answer)
			r := checkWithin(t, validate.Config{Resolvers: []string{server}}, challenge("dns-01", "www.test"))
			wantProblem(t, r, "dns", server)
		})
	}
}

// A validation that is given up ends at once, also in the middle of a question to a silent server.
func TestCancelledLookup(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	server := rawDNS(t, func([]byte) [][]byte {
		cancel()
		return nil
	})
	start := time.Now()
	r := newValidator(t, validate.Config{Resolvers: []string{server}}).Check(ctx, challenge("dns-01", "www.test"))
	wantProblem(t, r, "dns", "cut short")
	if took := time.Since(start); took > time.Second {
		t.Errorf("took %s", took)
	}
}
