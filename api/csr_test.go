package api_test

import (
	"bytes"
	"strings"
	"testing"
	"time"

	"github.com/mayflyca/mayfly/api"
	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/ca/catest"
	"github.com/mayflyca/mayfly/fault"
)

const (
	begin = "-----BEGIN CERTIFICATE REQUEST-----\n"
	end   = "-----END CERTIFICATE REQUEST-----\n"
)

func TestDecodeCSR(t *testing.T) {
	der := catest.CSR(t, catest.Key(t), "a.internal")
	good := csrPEM(der)
	for name, text := range map[string]string{
		"as it is":      good,
		"DOS line ends": strings.ReplaceAll(good, "\n", "\r\n"),
		"text in front": "Certificate Request:\n    Data: …\n" + good,
		"text behind":   good + "\n\nregards\n",
		"no last line":  strings.TrimSpace(good),
		"NEW":           strings.ReplaceAll(good, "CERTIFICATE", "NEW CERTIFICATE"),
	} {
		if got, err := api.DecodeCSR(text); err != nil || !bytes.Equal(got, der) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, test := range []struct{ text, want string }{
		{"", "is not PEM"},
		{string(der), "is not PEM"},
		{strings.ReplaceAll(strings.TrimSuffix(strings.TrimPrefix(good, begin), end), "\n", ""), "is not PEM"},
		{"-----BEGIN CERTIFICATE REQUEST", "is not PEM"},
		{strings.ReplaceAll(good, "CERTIFICATE REQUEST", "CERTIFICATE"), "is a certificate, not a request"},
		{strings.ReplaceAll(good, "CERTIFICATE REQUEST", "PUBLIC KEY"), `holds a "PUBLIC KEY"`},
		{good + strings.ReplaceAll(good, "CERTIFICATE REQUEST", "EC PRIVATE KEY"), "private key: never send one"},
		{good + good, "more than one PEM block"},
		{begin + end, "broken PEM"},
		{begin + "!!!!\n" + end, "broken PEM"},
		{strings.TrimSuffix(good, end), "broken PEM"},
		{strings.ReplaceAll(good, "END CERTIFICATE", "END NEW CERTIFICATE"), "broken PEM"},
		{strings.Repeat(" ", 65537), "longer than 65536"},
	} {
		_, err := api.DecodeCSR(test.text)
		if !fault.Is(err, fault.Invalid) || !strings.HasPrefix(err.Error(), "csr: ") ||
			!strings.Contains(err.Error(), test.want) {
			t.Errorf("%.60q: %v; want it to say %q", test.text, err, test.want)
		}
	}
}

// never #29: texts of the greatest size on which PEM readers were slow.
func TestHostilePEM(t *testing.T) {
	fill := func(piece string) string { return strings.Repeat(piece, 65536/len(piece)) }
	for name, text := range map[string]string{
		"begins": fill("-----BEGIN "), "begin lines": fill(begin), "begins and ends": fill(begin + end),
		"dashes": fill("-"), "line ends": begin + fill("\n")[len(begin)+len(end):] + end,
		"headers": begin + fill("a: b\n")[len(begin)+len(end):] + end, "ends": begin + fill(end)[len(begin):],
		"no colon": begin + fill("-----END\n")[len(begin):],
	} {
		best := time.Hour
		for range 5 { // a busy machine is slow at times, a quadratic reader always
			start := time.Now()
			if _, err := api.DecodeCSR(text); err == nil {
				t.Errorf("%s: accepted", name)
			}
			best = min(best, time.Since(start))
		}
		if best > 50*time.Millisecond {
			t.Errorf("%s: %v for %d octets", name, best, len(text))
		}
	}
}

func FuzzDecodeCSR(f *testing.F) {
	good := csrPEM(catest.CSR(f, catest.Key(f), "a.internal"))
	for _, seed := range []string{"", good, good + good, begin + end, begin, "-----BEGIN X-----\nA: b\n\n-----END X-----"} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		der, err := api.DecodeCSR(text)
		if (err == nil) != (der != nil) || err != nil && !fault.Is(err, fault.Invalid) {
			t.Fatalf("%x, %v", der, err)
		}
		if err != nil {
			return
		}
		if again, err := api.DecodeCSR(csrPEM(der)); err != nil || !bytes.Equal(again, der) {
			t.Fatalf("%x became %x, %v", der, again, err)
		}
	})
}

func FuzzDecodeCursor(f *testing.F) {
	serial, err := ca.ParseSerial("01")
	if err != nil {
		f.Fatal(err)
	}
	f.Add(api.EncodeCursor(&ca.Certificate{Promise: ca.Promise{Serial: serial, PromisedAt: time.UnixMicro(1)}}))
	f.Add("AAAA")
	f.Add("%%%")
	f.Fuzz(func(t *testing.T, text string) {
		p, err := api.DecodeCursor(text)
		if err != nil || p == nil {
			return
		}
		again, err := api.DecodeCursor(api.EncodeCursor(&ca.Certificate{
			Promise: ca.Promise{Serial: p.Serial, PromisedAt: p.PromisedAt},
		}))
		if err != nil || *again != *p {
			t.Fatalf("%q: %v became %v, %v", text, p, again, err)
		}
	})
}
