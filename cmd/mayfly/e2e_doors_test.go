package main_test

import (
	"bytes"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// Whatever a stranger sends gets an answer that says what is wrong, and never a 5xx (never #4, #29).
func TestBadInput(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.env = append(s.env, "MAYFLY_LOG_FORMAT=json")
	s.start(t)
	token := "Bearer " + s.token(t)
	const (
		certs   = "/api/v1/certificates"
		order   = "/acme/new-order"
		account = "/acme/new-account"
		anyJSON = "application/json"
		jose    = "application/jose+json"
	)
	big := strings.Repeat("x", 2<<20)
	for name, tc := range map[string]struct {
		method, path, kind, body string
		header                   http.Header
		want                     int
	}{
		"REST body too large":        {"POST", certs, anyJSON, `{"csr":"` + big + `"}`, nil, 413},
		"REST body no JSON":          {"POST", certs, anyJSON, "\x00{[", nil, 400},
		"REST body empty":            {"POST", certs, anyJSON, "", nil, 400},
		"REST deep JSON":             {"POST", certs, anyJSON, strings.Repeat("[", 50000), nil, 400},
		"REST CSR is no PEM":         {"POST", certs, anyJSON, `{"csr":"hello"}`, nil, 422},
		"REST unknown field":         {"POST", certs, anyJSON, `{"csr":"x","crs":"x"}`, nil, 422},
		"REST wrong type":            {"POST", certs, anyJSON, `{"csr":17}`, nil, 422},
		"REST other media type":      {"POST", certs, "application/xml", "<csr/>", nil, 415},
		"REST wrong method":          {"DELETE", certs, "", "", nil, 405},
		"REST unknown path":          {"GET", "/api/v1/nothing", "", "", nil, 404},
		"REST odd serial":            {"GET", certs + "/zz", "", "", nil, 422},
		"REST unknown serial":        {"GET", certs + "/00112233445566778899aabbccddeeff", "", "", nil, 404},
		"REST odd cursor":            {"GET", certs + "?cursor=%00%ff", "", "", nil, 422},
		"REST odd limit":             {"GET", certs + "?limit=-1", "", "", nil, 422},
		"REST odd status":            {"GET", certs + "?status=sleepy", "", "", nil, 422},
		"REST NUL in a name":         {"GET", certs + "?name=%00", "", "", nil, 422},
		"REST no token":              {"GET", certs, "", "", http.Header{"Authorization": {""}}, 401},
		"REST wrong token":           {"GET", certs, "", "", http.Header{"Authorization": {"Bearer x"}}, 401},
		"REST odd scheme":            {"GET", certs, "", "", http.Header{"Authorization": {"Basic Og=="}}, 401},
		"ACME body too large":        {"POST", order, jose, big, nil, 413},
		"ACME body no JSON":          {"POST", order, jose, "hello", nil, 400},
		"ACME body empty":            {"POST", order, jose, "", nil, 400},
		"ACME no signature":          {"POST", account, jose, `{"protected":"","payload":""}`, nil, 400},
		"ACME other media type":      {"POST", account, anyJSON, `{}`, nil, 415},
		"ACME wrong method":          {"GET", order, "", "", nil, 405},
		"ACME unknown path":          {"GET", "/acme/nothing", "", "", nil, 404},
		"ACME directory by POST":     {"POST", "/acme/directory", jose, "", nil, 400},
		"console by POST":            {"POST", "/", "text/plain", "hello", nil, 405},
		"console unknown path":       {"GET", "/nothing", "", "", nil, 404},
		"roots by POST":              {"POST", "/roots.pem", "text/plain", "hello", nil, 405},
		"root unknown":               {"GET", "/roots/00", "", "", nil, 404},
		"many headers":               {"GET", "/healthz", "", "", flood(), 431},
		"path of control characters": {"GET", "/%00%0a%ff", "", "", nil, 404},
	} {
		t.Run(name, func(t *testing.T) {
			req, err := http.NewRequestWithContext(t.Context(), tc.method, s.url+tc.path, strings.NewReader(tc.body))
			if err != nil {
				t.Fatal(err)
			}
			if tc.header != nil {
				req.Header = tc.header
			}
			if req.Header.Get("Authorization") == "" && !strings.Contains(name, "no token") {
				req.Header.Set("Authorization", token)
			}
			if tc.kind != "" {
				req.Header.Set("Content-Type", tc.kind)
			}
			resp, err := s.client.Do(req)
			if err != nil {
				t.Fatal(err)
			}
			defer resp.Body.Close()
			body, err := io.ReadAll(resp.Body)
			if err != nil {
				t.Fatal(err)
			}
			if resp.StatusCode != tc.want {
				t.Errorf("answered %d, want %d: %s", resp.StatusCode, tc.want, body)
			}
			if resp.StatusCode == http.StatusRequestHeaderFieldsTooLarge {
				return // net/http answers, before anything of ours
			}
			var problem struct {
				Status int
				Detail string
			}
			kind := resp.Header.Get("Content-Type")
			isPage := strings.HasPrefix(kind, "text/") && !strings.HasPrefix(tc.path, "/a")
			if !isPage && (kind != "application/problem+json" || json.Unmarshal(body, &problem) != nil ||
				problem.Status != tc.want || problem.Detail == "") {
				t.Errorf("no problem document: %s %s", kind, body)
			}
			s.wantSecurityHeaders(t, resp)
		})
	}
	if err := s.alive(); err != nil {
		t.Error(err)
	}
	if strings.Contains(s.stderr.String(), s.token(t)) {
		t.Error("the token is in the log")
	}
	for line := range strings.Lines(s.stderr.String()) {
		var entry struct {
			Msg       string
			RequestID string `json:"request_id"`
		}
		if err := json.Unmarshal([]byte(line), &entry); err != nil || entry.Msg == "request" && entry.RequestID == "" {
			t.Errorf("the log has %s", line)
		}
	}
}

func flood() http.Header {
	h := http.Header{}
	for i := range 1000 {
		h.Set(fmt.Sprint("X-Flood-", i), strings.Repeat("x", 40))
	}
	return h
}

func (s *server) wantSecurityHeaders(t *testing.T, resp *http.Response) {
	t.Helper()
	for _, name := range []string{
		"X-Request-Id", "X-Content-Type-Options", "Content-Security-Policy", "X-Frame-Options",
		"Referrer-Policy",
	} {
		if resp.Header.Get(name) == "" {
			t.Errorf("%s lacks %s", resp.Request.URL.Path, name)
		}
	}
	if got := resp.Header.Get("Strict-Transport-Security"); (got != "") != (resp.TLS != nil) {
		t.Errorf("%s has Strict-Transport-Security %q", resp.Request.URL, got)
	}
}

// What is no HTTP at all costs a connection and nothing else.
func TestNoise(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.start(t)
	for name, noise := range map[string][]byte{
		"plain HTTP": []byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"), "nothing": {},
		"zeros": make([]byte, 4096), "long line": bytes.Repeat([]byte("A"), 1<<16),
		"half a ClientHello": {0x16, 3, 1, 2, 0, 1, 0, 1, 0xfc},
	} {
		for _, address := range []string{s.address(), strings.TrimPrefix(s.publish, "http://")} {
			conn, err := net.Dial("tcp", address)
			if err != nil {
				t.Fatal(err)
			}
			conn.SetDeadline(time.Now().Add(patience))
			conn.Write(noise)
			conn.(*net.TCPConn).CloseWrite()
			if answer, err := io.ReadAll(conn); err == nil && bytes.Contains(answer, []byte(" 50")) {
				t.Errorf("%s: %s answered %s", name, address, answer)
			}
			conn.Close()
		}
	}
	if _, err := get(s.client, s.url+"/healthz"); err != nil {
		t.Error(err)
	}
}

// TLS 1.2 with forward secrecy and AEAD at least, and HTTP/2 for whoever wants it.
func TestTLS(t *testing.T) {
	t.Parallel()
	s := newServer(t, "")
	s.start(t)
	old, tls12 := uint16(tls.VersionTLS11), uint16(tls.VersionTLS12)
	for name, tc := range map[string]struct {
		max    uint16
		suites []uint16
		ok     bool
	}{
		"TLS 1.3":                  {tls.VersionTLS13, nil, true},
		"TLS 1.2":                  {tls12, nil, true},
		"TLS 1.2 AES-128-GCM":      {tls12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_GCM_SHA256}, true},
		"TLS 1.2 AES-256-GCM":      {tls12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_256_GCM_SHA384}, true},
		"TLS 1.2 ChaCha20":         {tls12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_CHACHA20_POLY1305_SHA256}, true},
		"TLS 1.2 CBC":              {tls12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA, tls.TLS_ECDHE_ECDSA_WITH_AES_256_CBC_SHA}, false},
		"TLS 1.2 CBC with SHA-256": {tls12, []uint16{tls.TLS_ECDHE_ECDSA_WITH_AES_128_CBC_SHA256}, false},
		"TLS 1.2 RSA key exchange": {tls12, []uint16{tls.TLS_RSA_WITH_AES_128_GCM_SHA256}, false},
		"TLS 1.1":                  {old, nil, false},
	} {
		config := &tls.Config{
			RootCAs: s.pool(t), MinVersion: tls.VersionTLS10, MaxVersion: tc.max, CipherSuites: tc.suites,
			NextProtos: []string{"h2"},
		}
		conn, err := tls.Dial("tcp", s.address(), config)
		if (err == nil) != tc.ok {
			t.Errorf("%s: %v", name, err)
		}
		if err != nil {
			continue
		}
		if state := conn.ConnectionState(); state.Version != tc.max || state.NegotiatedProtocol != "h2" {
			t.Errorf("%s: version %x, protocol %q", name, state.Version, state.NegotiatedProtocol)
		}
		conn.Close()
	}
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{RootCAs: s.pool(t)}, ForceAttemptHTTP2: true,
	}}
	for path, want := range map[string]int{
		"/": 200, "/acme/directory": 200, "/openapi.json": 200, "/roots.pem": 200, "/issuers.pem": 200,
		"/healthz": 200, "/readyz": 200, "/acme/new-nonce": 204, "/api/v1/certificates": 401, "/x": 404,
	} {
		resp, err := client.Get(s.url + path)
		if err != nil {
			t.Fatal(err)
		}
		resp.Body.Close()
		if resp.StatusCode != want || resp.ProtoMajor != 2 {
			t.Errorf("%s: %s %d, want %d", path, resp.Proto, resp.StatusCode, want)
		}
		s.wantSecurityHeaders(t, resp)
	}
}

// The metrics that an operator's dashboards and alerts are made of.
func TestMetrics(t *testing.T) {
	for engine, database := range engines {
		t.Run(engine, func(t *testing.T) {
			t.Parallel()
			s := newServer(t, database(t))
			s.env = append(s.env, "MAYFLY_ACME_RESOLVER="+serveDNS(t).address)
			s.start(t)
			acme, err := newACMEClient(t.Context(), s.client, s.directory(), serveResponder(t, s))
			if err != nil {
				t.Fatal(err)
			}
			if _, err := acme.flow(t.Context(), "metrics.test"); err != nil {
				t.Fatal(err)
			}
			csr, _, err := newCSR("not_a_name.test")
			if err != nil {
				t.Fatal(err)
			}
			if _, err := s.issueOnce(t.Context(), s.client, s.token(t), "refused", csr); err == nil {
				t.Error("a name with an underscore was issued")
			}
			text := s.scrape(t)
			for _, name := range []string{
				`mayfly_certificates_issued_total{profile="server"} 2`, // one is the door's own
				`mayfly_certificates_refused_total{kind="invalid"} 1`, `mayfly_issue_seconds_count 2`,
				`mayfly_issuer_expiry_timestamp_seconds{`, `mayfly_crls_published_total `,
				`mayfly_acme_requests_total{endpoint="finalize",problem=""} 1`,
				`mayfly_acme_nonces_total{result="`, `mayfly_acme_validations{state="`,
				`mayfly_acme_validation_seconds_count{outcome="valid",type="http-01"} 1`,
				`mayfly_build_info{`, `mayfly_own_certificate_expiry_timestamp_seconds `,
				`mayfly_store_commit_seconds_count{lane="durable"}`,
				`mayfly_store_batch_writes_count{lane="durable"}`,
				`mayfly_store_queue_writes{lane="durable"}`, `mayfly_store_commits_total{`,
				`process_resident_memory_bytes `, `go_goroutines `,
			} {
				if !strings.Contains(text, "\n"+name) {
					t.Errorf("%s is missing", name)
				}
			}
			for _, path := range []string{"/healthz", "/readyz"} {
				if _, err := get(http.DefaultClient, s.metrics+path); err != nil {
					t.Error(err)
				}
			}
		})
	}
}

func (s *server) scrape(t testing.TB) string {
	t.Helper()
	text, err := get(http.DefaultClient, s.metrics+"/metrics")
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
