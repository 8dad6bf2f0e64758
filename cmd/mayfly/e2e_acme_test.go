package main_test

import (
	"bytes"
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"math/big"
	"net/http"
	"strings"
	"sync"
	"time"
)

// acmeClient is the leanest ACME client (RFC 8555) that can drive load: one P-256 account, http-01
// only, no retries but for badNonce, and it asks a second time only where the server was not done.
// It belongs to one goroutine.
type acmeClient struct {
	http      *http.Client
	responder *responder
	directory acmeDirectory
	key       *ecdsa.PrivateKey
	kid       string
	thumb     string
	nonces    []string
	csrKey    *ecdsa.PrivateKey
}

type acmeDirectory struct {
	NewNonce   string `json:"newNonce"`
	NewAccount string `json:"newAccount"`
	NewOrder   string `json:"newOrder"`
	RevokeCert string `json:"revokeCert"`
}

type acmeOrder struct {
	Status         string
	Authorizations []string
	Finalize       string
	Certificate    string
	Error          json.RawMessage
}

type acmeAuthorization struct {
	Status     string
	Challenges []struct{ Type, URL, Token, Status string }
}

// statusError is any answer other than the one a step needs.
type statusError struct {
	url        string
	code       int
	problem    string // the type's last part
	body       string
	retryAfter string
}

func (e *statusError) Error() string {
	return fmt.Sprintf("%s answered %d: %s", e.url, e.code, e.body)
}

var b64 = base64.RawURLEncoding

func newACMEClient(ctx context.Context, hc *http.Client, directory string, r *responder) (*acmeClient, error) {
	c := &acmeClient{http: hc, responder: r}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, directory, nil)
	if err != nil {
		return nil, err
	}
	if _, err := c.do(req, &c.directory); err != nil {
		return nil, err
	}
	if c.csrKey, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return nil, err
	}
	return c, c.register(ctx)
}

// register makes a fresh account.
func (c *acmeClient) register(ctx context.Context) (err error) {
	if c.key, err = ecdsa.GenerateKey(elliptic.P256(), rand.Reader); err != nil {
		return err
	}
	c.kid = ""
	sum := sha256.Sum256(c.jwk())
	c.thumb = b64.EncodeToString(sum[:])
	head, err := c.post(ctx, c.directory.NewAccount, map[string]bool{"termsOfServiceAgreed": true}, nil)
	if err != nil {
		return err
	}
	c.kid = head.Get("Location")
	return nil
}

// jwk is the account key with its members in the order that RFC 7638 wants.
func (c *acmeClient) jwk() []byte {
	point, err := c.key.PublicKey.Bytes()
	if err != nil {
		panic(err) // a P-256 key that we made
	}
	return fmt.Appendf(nil, `{"crv":"P-256","kty":"EC","x":"%s","y":"%s"}`,
		b64.EncodeToString(point[1:33]), b64.EncodeToString(point[33:]))
}

// flow obtains one certificate and gives its chain, leaf first.
func (c *acmeClient) flow(ctx context.Context, name string) ([][]byte, error) {
	var order acmeOrder
	head, err := c.post(ctx, c.directory.NewOrder, map[string]any{
		"identifiers": []map[string]string{{"type": "dns", "value": name}},
	}, &order)
	if err != nil {
		return nil, err
	}
	url := head.Get("Location")
	for _, authz := range order.Authorizations {
		if err := c.authorize(ctx, authz); err != nil {
			return nil, err
		}
	}
	csr, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{DNSNames: []string{name}}, c.csrKey)
	if err != nil {
		return nil, err
	}
	body := map[string]string{"csr": b64.EncodeToString(csr)}
	if _, err := c.post(ctx, order.Finalize, body, &order); err != nil {
		return nil, err
	}
	err = c.poll(ctx, url, &order, func() (bool, error) {
		if order.Status == "invalid" {
			return false, fmt.Errorf("order %s is invalid: %s", url, order.Error)
		}
		return order.Status == "valid", nil
	})
	if err != nil {
		return nil, err
	}
	var chain bytes.Buffer
	if _, err := c.post(ctx, order.Certificate, nil, &chain); err != nil {
		return nil, err
	}
	return parseChain(chain.Bytes())
}

func (c *acmeClient) authorize(ctx context.Context, url string) error {
	var authz acmeAuthorization
	if _, err := c.post(ctx, url, nil, &authz); err != nil {
		return err
	}
	for _, challenge := range authz.Challenges {
		if challenge.Type != "http-01" || authz.Status != "pending" {
			continue
		}
		c.responder.answers.Store(challenge.Token, challenge.Token+"."+c.thumb)
		defer c.responder.answers.Delete(challenge.Token)
		if _, err := c.post(ctx, challenge.URL, struct{}{}, &struct{}{}); err != nil {
			return err
		}
	}
	return c.poll(ctx, url, &authz, func() (bool, error) {
		if authz.Status == "invalid" {
			return false, fmt.Errorf("authorization %s is invalid: %+v", url, authz.Challenges)
		}
		return authz.Status == "valid", nil
	})
}

// poll fetches the object until done, checking what is there before the first fetch.
func (c *acmeClient) poll(ctx context.Context, url string, into any, done func() (bool, error)) error {
	for wait := 5 * time.Millisecond; ; wait = min(2*wait, time.Second) {
		if ok, err := done(); ok || err != nil {
			return err
		}
		if _, err := c.post(ctx, url, nil, into); err != nil {
			return err
		}
		if ok, err := done(); ok || err != nil {
			return err
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (c *acmeClient) revoke(ctx context.Context, der []byte, reason int) error {
	body := map[string]any{"certificate": b64.EncodeToString(der), "reason": reason}
	_, err := c.post(ctx, c.directory.RevokeCert, body, nil)
	return err
}

// post signs and sends; a nil payload is POST-as-GET (RFC 8555 section 6.3).
func (c *acmeClient) post(ctx context.Context, url string, payload, into any) (http.Header, error) {
	var raw []byte
	if payload != nil {
		var err error
		if raw, err = json.Marshal(payload); err != nil {
			return nil, err
		}
	}
	for try := 0; ; try++ {
		nonce, err := c.nonce(ctx)
		if err != nil {
			return nil, err
		}
		body, err := c.sign(url, nonce, raw)
		if err != nil {
			return nil, err
		}
		req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
		if err != nil {
			return nil, err
		}
		req.Header.Set("Content-Type", "application/jose+json")
		head, err := c.do(req, into)
		var status *statusError
		if errors.As(err, &status) && status.problem == "badNonce" && try < 5 {
			continue
		}
		return head, err
	}
}

func (c *acmeClient) sign(url, nonce string, payload []byte) ([]byte, error) {
	who := `"jwk":` + string(c.jwk())
	if c.kid != "" {
		who = `"kid":"` + c.kid + `"`
	}
	protected := b64.EncodeToString(
		fmt.Appendf(nil, `{"alg":"ES256",%s,"nonce":"%s","url":"%s"}`, who, nonce, url))
	content := b64.EncodeToString(payload)
	digest := sha256.Sum256([]byte(protected + "." + content))
	r, s, err := ecdsa.Sign(rand.Reader, c.key, digest[:])
	if err != nil {
		return nil, err
	}
	return fmt.Appendf(nil, `{"protected":"%s","payload":"%s","signature":"%s"}`,
		protected, content, b64.EncodeToString(rawSignature(r, s))), nil
}

func rawSignature(r, s *big.Int) []byte {
	raw := make([]byte, 64)
	r.FillBytes(raw[:32])
	s.FillBytes(raw[32:])
	return raw
}

func (c *acmeClient) nonce(ctx context.Context) (string, error) {
	if n := len(c.nonces); n > 0 {
		nonce := c.nonces[n-1]
		c.nonces = c.nonces[:n-1]
		return nonce, nil
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodHead, c.directory.NewNonce, nil)
	if err != nil {
		return "", err
	}
	head, err := c.do(req, nil)
	if err != nil {
		return "", err
	}
	if len(c.nonces) == 0 {
		return "", fmt.Errorf("newNonce gave none: %v", head)
	}
	return c.nonce(ctx)
}

// do sends, keeps the nonce, and reads a 2xx answer into a *bytes.Buffer or as JSON.
func (c *acmeClient) do(req *http.Request, into any) (http.Header, error) {
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	if nonce := resp.Header.Get("Replay-Nonce"); nonce != "" {
		c.nonces = append(c.nonces, nonce)
	}
	body, err := io.ReadAll(io.LimitReader(resp.Body, 1<<20))
	if err != nil {
		return nil, err
	}
	if resp.StatusCode/100 != 2 {
		return resp.Header, newStatusError(resp, body)
	}
	switch to := into.(type) {
	case nil:
		return resp.Header, nil
	case *bytes.Buffer:
		to.Write(body)
		return resp.Header, nil
	default:
		return resp.Header, json.Unmarshal(body, to)
	}
}

func newStatusError(resp *http.Response, body []byte) *statusError {
	var problem struct{ Type string }
	_ = json.Unmarshal(body, &problem) // a body that is no problem document has no type
	return &statusError{
		url: resp.Request.URL.String(), code: resp.StatusCode, body: string(body),
		problem:    problem.Type[strings.LastIndexByte(problem.Type, ':')+1:],
		retryAfter: resp.Header.Get("Retry-After"),
	}
}

func parseChain(text []byte) ([][]byte, error) {
	var chain [][]byte
	for block, rest := pem.Decode(text); block != nil; block, rest = pem.Decode(rest) {
		chain = append(chain, block.Bytes)
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("no certificate in %q", text)
	}
	return chain, nil
}

// responder answers http-01 (RFC 8555 section 8.3) for every name that leads to it.
type responder struct {
	answers sync.Map // token → key authorization
}

func (r *responder) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	token := req.URL.Path[strings.LastIndexByte(req.URL.Path, '/')+1:]
	answer, ok := r.answers.Load(token)
	if !ok {
		http.NotFound(w, req)
		return
	}
	io.WriteString(w, answer.(string))
}

// newCSR makes a PEM request for one name under a fresh key.
func newCSR(name string) (csr string, key crypto.Signer, err error) {
	k, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return "", nil, err
	}
	der, err := x509.CreateCertificateRequest(rand.Reader,
		&x509.CertificateRequest{DNSNames: []string{name}}, k)
	if err != nil {
		return "", nil, err
	}
	block := &pem.Block{Type: "CERTIFICATE REQUEST", Bytes: der}
	return string(pem.EncodeToMemory(block)), k, nil
}
