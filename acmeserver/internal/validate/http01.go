package validate

import (
	"bufio"
	"bytes"
	"context"
	"crypto/subtle"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strconv"
	"strings"

	"github.com/mayflyca/mayfly/identity"
)

// Limits of what a responder may send, in bytes, and of how often it may send us elsewhere.
const (
	maxHeader    = 16 << 10
	bodySlack    = 128 // beyond the key authorization
	maxLocation  = 2048
	maxRedirects = 10
)

const userAgent = "Mayfly-Validation (+https://github.com/mayflyca/mayfly)"

// http01 fetches the key authorization over HTTP (RFC 8555 section 8.3).
func (v *Validator) http01(ctx context.Context, c Challenge, t *trace) *problem {
	to := target{host: c.Name, port: v.http01Port, url: &url.URL{
		Scheme: "http", Host: authority(c.Name.Value, v.http01Port, 80),
		Path: "/.well-known/acme-challenge/" + c.Token,
	}}
	limit := len(c.KeyAuthorization) + bodySlack
	for range maxRedirects + 1 {
		got, p := v.get(ctx, to, limit, t)
		if p != nil {
			return p
		}
		if got.location == "" {
			return judge(got, c, limit)
		}
		next, err := to.url.Parse(got.location)
		if err == nil {
			to, err = v.redirected(next)
		}
		if err != nil {
			t.add("not following the redirect: %s", err)
			return failed(connection, "%s redirects to %s, which this CA does not follow: %s",
				got.from, excerpt(got.location), err)
		}
	}
	return failed(connection, "%s redirects more than %d times; serve the key authorization directly",
		c.Name.Value, maxRedirects)
}

// authority is host:port as URLs and the Host header have it (RFC 9110 section 7.2): the scheme's
// own port is left out, an IPv6 address is in brackets.
func authority(host string, port, standard uint16) string {
	if port != standard {
		return net.JoinHostPort(host, strconv.Itoa(int(port)))
	}
	if strings.Contains(host, ":") {
		return "[" + host + "]"
	}
	return host
}

// target is a URL that we are ready to fetch.
type target struct {
	host  identity.Name
	port  uint16
	https bool
	url   *url.URL
}

// redirected checks where a redirect sends us. The address policy comes later, with the dial.
func (v *Validator) redirected(u *url.URL) (target, error) {
	port := uint16(80)
	switch u.Scheme {
	case "http":
	case "https":
		port = 443
	default:
		return target{}, errors.New("only http and https are followed")
	}
	if text := u.Port(); text != "" {
		number, err := strconv.ParseUint(text, 10, 16)
		if err != nil {
			return target{}, errors.New("it has no port that exists")
		}
		port = uint16(number)
	}
	if port != 80 && port != 443 && port != v.http01Port {
		return target{}, fmt.Errorf("port %d is neither 80 nor 443 nor the one for http-01", port)
	}
	host, err := parseHost(strings.TrimSuffix(u.Hostname(), "."))
	if err != nil {
		return target{}, err
	}
	return target{host: host, port: port, https: u.Scheme == "https", url: u}, nil
}

// parseHost reads a URL's host strictly: one of the many other spellings of an address is nothing.
func parseHost(text string) (identity.Name, error) {
	if _, err := netip.ParseAddr(text); err == nil {
		return identity.ParseName(identity.IP, text)
	}
	name, err := identity.ParseName(identity.DNS, text)
	if err == nil && name.IsWildcard() {
		err = errors.New("its host is a wildcard")
	}
	return name, err
}

// get fetches one URL without following anything.
func (v *Validator) get(ctx context.Context, to target, limit int, t *trace) (*reply, *problem) {
	raw, p := v.connect(ctx, to.host, to.port, t)
	if p != nil {
		return nil, p
	}
	conn, from := raw, raw.RemoteAddr().String()
	defer func() { _ = conn.Close() }()
	if to.https {
		secure, p := v.handshake(raw, httpsConfig(to.host), t)
		if p != nil {
			return nil, p
		}
		conn = secure
	}
	start := v.now()
	got, err := roundTrip(conn, to, limit)
	if err != nil {
		if ctx.Err() != nil { // and not whatever can be said of half a line
			err = ctx.Err()
		}
		t.add("GET %s from %s failed after %s: %s", to.url, from, v.since(start), reason(err))
		return nil, failed(connection, "fetching %s from %s failed: %s; the responder must answer "+
			"plain HTTP/1.1", excerpt(to.url.String()), from, reason(err))
	}
	got.from = fmt.Sprintf("%s (%s)", to.host.Value, from)
	t.add("GET %s from %s: %s in %s", to.url, from, excerpt(got.status), v.since(start))
	if got.location != "" {
		t.add("redirected to %s", got.location)
	} else {
		t.add("received %s", excerpt(got.body))
	}
	return got, nil
}

// httpsConfig is for redirect targets. Nobody can have the right certificate before we issued it, so
// none is demanded: what proves control is the content (RFC 8555 section 8.3).
func httpsConfig(host identity.Name) *tls.Config {
	config := &tls.Config{
		MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, InsecureSkipVerify: true,
	}
	if host.Type == identity.DNS {
		config.ServerName = host.Value
	}
	return config
}

func roundTrip(conn net.Conn, to target, limit int) (*reply, error) {
	standard := uint16(80)
	if to.https {
		standard = 443
	}
	// A URL's query may hold spaces, a request line may not.
	request := "GET " + strings.ReplaceAll(to.url.RequestURI(), " ", "%20") + " HTTP/1.1\r\n" +
		"Host: " + authority(to.host.Value, to.port, standard) + "\r\n" +
		"User-Agent: " + userAgent + "\r\n" +
		"Accept: */*\r\n" +
		"Connection: close\r\n\r\n"
	if _, err := io.WriteString(conn, request); err != nil {
		return nil, err
	}
	return readReply(conn, limit)
}

// reply is what a responder answered.
type reply struct {
	from     string // who, for people
	code     int
	status   string
	location string // where to go instead
	body     []byte // at most a byte over the limit
}

var errHeader = fmt.Errorf("the response header is longer than %d bytes", maxHeader)

// readReply reads a response from a stranger. It takes no more than maxHeader bytes for the header
// and limit+1 of the body; what comes after is left to the closing of the connection.
func readReply(r io.Reader, limit int) (*reply, error) {
	bounded := &io.LimitedReader{R: r, N: maxHeader}
	buffer := bufio.NewReaderSize(bounded, 2048)
	for {
		//nolint:bodyclose // closing it would read on; the connection is closed instead
		response, err := http.ReadResponse(buffer, nil)
		if err != nil && bounded.N <= 0 {
			return nil, errHeader
		}
		if err != nil {
			return nil, err
		}
		if response.StatusCode/100 == 1 && response.StatusCode != http.StatusSwitchingProtocols {
			continue // interim (RFC 9110 section 15.2)
		}
		got := &reply{code: response.StatusCode, status: response.Status}
		if isRedirect(got.code) {
			got.location = response.Header.Get("Location")
			if got.location == "" || len(got.location) > maxLocation {
				return nil, fmt.Errorf("status %d without a Location of 1 to %d bytes",
					got.code, maxLocation)
			}
			return got, nil
		}
		bounded.N = int64(maxHeader + limit) // chunked bodies have overhead
		got.body, err = io.ReadAll(io.LimitReader(response.Body, int64(limit)+1))
		if err != nil {
			return nil, fmt.Errorf("reading the body: %w", err)
		}
		return got, nil
	}
}

func isRedirect(code int) bool {
	switch code {
	case http.StatusMovedPermanently, http.StatusFound, http.StatusSeeOther,
		http.StatusTemporaryRedirect, http.StatusPermanentRedirect:
		return true
	}
	return false
}

// judge compares what came with the key authorization; white space at its end is forgiven.
func judge(got *reply, c Challenge, limit int) *problem {
	body := bytes.TrimRight(got.body, " \t\r\n\v\f")
	path := "/.well-known/acme-challenge/" + c.Token
	switch {
	case got.code != http.StatusOK:
		return failed(incorrectResponse, "%s answered %s where the key authorization was expected; "+
			"let it serve %s with status 200", got.from, excerpt(got.status), path)
	case len(got.body) <= limit &&
		subtle.ConstantTimeCompare(body, []byte(c.KeyAuthorization)) == 1:
		return nil
	case bytes.HasPrefix(body, []byte(c.Token+".")):
		return failed(incorrectResponse, "%s served the key authorization of another account (%s); "+
			"an old responder may still be running", got.from, excerpt(body))
	case len(body) == 0:
		return failed(incorrectResponse, "%s served an empty body where the key authorization was "+
			"expected; check what is behind %s", got.from, path)
	}
	return failed(incorrectResponse, "%s served %s where the key authorization was expected; "+
		"check what is behind %s", got.from, excerpt(body), path)
}
