package acmeserver_test

import (
	"bytes"
	"encoding/json"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/acmeserver"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/store"
	"github.com/mayflyca/mayfly/store/storetest"
)

// Whatever is sent, to whichever resource, with or without a good signature: the door never blames
// itself, never hangs, and does not grow.
func TestHostileRequests(t *testing.T) {
	storetest.Each(t, testHostileRequests)
}

func testHostileRequests(t *testing.T, s *store.Store) {
	h := openOn(t, s, always(wrong))
	h.config.RateLimits = true
	h.config.RateLimitOverrides = []string{"failures_per_name=*=1000000/1h"}
	h.reopen(t, always(wrong))
	seed := rand.Uint64()
	t.Logf("the seed is %d", seed)
	a := newAttacker(t, h, rand.New(rand.NewPCG(seed, 0)), make(map[int]int))
	a.attack(300) // fills what is filled once
	goroutines, before := runtime.NumGoroutine(), heap()
	a.attack(5000)
	if grown := int64(heap()) - int64(before); grown > 4<<20 {
		t.Errorf("memory has grown by %d KB", grown>>10)
	}
	if n := runtime.NumGoroutine(); n > goroutines+10 {
		t.Errorf("%d goroutines were left behind", n-goroutines)
	}
	// And it serves as before.
	h.reopen(t, always(proven))
	h.customer(t).issue(newKey(t), "a.example.com")
	t.Logf("the answers were %v", a.seen)
	for _, status := range []int{200, 201, 400, 403, 404, 405, 413, 415} {
		if a.seen[status] == 0 {
			t.Errorf("no request was answered with %d: %v", status, a.seen)
		}
	}
}

func heap() uint64 {
	runtime.GC()
	runtime.GC()
	var stats runtime.MemStats
	runtime.ReadMemStats(&stats)
	return stats.HeapAlloc
}

// attacker makes requests from good ones.
type attacker struct {
	t    *testing.T
	h    *house
	r    *rand.Rand
	c    *client
	good []struct {
		url     string
		payload any
	}
	seen map[int]int // answers by status
}

func newAttacker(t *testing.T, h *house, r *rand.Rand, seen map[int]int) *attacker {
	a := &attacker{t: t, h: h, r: r, c: h.customer(t), seen: seen}
	key := newKey(t)
	csr := map[string]any{"csr": b64(catest.CSR(t, key, "a.example.com"))}
	h.reopen(t, always(proven))
	ready, other := a.c.readyOrder("a.example.com"), a.c.newOrder("a.example.com", "*.b.example.com", "10.0.0.1")
	der, certificate := a.c.issue(key, "a.example.com")
	h.reopen(t, always(wrong))
	inner := text(flatten(key, map[string]any{"alg": "ES256", "url": baseURL + "/acme/key-change", "jwk": jwk(key)},
		text(map[string]any{"account": a.c.account + "x", "oldKey": jwk(a.c.key)})))
	wishes := identifiers("a.example.com", "10.0.0.1")
	wishes["profile"], wishes["notBefore"] = "server", "0001-01-01T00:00:00Z"
	add := func(url string, payload any) {
		if strings.HasPrefix(url, "/") {
			url = baseURL + url
		}
		a.good = append(a.good, struct {
			url     string
			payload any
		}{url, payload})
	}
	add("/acme/new-order", wishes)
	add("/acme/new-account", map[string]any{
		"contact": []string{"mailto:a@example.com"}, "termsOfServiceAgreed": true,
		"externalAccountBinding": flatten(key, map[string]any{"alg": "HS256", "kid": "x"}, text(jwk(key))),
	})
	add("/acme/revoke-cert", map[string]any{"certificate": b64(der), "reason": 1})
	add("/acme/key-change", inner)
	add(a.c.account, map[string]any{"contact": []string{}, "status": "valid"})
	for _, o := range []order{ready, other} {
		add(o.url, nil)
		add(o.Finalize, csr)
		for _, z := range o.Authorizations {
			add(z, map[string]any{"status": "pending"})
			for _, ch := range a.c.authorization(z).Challenges {
				add(ch.URL, map[string]any{})
			}
		}
	}
	for _, url := range []string{certificate, a.c.account + "/orders", "/acme/directory", "/acme/new-nonce"} {
		add(url, nil)
	}
	for pattern := range acmeserver.SignedRoutes(h.door) { // whatever else there is
		url := "/" + strings.Trim(strings.NewReplacer("{", "", "}", "").Replace(pattern), "/")
		add(url, map[string]any{})
	}
	return a
}

func (a *attacker) attack(requests int) {
	for i := range requests {
		if a.t.Failed() {
			return
		}
		if i%100 == 0 && a.c.post(a.c.account, nil).status != http.StatusOK {
			*a = *newAttacker(a.t, a.h, a.r, a.seen) // it has ended its own account
		}
		target := a.good[a.r.IntN(len(a.good))]
		method, url, header := http.MethodPost, target.url, map[string]string{"Content-Type": "application/jose+json"}
		if a.r.IntN(6) == 0 {
			method = a.method()
		}
		if a.r.IntN(3) == 0 {
			url = baseURL + a.path(strings.TrimPrefix(url, baseURL))
		}
		var body []byte
		switch a.r.IntN(4) {
		case 0: // noise
			body = a.bytes(a.r.IntN(300))
		case 1: // a good request, damaged on its way
			body = a.damaged(a.c.signed(url, text(target.payload)))
		default: // a good signature under nonsense
			body = a.signed(url, target.payload)
		}
		for range a.r.IntN(3) {
			header[a.pick("Content-Type", "Accept", "Content-Length", "Expect", "X-Forwarded-For", "Host", "Range",
				"Transfer-Encoding", "Accept-Encoding", "If-None-Match", string(a.bytes(5)))] = a.pick("", "application/json",
				"application/jose+json; charset=x", ";;;", "-1", "gzip", string(a.bytes(20)), strings.Repeat("x", 5000))
		}
		if a.r.IntN(200) == 0 {
			body = bytes.Repeat(a.bytes(16), 1<<13)
		}
		a.send(method, url, header, body)
	}
}

func (a *attacker) send(method, url string, header map[string]string, body []byte) {
	r := httptest.NewRequest(http.MethodPost, baseURL+"/", bytes.NewReader(body))
	r.Method = method
	r.URL.Path, r.URL.RawQuery, _ = strings.Cut(strings.TrimPrefix(url, baseURL), "?")
	for name, value := range header {
		r.Header[name] = []string{value}
	}
	w := httptest.NewRecorder()
	begun := time.Now()
	a.h.door.ServeHTTP(w, r)
	if took := time.Since(begun); took > 10*time.Second {
		a.t.Errorf("%s %q took %s", method, url, took)
	}
	a.seen[w.Code]++
	if w.Code >= 500 || w.Code < 200 {
		a.t.Errorf("%s %q with %q\n%q\ngives %d %s", method, url, header, body, w.Code, w.Body)
	}
	if strings.HasPrefix(w.Header().Get("Content-Type"), "application/problem+json") && !json.Valid(w.Body.Bytes()) {
		a.t.Errorf("the problem is no JSON: %q", w.Body)
	}
}

// signed is what post sends.
func (c *client) signed(url string, payload []byte) []byte {
	header := c.header(url)
	if strings.HasSuffix(url, "/new-account") {
		delete(header, "kid")
		header["jwk"] = jwk(c.key)
	}
	return sign(c.key, header, payload)
}

// signed signs a payload that was turned into nonsense, or under a header that was.
func (a *attacker) signed(url string, payload any) []byte {
	header := a.c.header(url)
	if a.r.IntN(4) == 0 || strings.HasSuffix(url, "/new-account") {
		delete(header, "kid")
		header["jwk"] = jwk(a.c.key)
	}
	if a.r.IntN(3) == 0 {
		header = a.spoilt(header).(map[string]any)
	}
	raw := text(payload)
	var tree any
	switch kind := a.r.IntN(5); {
	case kind == 0:
		raw = a.damaged(raw)
	case kind < 4 && json.Unmarshal(raw, &tree) == nil:
		raw = text(a.spoilt(tree))
	}
	return sign(a.c.key, header, raw)
}

// spoilt changes a value inside the tree, or several.
func (a *attacker) spoilt(tree any) any {
	switch v := tree.(type) {
	case map[string]any:
		keys := slices.Sorted(maps.Keys(v))
		v = maps.Clone(v)
		if len(keys) == 0 || a.r.IntN(5) == 0 {
			v[a.pick("identifiers", "status", "csr", "crit", "b64", "jku", "x5c", "replaces", string(a.bytes(4)))] = a.value(0)
			return v
		}
		key := keys[a.r.IntN(len(keys))]
		if a.r.IntN(4) == 0 {
			delete(v, key)
		} else {
			v[key] = a.spoilt(v[key])
		}
		return v
	case []any:
		v = slices.Clone(v)
		if len(v) > 0 && a.r.IntN(2) == 0 {
			i := a.r.IntN(len(v))
			v[i] = a.spoilt(v[i])
			return v
		}
		for range a.r.IntN(200) {
			v = append(v, a.value(1))
		}
		return v
	case string:
		if a.r.IntN(2) == 0 {
			return string(a.damaged([]byte(v)))
		}
	}
	return a.value(0)
}

// value makes any JSON.
func (a *attacker) value(depth int) any {
	switch kind := a.r.IntN(9); {
	case kind == 0:
		return nil
	case kind == 1:
		return a.r.IntN(2) == 0
	case kind == 2:
		return json.Number(a.pick("0", "-1", "1e400", "99999999999999999999", "0.1", "-0"))
	case kind == 3 && depth < 4:
		list := []any{}
		for range a.r.IntN(4) {
			list = append(list, a.value(depth+1))
		}
		return list
	case kind == 4 && depth < 4:
		object := map[string]any{}
		for range a.r.IntN(4) {
			object[string(a.bytes(3))] = a.value(depth + 1)
		}
		return object
	case kind == 5:
		return json.RawMessage(strings.Repeat("[", 2000) + strings.Repeat("]", 2000))
	case kind == 6:
		return map[string]any{"type": a.pick("dns", "ip", "x"), "value": a.pick("a.example.com", "::1", "\x00", "xn--a")}
	}
	return a.pick("", "\x00", "dns", "ip", "*.example.com", "a.example.com", "xn--zzzzzzzzzz", "::ffff:10.0.0.1", "pending",
		"deactivated", "mailto:a@b.c", "../../..", "é", "\u202e", strings.Repeat("a.", 200), string(a.bytes(30)))
}

func (a *attacker) damaged(good []byte) []byte {
	bad := slices.Clone(good)
	for range 1 + a.r.IntN(3) {
		if len(bad) == 0 {
			return a.bytes(3)
		}
		at := a.r.IntN(len(bad))
		switch a.r.IntN(4) {
		case 0:
			bad[at] = byte(a.r.Uint32())
		case 1:
			bad = bad[:at]
		case 2:
			bad = slices.Insert(bad, at, a.bytes(4)...)
		case 3:
			bad = append(bad[:at:at], bad[at/2:]...)
		}
	}
	return bad
}

func (a *attacker) method() string {
	return a.pick("GET", "HEAD", "PUT", "DELETE", "PATCH", "OPTIONS", "POST", "TRACE", "", "é", "post")
}

func (a *attacker) path(path string) string {
	switch a.r.IntN(6) {
	case 0:
		return "/acme/" + string(a.bytes(12))
	case 1:
		return path + a.pick("/", "//", "/..", "?cursor=", "?cursor=\x00", "\x00", "%", "0", "-1", "99999999999999999999")
	case 2:
		return string(a.damaged([]byte(path)))
	case 3:
		return path + "?" + string(a.bytes(20))
	case 4:
		parts := strings.Split(path, "/")
		parts[a.r.IntN(len(parts))] = a.pick("\x00", "\u2028", "A", strings.Repeat("A", 26), "../..", "%2f", "00", "-0")
		return strings.Join(parts, "/")
	}
	return strings.ToUpper(path)
}

func (a *attacker) bytes(n int) []byte {
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(a.r.Uint32())
	}
	return out
}

func (a *attacker) pick(from ...string) string { return from[a.r.IntN(len(from))] }
