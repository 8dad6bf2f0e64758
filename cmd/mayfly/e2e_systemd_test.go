package main_test

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// The program takes the sockets that systemd opened, and tells it when it is ready, alive and
// stopping (sd_listen_fds(3), sd_notify(3)).
func TestSystemd(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	manager, err := net.ListenUnixgram("unixgram", &net.UnixAddr{
		Net: "unixgram", Name: filepath.Join(s.dir, "notify"),
	})
	if err != nil {
		t.Fatal(err)
	}
	defer manager.Close()
	// In the order in which systemd may pass them: by unit, not by what we call them first.
	for _, url := range []string{s.publish, s.url} {
		l, err := net.Listen("tcp", strings.Replace(url[strings.LastIndexByte(url, '/')+1:], "localhost", "127.0.0.1", 1))
		if err != nil {
			t.Fatal(err)
		}
		defer l.Close()
		file, err := l.(*net.TCPListener).File()
		if err != nil {
			t.Fatal(err)
		}
		defer file.Close()
		s.sockets = append(s.sockets, file)
	}
	s.env = append(s.env, "LISTEN_FDS=2", "LISTEN_FDNAMES=publish:https", "WATCHDOG_USEC=200000",
		"NOTIFY_SOCKET="+manager.LocalAddr().String(),
		// Nobody could listen here; the sockets take precedence.
		"MAYFLY_LISTEN=192.0.2.1:1", "MAYFLY_PUBLISH_LISTEN=192.0.2.1:2")
	s.start(t)
	s.issue(t, s.token(t), "systemd.test")
	want := func(state string) {
		t.Helper()
		manager.SetReadDeadline(time.Now().Add(patience))
		for told := make([]byte, 256); ; {
			n, err := manager.Read(told)
			if err != nil {
				t.Fatalf("waiting for %s: %v", state, err)
			}
			if string(told[:n]) == state {
				return
			}
		}
	}
	want("READY=1")
	want("WATCHDOG=1")
	if err := s.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	want("STOPPING=1")
	select {
	case <-s.exited:
	case <-time.After(patience):
		t.Fatal("the process does not end")
	}
	if code := s.end(t, syscall.SIGTERM); code != 0 {
		t.Errorf("exit code %d", code)
	}
}

// A socket that nobody knows is a mistake in the units, said plainly.
func TestSystemdOddSocket(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", freePort(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	file, err := l.(*net.TCPListener).File()
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	s.sockets = []*os.File{file}
	s.env = append(s.env, "LISTEN_FDS=1", "LISTEN_FDNAMES=htps")
	s.refusesToStart(t, 1, "systemd passed sockets named htps: set FileDescriptorName=")
}
