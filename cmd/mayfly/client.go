package main

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"time"
)

// clientFlags are what every client command takes.
type clientFlags struct {
	URL   string `name:"url" env:"MAYFLY_URL" default:"https://localhost:8443" help:"The CA's address."`
	Root  string `env:"MAYFLY_ROOT" help:"PEM file with the CA's root (the system's)." placeholder:"FILE"`
	Token string `env:"MAYFLY_TOKEN" help:"API token, or @FILE that holds it." placeholder:"TOKEN"`
	JSON  bool   `name:"json" help:"Print the API's answer, for machines."`
}

// client talks to the REST API.
type client struct {
	base, token string
	http        *http.Client
}

func (f clientFlags) client() (*client, error) {
	token := f.Token
	if path, isFile := strings.CutPrefix(token, "@"); isFile {
		text, err := os.ReadFile(path)
		if err != nil {
			return nil, fmt.Errorf("reading the token: %w", err)
		}
		token = strings.TrimSpace(string(text))
	}
	if token == "" {
		return nil, fmt.Errorf("no token: give --token @FILE or set MAYFLY_TOKEN; the server's first "+
			"start wrote one to its data directory, as admin-token: %w", errUsage)
	}
	tlsConfig := &tls.Config{MinVersion: tls.VersionTLS12}
	if f.Root != "" {
		text, err := os.ReadFile(f.Root)
		if err != nil {
			return nil, fmt.Errorf("reading the root: %w", err)
		}
		tlsConfig.RootCAs = x509.NewCertPool()
		if !tlsConfig.RootCAs.AppendCertsFromPEM(text) {
			return nil, fmt.Errorf("the root file %s holds no PEM certificate", f.Root)
		}
	}
	return &client{
		base: strings.TrimRight(f.URL, "/"), token: token,
		http: &http.Client{Timeout: time.Minute, Transport: &http.Transport{
			TLSClientConfig: tlsConfig, ForceAttemptHTTP2: true, Proxy: http.ProxyFromEnvironment,
		}},
	}, nil
}

// maxAnswer bounds what a server may send us.
const maxAnswer = 16 << 20

// call sends body as JSON (nil sends none) and reads the answer into into. It gives the answer's
// text too. A refusal becomes an error with the server's own sentence.
func (c *client) call(ctx context.Context, method, path string, body, into any) ([]byte, error) {
	var payload io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return nil, fmt.Errorf("encoding the request: %w", err)
		}
		payload = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, payload)
	if err != nil {
		return nil, fmt.Errorf("making the request: %w", err)
	}
	req.Header.Set("Authorization", "Bearer "+c.token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, fmt.Errorf("asking the CA: %w%s", err, adviceOn(err))
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(io.LimitReader(resp.Body, maxAnswer))
	if err != nil {
		return nil, fmt.Errorf("reading the CA's answer: %w", err)
	}
	if resp.StatusCode/100 != 2 {
		return nil, refusal(resp, answer)
	}
	if into != nil {
		if err := json.Unmarshal(answer, into); err != nil {
			return nil, fmt.Errorf("reading the CA's answer: %w", err)
		}
	}
	return answer, nil
}

func adviceOn(err error) string {
	if strings.Contains(err.Error(), "unknown authority") {
		return ": give the CA's root with --root or MAYFLY_ROOT"
	}
	return ""
}

// refusal reads a problem document (RFC 9457).
func refusal(resp *http.Response, answer []byte) error {
	var problem struct {
		Title, Detail string
		Errors        []struct{ Message, Location string }
	}
	if json.Unmarshal(answer, &problem) != nil || problem.Title+problem.Detail == "" {
		return fmt.Errorf("the CA answered %s", resp.Status)
	}
	text := problem.Detail
	if text == "" {
		text = problem.Title
	}
	for _, e := range problem.Errors {
		text += fmt.Sprintf("; %s: %s", e.Location, e.Message)
	}
	return fmt.Errorf("the CA refused (%s): %s", resp.Status, text)
}

// show prints an answer for machines, or with the function for people.
func (f clientFlags) show(to io.Writer, answer []byte, forPeople func(io.Writer) error) error {
	if !f.JSON {
		return forPeople(to)
	}
	_, err := fmt.Fprintf(to, "%s\n", bytes.TrimSpace(answer))
	return err
}
