package acmeserver_test

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"encoding/base64"
	"encoding/json"
	"maps"
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/go-jose/go-jose/v4"

	"github.com/mayflyca/mayfly/acmeserver"
)

// A foreign library signs with every algorithm we accept (RFC 8555 section 6.2, RFC 7518, RFC 8037).
func TestAlgorithms(t *testing.T) {
	h := open(t)
	for algorithm, key := range foreignKeys(t) {
		r := foreignAccount(t, h, jose.SignatureAlgorithm(algorithm), key)
		r.ok(t, http.StatusCreated)
		public := jose.JSONWebKey{Key: key.Public()}
		text, err := public.MarshalJSON()
		if err != nil {
			t.Fatal(err)
		}
		want, err := public.Thumbprint(crypto.SHA256)
		if err != nil {
			t.Fatal(err)
		}
		thumbprint, signs, err := acmeserver.ParseKey(text)
		if err != nil || thumbprint != b64(want) || signs != algorithm {
			t.Errorf("%s: thumbprint %s of a key for %s, want %s: %v", algorithm, thumbprint, signs, b64(want), err)
		}
	}
	// RSA-PSS is sound, and not offered.
	p := foreignAccount(t, h, jose.PS256, foreignKeys(t)["RS256"]).refused(t, 400, "badSignatureAlgorithm")
	if want := []string{"ES256", "ES384", "ES512", "RS256", "EdDSA"}; !slices.Equal(p.Algorithms, want) {
		t.Errorf("algorithms are %v", p.Algorithms)
	}
}

func foreignKeys(t *testing.T) map[string]crypto.Signer {
	t.Helper()
	keys := make(map[string]crypto.Signer)
	for name, curve := range map[string]elliptic.Curve{
		"ES256": elliptic.P256(), "ES384": elliptic.P384(), "ES512": elliptic.P521(),
	} {
		key, err := ecdsa.GenerateKey(curve, rand.Reader)
		if err != nil {
			t.Fatal(err)
		}
		keys[name] = key
	}
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	_, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	keys["RS256"], keys["EdDSA"] = rsaKey, edKey
	return keys
}

type fixedNonce string

func (n fixedNonce) Nonce() (string, error) { return string(n), nil }

func foreignAccount(
	t *testing.T, h *house, algorithm jose.SignatureAlgorithm, key crypto.Signer,
) reply {
	t.Helper()
	url := baseURL + "/acme/new-account"
	signer, err := jose.NewSigner(jose.SigningKey{Algorithm: algorithm, Key: key}, &jose.SignerOptions{
		NonceSource: fixedNonce(h.nonce(t)), EmbedJWK: true,
		ExtraHeaders: map[jose.HeaderKey]any{"url": url},
	})
	if err != nil {
		t.Fatal(err)
	}
	signed, err := signer.Sign([]byte(`{}`))
	if err != nil {
		t.Fatal(err)
	}
	return h.do("POST", url, "application/jose+json", []byte(signed.FullSerialize()))
}

// RFC 8555 section 6.2: what is wrong with the signature's form is said, and nothing is done.
// never #18: alg none, HMAC, an algorithm of another key type, both and neither of jwk and kid, an
// unprotected header, a URL other than the request's.
func TestBadHeaders(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	other := h.customer(t)
	url := baseURL + "/acme/new-order"
	for name, test := range map[string]struct {
		change func(header map[string]any)
		status int
		kind   string
	}{
		"none":             {set("alg", "none"), 400, "badSignatureAlgorithm"},
		"HS256":            {set("alg", "HS256"), 400, "badSignatureAlgorithm"},
		"no alg":           {set("alg", nil), 400, "badSignatureAlgorithm"},
		"alg of RSA":       {set("alg", "RS256"), 400, "badSignatureAlgorithm"},
		"alg of P-384":     {set("alg", "ES384"), 400, "badSignatureAlgorithm"},
		"alg of Ed25519":   {set("alg", "EdDSA"), 400, "badSignatureAlgorithm"},
		"alg is a number":  {set("alg", 7), 400, "malformed"},
		"jwk and kid":      {set("jwk", jwk(c.key)), 400, "malformed"},
		"neither":          {set("kid", nil), 400, "malformed"},
		"jwk only":         {func(m map[string]any) { m["jwk"] = jwk(c.key); delete(m, "kid") }, 400, "malformed"},
		"crit":             {set("crit", []string{"b64"}), 400, "malformed"},
		"no url":           {set("url", nil), 403, "unauthorized"},
		"other url":        {set("url", baseURL+"/acme/key-change"), 403, "unauthorized"},
		"other host":       {set("url", "https://other.test/acme/new-order"), 403, "unauthorized"},
		"url with query":   {set("url", url+"?a=b"), 403, "unauthorized"},
		"another's kid":    {set("kid", other.account), 403, "unauthorized"},
		"unknown kid":      {set("kid", baseURL+"/acme/acct/"+strings.Repeat("A", 26)), 400, "accountDoesNotExist"},
		"kid with a NUL":   {set("kid", baseURL+"/acme/acct/a\x00"), 400, "accountDoesNotExist"},
		"kid of a path":    {set("kid", strings.TrimPrefix(c.account, baseURL)), 400, "accountDoesNotExist"},
		"kid is an order":  {set("kid", baseURL+"/acme/order/"+strings.Repeat("A", 26)), 400, "accountDoesNotExist"},
		"no nonce":         {set("nonce", nil), 400, "badNonce"},
		"garbled nonce":    {set("nonce", "!!!"), 400, "malformed"}, // section 6.5.2
		"nonce with break": {set("nonce", "AAAA\nAAAA"), 400, "malformed"},
		"foreign nonce":    {set("nonce", b64(make([]byte, 40))), 400, "badNonce"},
		"short nonce":      {set("nonce", "AAAA"), 400, "badNonce"},
		"other count":      {flip("nonce", 15), 400, "badNonce"},
		"other MAC":        {flip("nonce", 39), 400, "badNonce"},
	} {
		t.Run(name, func(t *testing.T) {
			header := c.header(url)
			test.change(header)
			c.t = t
			c.send(url, sign(c.key, header, text(identifiers("a.example.com")))).refused(t, test.status, test.kind)
		})
	}
	c.t = t
	if orders := decode[map[string][]string](t, c.post(c.account+"/orders", nil)); len(orders["orders"]) != 0 {
		t.Errorf("a refused request left %v", orders)
	}
}

// flip changes a bit of what is base64url.
func flip(name string, octet int) func(map[string]any) {
	return func(header map[string]any) {
		raw, err := base64.RawURLEncoding.DecodeString(header[name].(string))
		if err != nil {
			panic(err)
		}
		raw[octet] ^= 1
		header[name] = b64(raw)
	}
}

func set(name string, value any) func(map[string]any) {
	return func(header map[string]any) {
		if value == nil {
			delete(header, name)
		} else {
			header[name] = value
		}
	}
}

// RFC 8555 section 6.2: flattened JSON only; RFC 7515 section 2: base64url without padding.
func TestBadForms(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	url := baseURL + "/acme/new-order"
	fresh := func() map[string]any { return flatten(c.key, c.header(url), text(identifiers("a.example.com"))) }
	with := func(name string, value any) []byte {
		m := fresh()
		maps.Copy(m, map[string]any{name: value})
		return text(m)
	}
	m := fresh()
	signature := m["signature"].(string)
	general := map[string]any{"payload": m["payload"], "signatures": []any{m}}
	flipped := strings.Map(func(r rune) rune {
		if r == 'A' {
			return 'B'
		}
		return 'A'
	}, signature)
	for name, test := range map[string]struct {
		body   []byte
		status int
		kind   string
	}{
		"empty":              {nil, 400, "malformed"},
		"null":               {[]byte("null"), 400, "malformed"},
		"an array":           {[]byte("[]"), 400, "malformed"},
		"compact":            {[]byte(m["protected"].(string) + "." + m["payload"].(string) + "." + signature), 400, "malformed"},
		"general":            {text(general), 400, "malformed"},
		"two objects":        {append(text(m), text(m)...), 400, "malformed"},
		"unprotected header": {with("header", map[string]any{"alg": "none"}), 400, "malformed"},
		"no payload":         {with("payload", nil), 400, "malformed"},
		"no signature":       {with("signature", ""), 400, "malformed"},
		"padded":             {with("signature", signature+"=="), 400, "malformed"},
		"std alphabet":       {with("signature", strings.Repeat("+/", 43)), 400, "malformed"},
		"line break":         {with("signature", signature[:40]+"\n"+signature[40:]), 400, "malformed"},
		"stray bits":         {with("payload", "e31"), 400, "malformed"},
		"header not JSON":    {with("protected", b64([]byte("alg"))), 400, "malformed"},
		"short signature":    {with("signature", signature[:84]), 403, "unauthorized"},
		"tiny signature":     {with("signature", "AAAA"), 403, "unauthorized"},
		"wrong signature":    {with("signature", flipped[:85]+"A"), 403, "unauthorized"},
		"other payload":      {with("payload", b64([]byte(`{"identifiers":[]}`))), 403, "unauthorized"},
		"ASN.1 signature":    {with("signature", b64(slices.Concat([]byte{0x30, 62}, make([]byte, 62)))), 403, "unauthorized"},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			c.send(url, test.body).refused(t, test.status, test.kind)
		})
	}
}

// RFC 8555 section 6.2, and the limit that we say.
func TestContentTypeAndSize(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	url := baseURL + "/acme/new-order"
	body := func() []byte { return sign(c.key, c.header(url), text(identifiers("a.example.com"))) }
	for _, contentType := range []string{"", "application/json", "text/plain", ";;"} {
		h.do("POST", url, contentType, body()).refused(t, http.StatusUnsupportedMediaType, "malformed")
	}
	h.do("POST", url, "application/jose+json; charset=utf-8", body()).ok(t, 201)
	large := sign(c.key, c.header(url), make([]byte, 64<<10))
	c.send(url, large).refused(t, http.StatusRequestEntityTooLarge, "malformed")
}

// RFC 8555 section 6.2: keys that are no keys, or not fit for an account.
func TestBadKeys(t *testing.T) {
	h := open(t)
	c := h.stranger(t)
	url := baseURL + "/acme/new-account"
	good := jwk(c.key)
	with := func(name string, value any) map[string]any {
		m := maps.Clone(good)
		m[name] = value
		return m
	}
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Fatal(err)
	}
	whole := foreignKeys(t)["RS256"].(*rsa.PrivateKey).N.Bytes()
	point, err := c.key.PublicKey.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	shifted := map[string]any{"kty": "EC", "crv": "P-256", "x": b64(point[1:34]), "y": b64(point[34:])}
	for name, test := range map[string]struct {
		jwk  any
		kind string
	}{
		"a string":        {"key", "malformed"},
		"private":         {with("d", b64(make([]byte, 32))), "badPublicKey"},
		"symmetric":       {map[string]any{"kty": "oct", "k": "AAAA"}, "badPublicKey"},
		"no type":         {map[string]any{}, "badPublicKey"},
		"unknown curve":   {with("crv", "secp256k1"), "badPublicKey"},
		"not on curve":    {with("y", b64(make([]byte, 32))), "badPublicKey"},
		"short x":         {with("x", b64(make([]byte, 31))), "badPublicKey"},
		"shifted":         {shifted, "badPublicKey"}, // the same point, and another thumbprint
		"padded x":        {with("x", good["x"].(string)+"="), "badPublicKey"},
		"RSA of 1024":     {map[string]any{"kty": "RSA", "n": b64(small.N.Bytes()), "e": "AQAB"}, "badPublicKey"},
		"huge RSA":        {map[string]any{"kty": "RSA", "n": b64(odd(8193 / 8 * 2)), "e": "AQAB"}, "badPublicKey"},
		"RSA, e of 1":     {map[string]any{"kty": "RSA", "n": b64(odd(256)), "e": "AQ"}, "badPublicKey"},
		"RSA, large e":    {map[string]any{"kty": "RSA", "n": b64(odd(256)), "e": b64(odd(5))}, "badPublicKey"},
		"RSA, zero first": {map[string]any{"kty": "RSA", "n": b64(append([]byte{0}, whole...)), "e": "AQAB"}, "badPublicKey"},
		"RSA, empty":      {map[string]any{"kty": "RSA", "n": "", "e": ""}, "badPublicKey"},
		"X25519":          {map[string]any{"kty": "OKP", "crv": "X25519", "x": b64(make([]byte, 32))}, "badPublicKey"},
		"small order":     {map[string]any{"kty": "OKP", "crv": "Ed25519", "x": b64(append([]byte{1}, make([]byte, 31)...))}, "badPublicKey"},
	} {
		t.Run(name, func(t *testing.T) {
			c.t = t
			header := c.header(url)
			header["jwk"] = test.jwk
			c.send(url, sign(c.key, header, []byte(`{}`))).refused(t, 400, test.kind)
		})
	}
}

// RFC 8555 section 6.2: an algorithm that is not supported is said to be so before anything else.
func TestBadAlgorithmFirst(t *testing.T) {
	c := open(t).stranger(t)
	url := baseURL + "/acme/new-account"
	header := c.header(url)
	header["alg"], header["jwk"] = "HS256", map[string]any{"kty": "oct", "k": "AAAA"}
	p := c.send(url, sign(c.key, header, []byte(`{}`))).refused(t, 400, "badSignatureAlgorithm")
	if !slices.Contains(p.Algorithms, "ES256") {
		t.Errorf("algorithms are %v", p.Algorithms)
	}
}

// What a verification costs is bounded where keys are not held to the account's rules, too.
func TestHugeKeyRevokes(t *testing.T) {
	c := open(t).stranger(t)
	url := baseURL + "/acme/revoke-cert"
	for bits, kind := range map[int]string{8192: "unauthorized", 8200: "badPublicKey"} {
		header := c.header(url)
		header["alg"] = "RS256"
		header["jwk"] = map[string]any{"kty": "RSA", "n": b64(odd(bits / 8)), "e": "AQAB"}
		r := c.send(url, sign(c.key, header, []byte(`{}`)))
		if p := decode[problem](t, r); p.Type != "urn:ietf:params:acme:error:"+kind {
			t.Errorf("%d bits: %s", bits, r.body)
		}
	}
}

// odd is an odd number of so many octets.
func odd(octets int) []byte {
	n := make([]byte, octets)
	rand.Read(n)
	n[0] |= 0x80
	n[octets-1] |= 1
	return n
}

// RFC 8555 section 6.5: once is all.
func TestNonceIsUsedOnce(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	url := baseURL + "/acme/new-order"
	header := c.header(url)
	payload := text(identifiers("a.example.com"))
	c.send(url, sign(c.key, header, payload)).ok(t, 201)
	again := c.send(url, sign(c.key, header, payload))
	again.refused(t, 400, "badNonce")
	// The nonce in the refusal works (section 6.5).
	header["nonce"] = again.header.Get("Replay-Nonce")
	c.send(url, sign(c.key, header, payload)).ok(t, 201)
}

// A bad signature does not use the nonce up: whoever sees one cannot spend it.
func TestNonceSurvivesGarbage(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	url := baseURL + "/acme/new-order"
	header := c.header(url)
	c.send(url, sign(newKey(t), header, text(identifiers("a.example.com")))).refused(t, 403, "unauthorized")
	c.send(url, sign(c.key, header, text(identifiers("a.example.com")))).ok(t, 201)
}

func TestNonceExpires(t *testing.T) {
	h := open(t)
	c := h.customer(t)
	url := baseURL + "/acme/new-order"
	young, old := c.header(url), c.header(url)
	h.pass(59 * 60e9)
	c.send(url, sign(c.key, young, text(identifiers("a.example.com")))).ok(t, 201)
	h.pass(2 * 60e9)
	c.send(url, sign(c.key, old, text(identifiers("a.example.com")))).refused(t, 400, "badNonce")
}

// FuzzJWS: whatever the body, the door neither panics nor blames itself.
func FuzzJWS(f *testing.F) {
	h := open(f)
	c := h.customer(f)
	url := baseURL + "/acme/new-order"
	good := sign(c.key, c.header(url), text(identifiers("a.example.com")))
	f.Add(good)
	f.Add(sign(c.key, h.stranger(f).header(url), []byte(`{}`)))
	f.Add([]byte(`{"protected":"e30","payload":"","signature":"AA"}`))
	f.Add([]byte(`{"protected":"` + b64([]byte(`{"alg":"RS256","jwk":{"kty":"RSA","n":"AQAB","e":"AQAB"}}`)) +
		`","payload":"","signature":"AA"}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		if r := h.do("POST", url, "application/jose+json", body); r.status >= 500 {
			t.Errorf("got %d %s", r.status, r.body)
		}
	})
}

// FuzzPayload: nor does it for what an account signs.
func FuzzPayload(f *testing.F) {
	h := open(f)
	c := h.customer(f)
	o := c.newOrder("a.example.com")
	ready := c.readyOrder("b.example.com")
	z := c.authorization(o.Authorizations[0])
	urls := []string{
		"/acme/new-order", c.account, o.Finalize, ready.Finalize, o.Authorizations[0], z.Challenges[0].URL,
		"/acme/revoke-cert", "/acme/key-change", o.url, c.account + "/orders?cursor=x",
	}
	for i := range urls {
		f.Add(i, []byte(`{}`))
		f.Add(i, []byte(``))
		f.Add(i, []byte(`{"identifiers":[{"type":"dns","value":"*.a.example.com"},{"type":"ip","value":"::1"}],`+
			`"profile":"server","contact":["mailto:a@b"],"status":"valid","csr":"MAA","certificate":"MAA","reason":1}`))
	}
	der, _ := c.issue(newKey(f), "c.example.com")
	f.Add(6, text(map[string]string{"certificate": b64(der)}))
	f.Add(7, sign(newKey(f), map[string]any{
		"alg": "ES256", "url": baseURL + "/acme/key-change", "jwk": jwk(newKey(f)),
	}, text(map[string]any{"account": c.account, "oldKey": json.RawMessage(text(jwk(c.key)))})))
	f.Fuzz(func(t *testing.T, which int, payload []byte) {
		if which < 0 {
			which = 0
		}
		c.t = t
		if r := c.post(urls[which%len(urls)], payload); r.status >= 500 {
			t.Errorf("got %d %s", r.status, r.body)
		}
	})
}
