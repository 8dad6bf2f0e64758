package main_test

import (
	"net"
	"strings"
	"sync"
	"testing"

	"github.com/miekg/dns"
)

// nameServer is a DNS server of a test: every name is 127.0.0.1, and TXT records can be set.
type nameServer struct {
	address string

	mu  sync.Mutex
	txt map[string][]string // by name, fully qualified
}

func serveDNS(t testing.TB) *nameServer {
	t.Helper()
	socket, err := net.ListenPacket("udp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	n := &nameServer{address: socket.LocalAddr().String(), txt: map[string][]string{}}
	running := make(chan struct{})
	srv := &dns.Server{
		PacketConn: socket, Handler: dns.HandlerFunc(n.answer),
		NotifyStartedFunc: func() { close(running) },
	}
	go srv.ActivateAndServe()
	<-running
	t.Cleanup(func() { srv.Shutdown() })
	return n
}

func (n *nameServer) setTXT(name, value string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	name = dns.CanonicalName(name)
	n.txt[name] = append(n.txt[name], value)
}

func (n *nameServer) clearTXT(name string) {
	n.mu.Lock()
	defer n.mu.Unlock()
	delete(n.txt, dns.CanonicalName(name))
}

func (n *nameServer) answer(w dns.ResponseWriter, question *dns.Msg) {
	reply := new(dns.Msg).SetReply(question)
	for _, q := range question.Question {
		head := dns.RR_Header{Name: q.Name, Rrtype: q.Qtype, Class: dns.ClassINET}
		switch q.Qtype {
		case dns.TypeA:
			reply.Answer = append(reply.Answer, &dns.A{Hdr: head, A: net.IPv4(127, 0, 0, 1)})
		case dns.TypeTXT:
			n.mu.Lock()
			for _, value := range n.txt[strings.ToLower(q.Name)] {
				reply.Answer = append(reply.Answer, &dns.TXT{Hdr: head, Txt: []string{value}})
			}
			n.mu.Unlock()
		}
	}
	w.WriteMsg(reply)
}
