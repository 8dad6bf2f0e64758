package validate

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"
	"syscall"
)

// The problem types that a validation can end with (RFC 8555 section 6.7).
const (
	connection        = "connection"        // nobody listens, or the address is refused
	dnsProblem        = "dns"               // a lookup failed
	tlsProblem        = "tls"               // a handshake failed
	incorrectResponse = "incorrectResponse" // somebody answered something else
	unauthorized      = "unauthorized"      // the proof is absent or for another key
	malformed         = "malformed"         // the challenge cannot be asked, or a record be read
	caaProblem        = "caa"               // CAA forbids to issue
)

// problem says why a validation failed; nil says that it did not.
type problem struct {
	kind   string
	detail string
	absent bool // DNS says that there is no such name, which is an answer too
}

func failed(kind, format string, args ...any) *problem {
	return &problem{kind: kind, detail: fmt.Sprintf(format, args...)}
}

// Limits of what a validation tells, lengths in bytes.
const (
	maxLines   = 40
	maxLine    = 200
	maxDetail  = 600
	maxExcerpt = 80 // of what a stranger sent
)

// trace collects what a validation saw, for people. It belongs to one goroutine.
type trace struct {
	lines []string
}

func (t *trace) add(format string, args ...any) {
	switch n := len(t.lines); {
	case n < maxLines-1:
		t.lines = append(t.lines, clean(fmt.Sprintf(format, args...), maxLine))
	case n == maxLines-1:
		t.lines = append(t.lines, "(more happened than is shown)")
	}
}

// clean gives s as at most limit bytes of printable ASCII.
func clean(s string, limit int) string {
	var b strings.Builder
	b.Grow(min(len(s), limit) + len(`\x00`))
	for i := 0; i < len(s) && b.Len() <= limit; i++ {
		if ' ' <= s[i] && s[i] <= '~' {
			b.WriteByte(s[i])
		} else {
			fmt.Fprintf(&b, "\\x%02x", s[i])
		}
	}
	if s = b.String(); len(s) > limit {
		s = s[:limit-3] + "..."
	}
	return s
}

// excerpt quotes the beginning of what a stranger sent.
func excerpt[T string | []byte](sent T) string {
	return `"` + clean(string(sent[:min(len(sent), maxExcerpt+1)]), maxExcerpt) + `"`
}

// reason gives the plain cause of a network error.
func reason(err error) string {
	var timed net.Error
	var errno syscall.Errno
	var op *net.OpError
	switch {
	case errors.Is(err, context.Canceled):
		return "the validation was cut short"
	case errors.As(err, &timed) && timed.Timeout():
		return "timed out"
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF):
		return "the connection was closed too early"
	case errors.As(err, &errno):
		return errno.Error()
	case errors.As(err, &op):
		return op.Err.Error()
	}
	return err.Error()
}
