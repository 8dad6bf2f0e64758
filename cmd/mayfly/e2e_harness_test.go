package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"
)

// patience bounds every wait for something that normally takes milliseconds.
const patience = 60 * time.Second

// binary is the real program, built by TestMain.
var binary string

func TestMain(m *testing.M) {
	os.Exit(run(m))
}

func run(m *testing.M) int {
	dir, err := os.MkdirTemp("", "mayfly-e2e-")
	if err != nil {
		fmt.Fprintln(os.Stderr, "making a directory for the binary:", err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "mayfly")
	args := append([]string{"build", "-o", binary}, buildFlags()...)
	build := exec.Command("go", append(args, ".")...)
	build.Env = append(os.Environ(), buildEnv)
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "building the binary: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// server is one running mayfly process and how to reach it.
type server struct {
	dir                   string // its working directory; the data is below
	url, publish, metrics string
	http01Port, tlsPort   int
	env                   []string   // beside what every server gets
	args                  []string   // behind "serve"
	databaseURL           string     // empty for SQLite
	sockets               []*os.File // that systemd would pass
	stdout, stderr        output
	startup               time.Duration // from exec to /readyz

	cmd    *exec.Cmd
	exited chan struct{} // closed when cmd has ended
	client *http.Client
	roots  string // file
}

// newServer prepares a server on free ports with an empty directory; start runs it.
func newServer(t testing.TB, databaseURL string) *server {
	t.Helper()
	https, plain, metrics := freePort(t), freePort(t), freePort(t)
	s := &server{
		dir: t.TempDir(), databaseURL: databaseURL,
		url:        fmt.Sprintf("https://localhost:%d", https),
		publish:    fmt.Sprintf("http://localhost:%d", plain),
		metrics:    fmt.Sprintf("http://127.0.0.1:%d", metrics),
		http01Port: freePort(t), tlsPort: freePort(t),
	}
	s.env = []string{
		fmt.Sprintf("MAYFLY_LISTEN=127.0.0.1:%d", https),
		fmt.Sprintf("MAYFLY_PUBLISH_LISTEN=127.0.0.1:%d", plain),
		fmt.Sprintf("MAYFLY_METRICS_LISTEN=127.0.0.1:%d", metrics),
		"MAYFLY_EXTERNAL_URL=" + s.url,
		"MAYFLY_PUBLISH_EXTERNAL_URL=" + s.publish,
		fmt.Sprintf("MAYFLY_ACME_HTTP01_PORT=%d", s.http01Port),
		fmt.Sprintf("MAYFLY_ACME_TLSALPN01_PORT=%d", s.tlsPort),
		"MAYFLY_ACME_RATE_LIMITS=off",
	}
	if databaseURL != "" {
		s.env = append(s.env, "MAYFLY_DATABASE_URL="+databaseURL)
	}
	return s
}

// launch runs the program without waiting for anything.
func (s *server) launch(t testing.TB) {
	t.Helper()
	s.stdout, s.stderr = newOutput(t, s.dir, "stdout-"), newOutput(t, s.dir, "stderr-")
	s.cmd = exec.Command(binary, append([]string{"serve"}, s.args...)...)
	if s.sockets != nil {
		s.cmd = exec.Command("sh", "-c", `export LISTEN_PID=$$; exec "$0" serve`, binary)
		s.cmd.ExtraFiles = s.sockets
	}
	s.cmd.Dir = s.dir
	s.cmd.Env = slices.Concat([]string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}, s.env)
	s.cmd.Stdout, s.cmd.Stderr = s.stdout.File, s.stderr.File
	// If the test process dies, so does the server.
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	cmd, exited := s.cmd, make(chan struct{})
	s.exited = exited
	go func() {
		cmd.Wait()
		close(exited)
	}()
	t.Cleanup(func() { s.end(t, syscall.SIGKILL) })
}

// start runs the program and waits until it can issue.
func (s *server) start(t testing.TB) {
	t.Helper()
	began := time.Now()
	s.launch(t)
	s.waitReady(t)
	s.startup = time.Since(began)
}

func (s *server) waitReady(t testing.TB) {
	t.Helper()
	s.eventually(t, "the server is ready", func() error {
		pem, err := get(http.DefaultClient, s.publish+"/roots.pem")
		if err != nil {
			return err
		}
		pool := x509.NewCertPool()
		if !pool.AppendCertsFromPEM(pem) {
			return fmt.Errorf("no certificate in %q", pem)
		}
		s.roots = filepath.Join(s.dir, "roots.pem")
		if err := os.WriteFile(s.roots, pem, 0o644); err != nil {
			return err
		}
		s.client = newHTTPClient(pool)
		_, err = get(s.client, s.url+"/readyz")
		return err
	})
}

// newHTTPClient has its own connection, as every real client has.
func newHTTPClient(roots *x509.CertPool) *http.Client {
	return &http.Client{
		Timeout: patience,
		Transport: &http.Transport{
			TLSClientConfig:     &tls.Config{RootCAs: roots},
			MaxIdleConnsPerHost: 64,
		},
	}
}

func (s *server) pool(t testing.TB) *x509.CertPool {
	t.Helper()
	pem, err := os.ReadFile(s.roots)
	pool := x509.NewCertPool()
	if err != nil || !pool.AppendCertsFromPEM(pem) {
		t.Fatalf("reading roots: %v", err)
	}
	return pool
}

// end sends the signal and waits until the process is gone. It gives the exit code, -1 if a signal
// ended it.
func (s *server) end(t testing.TB, sig syscall.Signal) int {
	t.Helper()
	select {
	case <-s.exited:
	default:
		if err := s.cmd.Process.Signal(sig); err != nil && !errors.Is(err, os.ErrProcessDone) {
			t.Errorf("sending %v: %v", sig, err)
		}
	}
	select {
	case <-s.exited:
	case <-time.After(patience):
		s.cmd.Process.Kill()
		t.Errorf("the server did not end within %v of %v", patience, sig)
		<-s.exited
	}
	for _, bad := range []string{"DATA RACE", "panic"} {
		if strings.Contains(s.stderr.String(), bad) {
			t.Errorf("%s in the server's output:\n%s", bad, s.stderr.tail(4000))
		}
	}
	return s.cmd.ProcessState.ExitCode()
}

// alive fails the test if the process has ended.
func (s *server) alive() error {
	select {
	case <-s.exited:
		return fmt.Errorf("the server has ended (%v):\n%s%s", s.cmd.ProcessState,
			s.stdout.String(), s.stderr.tail(4000))
	default:
		return nil
	}
}

// eventually tries until check succeeds, the server dies or patience ends.
func (s *server) eventually(t testing.TB, what string, check func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return
		}
		if dead := s.alive(); dead != nil {
			t.Fatalf("waiting until %s: %v", what, dead)
		}
		var status *statusError
		if errors.As(err, &status) && status.code == http.StatusInternalServerError {
			t.Fatalf("waiting until %s: %v\n%s", what, err, s.stderr.tail(4000))
		}
		if time.Now().After(deadline) {
			t.Fatalf("waiting until %s: %v\n%s", what, err, s.stderr.tail(4000))
		}
		<-tick.C
	}
}

// output is a file that a process writes to.
type output struct{ *os.File }

func newOutput(t testing.TB, dir, pattern string) output {
	t.Helper()
	file, err := os.CreateTemp(dir, pattern)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { file.Close() })
	return output{file}
}

func (o output) String() string {
	text, err := os.ReadFile(o.Name())
	if err != nil {
		return err.Error()
	}
	return string(text)
}

func (o output) tail(n int) string {
	text := o.String()
	return text[max(0, len(text)-n):]
}
