package main_test

import (
	"cmp"
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"
	"time"
)

// freePort finds a port that nobody listens on, below those that the system gives to clients.
func freePort(t testing.TB) int {
	t.Helper()
	for range 100 {
		port := 10000 + rand.IntN(20000)
		l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", port))
		if err != nil {
			continue
		}
		l.Close()
		return port
	}
	t.Fatal("found no free port")
	return 0
}

// serveResponder lets r answer on the server's http-01 port.
func serveResponder(t testing.TB, s *server) *responder {
	t.Helper()
	r := &responder{}
	l, err := net.Listen("tcp", fmt.Sprintf("127.0.0.1:%d", s.http01Port))
	if err != nil {
		t.Fatal(err)
	}
	srv := &http.Server{Handler: r}
	go srv.Serve(l)
	t.Cleanup(func() { srv.Close() })
	return r
}

// need skips a test whose foreign program is missing, unless it must be there.
func need(t testing.TB, program string) {
	t.Helper()
	if _, err := exec.LookPath(program); err == nil {
		return
	}
	if os.Getenv("MAYFLY_TEST_CLIENTS") == "required" {
		t.Fatalf("%s is missing; tools/setup installs it", program)
	}
	t.Skipf("%s is missing; tools/setup installs it", program)
}

// command runs a foreign program in the directory and gives its output.
func command(t testing.TB, dir string, env []string, name string, args ...string) (string, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.WithoutCancel(t.Context()), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, name, args...)
	cmd.Dir = dir
	cmd.Env = slices.Concat(
		[]string{"PATH=" + cmp.Or(os.Getenv("PATH"), "/usr/bin:/bin"), "HOME=" + dir, "LC_ALL=C"}, env)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// mustRun is command for what has to work.
func mustRun(t testing.TB, dir string, env []string, name string, args ...string) string {
	t.Helper()
	out, err := command(t, dir, env, name, args...)
	if err != nil {
		t.Fatalf("%s %s: %v\n%s", name, strings.Join(args, " "), err, out)
	}
	return out
}
