package main_test

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func (s *server) token(t testing.TB) string {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(s.dir, "mayfly-data", "admin-token"))
	if err != nil {
		t.Fatal(err)
	}
	return strings.TrimSpace(string(raw))
}

// rest calls the REST API and reads the answer into into.
func (s *server) rest(ctx context.Context, hc *http.Client, token, method, path string, body, into any) error {
	return s.restWith(ctx, hc, token, http.Header{}, method, path, body, into)
}

// restWith is rest with further headers.
func (s *server) restWith(
	ctx context.Context, hc *http.Client, token string, header http.Header, method, path string, body, into any,
) error {
	var raw io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		raw = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, s.url+path, raw)
	if err != nil {
		return err
	}
	req.Header = header
	req.Header.Set("Authorization", "Bearer "+token)
	req.Header.Set("Content-Type", "application/json")
	resp, err := hc.Do(req)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	answer, err := io.ReadAll(resp.Body)
	if err != nil {
		return err
	}
	if resp.StatusCode/100 != 2 {
		return newStatusError(resp, answer)
	}
	if buffer, ok := into.(*bytes.Buffer); ok {
		buffer.Write(answer)
		return nil
	}
	return json.Unmarshal(answer, into)
}

// restCertificate is what the API tells of a certificate.
type restCertificate struct {
	Serial      string   `json:"serial"`
	Status      string   `json:"status"`
	Names       []string `json:"names"`
	Certificate string   `json:"certificate"`
	Chain       string   `json:"chain"`
}

// issue gets a certificate over REST.
func (s *server) issue(t testing.TB, token, name string) restCertificate {
	t.Helper()
	csr, _, err := newCSR(name)
	if err != nil {
		t.Fatal(err)
	}
	var issued restCertificate
	err = s.rest(t.Context(), s.client, token, "POST", "/api/v1/certificates",
		map[string]string{"csr": csr}, &issued)
	if err != nil {
		t.Fatal(err)
	}
	return issued
}

// show fetches one from the record.
func (s *server) show(t testing.TB, token, serial string) (found restCertificate) {
	t.Helper()
	path := "/api/v1/certificates/" + serial
	if err := s.rest(t.Context(), s.client, token, "GET", path, nil, &found); err != nil {
		t.Fatal(err)
	}
	return found
}

// list pages through all that the query selects.
func (s *server) list(t testing.TB, token, query string) (all []restCertificate) {
	t.Helper()
	for cursor := ""; ; {
		var page struct {
			Items []restCertificate
			Next  string
		}
		path := "/api/v1/certificates?limit=500&" + query + "&cursor=" + cursor
		if err := s.rest(t.Context(), s.client, token, "GET", path, nil, &page); err != nil {
			t.Fatal(err)
		}
		all = append(all, page.Items...)
		if cursor = page.Next; cursor == "" {
			return all
		}
	}
}

func get(hc *http.Client, url string) ([]byte, error) {
	resp, err := hc.Get(url)
	if err != nil {
		return nil, err
	}
	defer resp.Body.Close()
	body, err := io.ReadAll(resp.Body)
	if err != nil {
		return nil, err
	}
	if resp.StatusCode != http.StatusOK {
		return nil, newStatusError(resp, body)
	}
	return body, nil
}
