package main_test

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"
)

// More foreign clients obtain, renew and, if they can, revoke (never #20). None of them is forced to
// renew: its own rule must find that the certificate is due, with the settings of docs/acme.md or, where
// that would take hours, a wider window.
func TestMoreClients(t *testing.T) {
	clients := []struct {
		name string
		test func(*testing.T, *server)
	}{
		{"dehydrated", dehydrated},
		{"uacme", uacme},
		{"Caddy http-01", caddyHTTP},
		{"Caddy tls-alpn-01", caddyTLS},
		{"Apache mod_md http-01", modMD},
	}
	for _, c := range clients {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			need(t, "openssl")
			dns := serveDNS(t)
			s := newServer(t, "")
			s.env = append(s.env, "MAYFLY_ACME_RESOLVER="+dns.address)
			s.start(t)
			c.test(t, s)
		})
	}
}

func dehydrated(t *testing.T, s *server) {
	need(t, "dehydrated")
	s.write(t, "dehydrated.conf", `CA=%s
CURL_OPTS="--cacert %s"
RENEW_DAYS=1
KEYSIZE=2048
BASEDIR=%s
WELLKNOWN=%s
`, s.directory(), s.roots, s.dir, s.serveWebroot(t))
	run := func(args ...string) {
		t.Helper()
		mustRun(t, s.dir, nil, "dehydrated", append([]string{"--config", "dehydrated.conf"}, args...)...)
	}
	names := []string{"dehydrated.test", "www.dehydrated.test"}
	live := filepath.Join(s.dir, "certs", names[0])
	obtain := func() *x509.Certificate {
		t.Helper()
		run("--cron", "--domain", strings.Join(names, " "))
		return s.verify(t, filepath.Join(live, "fullchain.pem"), names...)
	}
	run("--register", "--accept-terms")
	first := obtain()
	second := obtain()
	differ(t, first, second)
	run("--revoke", filepath.Join(live, "cert.pem"))
	s.verifyRevoked(t, second)
}

func uacme(t *testing.T, s *server) {
	need(t, "uacme")
	env := []string{
		"LD_PRELOAD=" + trustRoots(t, s),
		"UACME_CHALLENGE_PATH=" + s.serveWebroot(t), // for the hook
	}
	run := func(args ...string) {
		t.Helper()
		mustRun(t, s.dir, env, "uacme", append([]string{
			"--acme-url", s.directory(), "--confdir", "uacme", "--yes",
			"--days", "1", "--hook", "/usr/share/uacme/uacme.sh",
		}, args...)...)
	}
	names := []string{"uacme.test", "www.uacme.test"}
	file := filepath.Join(s.dir, "uacme", names[0], "cert.pem")
	obtain := func() *x509.Certificate {
		t.Helper()
		run(append([]string{"issue"}, names...)...)
		return s.verify(t, file, names...)
	}
	run("new")
	first := obtain()
	second := obtain()
	differ(t, first, second)
	run("--reason", "4", "revoke", file)
	s.verifyRevoked(t, second)
}

// trustRoots makes a library that has every curl handle trust the server's roots. uacme knows no other
// way than the system's trust store, which a test must not touch.
func trustRoots(t *testing.T, s *server) string {
	t.Helper()
	need(t, "gcc")
	s.write(t, "trust.c", `#define _GNU_SOURCE
#include <dlfcn.h>
void *curl_easy_init(void) {
	void *(*init)(void) = dlsym(RTLD_NEXT, "curl_easy_init");
	int (*setopt)(void *, int, ...) = dlsym(RTLD_NEXT, "curl_easy_setopt");
	void *curl = init();
	if (curl) setopt(curl, 10065 /* CURLOPT_CAINFO */, "%s");
	return curl;
}
`, s.roots)
	mustRun(t, s.dir, nil, "gcc", "-shared", "-fPIC", "-o", "trust.so", "trust.c", "-ldl")
	return filepath.Join(s.dir, "trust.so")
}

func caddyHTTP(t *testing.T, s *server) { caddy(t, s, "disable_tlsalpn_challenge") }

func caddyTLS(t *testing.T, s *server) { caddy(t, s, "disable_http_challenge") }

// caddy obtains by its Caddyfile. What it takes from its storage the second time is due at once by
// another ratio of the lifetime. It has no revocation of its own.
func caddy(t *testing.T, s *server, challenge string) {
	need(t, "caddy")
	s.write(t, "Caddyfile", `{
	admin off
	skip_install_trust
	http_port %d
	https_port %d
	storage file_system caddy
}
caddy.test {
	bind 127.0.0.1
	tls {
		issuer acme {
			dir %s
			trusted_roots %s
			%s
		}
	}
	respond "Hello over TLS"
}
`, s.http01Port, s.tlsPort, s.directory(), s.roots, challenge)
	running := s.alongside(t, "caddy", "run", "--config", "Caddyfile", "--adapter", "caddyfile")
	first := s.verify(t, s.served(t, running, "caddy.test", nil), "caddy.test")
	running.stop(t)

	adapted := mustRun(t, s.dir, nil, "sh", "-c",
		"caddy adapt --config Caddyfile --adapter caddyfile 2>/dev/null")
	const policy = `"policies":[{`
	if strings.Count(adapted, policy) != 1 {
		t.Fatalf("not one automation policy in %s", adapted)
	}
	s.write(t, "caddy.json", "%s", strings.Replace(adapted, policy, policy+`"renewal_window_ratio":0.99,`, 1))
	running = s.alongside(t, "caddy", "run", "--config", "caddy.json")
	second := s.verify(t, s.served(t, running, "caddy.test", first), "caddy.test")
	differ(t, first, second)
	s.revoke(t, second)
}

// modMD has Apache obtain, activate what was obtained by a graceful restart, and renew when the window
// reaches nearly to the start of the lifetime. It has no revocation of its own.
func modMD(t *testing.T, s *server) {
	const program = "/usr/sbin/apache2" // out of PATH for all but root
	need(t, program)
	// Apache's workers leave root behind, if it was root that started them.
	if err := os.Chmod(filepath.Dir(s.dir), 0o711); err != nil {
		t.Fatal(err)
	}
	configure := func(window string) {
		t.Helper()
		s.write(t, "apache.conf", apacheConf, s.dir, s.http01Port, s.tlsPort, s.directory(), s.roots, window)
	}
	configure("50%")
	apache := s.alongside(t, program, "-DFOREGROUND", "-f", filepath.Join(s.dir, "apache.conf"))
	graceful := func(window string) {
		t.Helper()
		configure(window)
		if err := apache.Signal(syscall.SIGUSR1); err != nil {
			t.Fatal(err)
		}
	}
	obtained := func(times int) {
		t.Helper()
		s.eventually(t, "Apache has obtained a certificate", func() error {
			apache.alive(t)
			log, err := os.ReadFile(filepath.Join(s.dir, "error.log"))
			if err == nil && strings.Count(string(log), "AH10059") < times {
				err = fmt.Errorf("its log says\n%s", log)
			}
			return err
		})
	}
	obtained(1)
	graceful("50%")
	first := s.verify(t, s.served(t, apache, "apache.test", nil), "apache.test")
	graceful("99%")
	obtained(2)
	graceful("50%")
	second := s.verify(t, s.served(t, apache, "apache.test", first), "apache.test")
	differ(t, first, second)
	s.revoke(t, second)
}

// apacheConf is a whole configuration: directory, http port, https port, ACME directory, roots, window.
const apacheConf = `ServerRoot %[1]s
DefaultRuntimeDir %[1]s
PidFile apache.pid
ErrorLog error.log
LogLevel md:info
LoadModule mpm_event_module /usr/lib/apache2/modules/mod_mpm_event.so
LoadModule authz_core_module /usr/lib/apache2/modules/mod_authz_core.so
LoadModule ssl_module /usr/lib/apache2/modules/mod_ssl.so
LoadModule md_module /usr/lib/apache2/modules/mod_md.so
User nobody
Group nogroup
StartServers 1
Listen 127.0.0.1:%[2]d
Listen 127.0.0.1:%[3]d
ServerName apache.test

MDStoreDir md
MDPortMap http:%[2]d https:%[3]d
MDCertificateAuthority %[4]s
MDCACertificateFile %[5]s
MDCertificateAgreement accepted
MDCAChallenges http-01
MDContactEmail admin@apache.test
MDCheckInterval 1h
MDRenewWindow %[6]s
MDomain apache.test
<VirtualHost 127.0.0.1:%[3]d>
	ServerName apache.test
	SSLEngine on
</VirtualHost>
`

// alongside runs a foreign server in the server's directory until the test ends, at the latest.
func (s *server) alongside(t *testing.T, name string, args ...string) *foreigner {
	t.Helper()
	out := newOutput(t, s.dir, "foreign-")
	cmd := exec.Command(name, args...)
	cmd.Dir = s.dir
	cmd.Env = []string{"PATH=" + os.Getenv("PATH"), "HOME=" + s.dir}
	cmd.Stdout, cmd.Stderr = out.File, out.File
	// If the test process dies, so does the foreign server.
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	f := &foreigner{Process: cmd.Process, exited: make(chan struct{})}
	go func() {
		cmd.Wait()
		close(f.exited)
	}()
	t.Cleanup(func() {
		f.stop(t)
		if t.Failed() {
			t.Logf("%s said:\n%s", name, out.tail(4000))
		}
	})
	return f
}

// foreigner is a running foreign server.
type foreigner struct {
	*os.Process
	exited chan struct{} // closed when it has ended
}

// alive ends the test if the foreign server has ended.
func (f *foreigner) alive(t *testing.T) {
	t.Helper()
	select {
	case <-f.exited:
		t.Fatalf("process %d has ended", f.Pid)
	default:
	}
}

func (f *foreigner) stop(t *testing.T) {
	t.Helper()
	f.Signal(syscall.SIGTERM)
	select {
	case <-f.exited:
	case <-time.After(patience):
		t.Errorf("process %d did not end within %v", f.Pid, patience)
		f.Kill()
		<-f.exited
	}
}

// served waits until the TLS server presents a certificate of the CA, another than the old one, and gives
// a file with its chain.
func (s *server) served(t *testing.T, by *foreigner, name string, old *x509.Certificate) string {
	t.Helper()
	config := &tls.Config{ServerName: name, RootCAs: s.pool(t)}
	var chain []*x509.Certificate
	s.eventually(t, "a new certificate is served", func() error {
		by.alive(t)
		dialer := tls.Dialer{Config: config}
		conn, err := dialer.DialContext(t.Context(), "tcp", fmt.Sprintf("127.0.0.1:%d", s.tlsPort))
		if err != nil {
			return err
		}
		defer conn.Close()
		chain = conn.(*tls.Conn).ConnectionState().PeerCertificates
		if old != nil && chain[0].Equal(old) {
			return errors.New("it is the old one")
		}
		return nil
	})
	file := filepath.Join(s.dir, "served.pem")
	var ders [][]byte
	for _, cert := range chain {
		ders = append(ders, cert.Raw)
	}
	writePEM(t, file, "CERTIFICATE", ders...)
	return file
}

// write makes a file in the server's directory.
func (s *server) write(t *testing.T, name, format string, args ...any) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(s.dir, name), fmt.Appendf(nil, format, args...), 0o644); err != nil {
		t.Fatal(err)
	}
}
