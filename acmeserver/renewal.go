package acmeserver

import (
	"context"
	"crypto/sha256"
	"encoding/binary"
	"fmt"
	"math/bits"
	"net/http"
	"strings"
	"time"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

// renewalInfo tells clients when to renew a certificate (RFC 9773 section 4.2).
type renewalInfo struct {
	SuggestedWindow window `json:"suggestedWindow"`
	ExplanationURL  string `json:"explanationURL,omitempty"`
}

type window struct {
	Start time.Time `json:"start"`
	End   time.Time `json:"end"`
}

const (
	// maxRecheck is the longest time between two looks of a client, and so how long the news of a
	// revocation can take to reach it; a short life is looked at more often.
	maxRecheck = 6 * time.Hour
	minRecheck = time.Minute // clients may take less for this (section 4.3.2)
	// urgentRecheck is for a certificate that is to be renewed at once.
	urgentRecheck = 5 * time.Minute
	// renewalCache is how long caches may answer in our place. A window that was pulled forward is
	// news everywhere after that time.
	renewalCache = time.Minute
)

// renewal answers who asks when to renew a certificate. Anybody may, for any certificate that was
// issued here through whatever door: nothing of it is confidential (section 6).
func (s *Server) renewal(r *http.Request) (*answer, error) {
	c, urgency, err := s.renewalOf(r)
	if err != nil {
		return nil, err
	}
	info := renewalInfo{SuggestedWindow: plannedWindow(c)}
	recheck := min(max(lifeOf(c)/24, minRecheck), maxRecheck)
	if urgency != "" {
		info.SuggestedWindow, recheck = pastWindow(c), urgentRecheck
		info.ExplanationURL = s.url("renewal-info", r.PathValue("certID"), "explanation")
	}
	return &answer{body: info, retryAfter: recheck, cache: renewalCache}, nil
}

// explanation is the page that explains the window to people.
func (s *Server) explanation(r *http.Request) (*answer, error) {
	c, urgency, err := s.renewalOf(r)
	if err != nil {
		return nil, err
	}
	if urgency == "" {
		urgency = "Nothing is wrong with it. Clients are asked to renew at different times of its life, " +
			"so that they do not all come at once."
	}
	text := fmt.Sprintf("Certificate %s\n\n%s\n", c.Serial, urgency)
	return &answer{text: text, cache: renewalCache}, nil
}

// renewalOf finds the certificate, and says why it must be renewed at once, if it must.
func (s *Server) renewalOf(r *http.Request) (c *ca.Certificate, urgency string, err error) {
	id, err := parseCertID(r.PathValue("certID"))
	if err != nil {
		return nil, "", refuse(malformed, "the certificate's id cannot be read: %s", err)
	}
	if c, err = s.certificateOf(r.Context(), id); err != nil {
		return nil, "", err
	}
	switch {
	case c.State == ca.Void:
		return c, "It was made and never handed out, and is listed as revoked. Whoever has it should " +
			"replace it now, and tell the operator of this CA.", nil
	case c.Revocation != nil:
		return c, fmt.Sprintf("It was revoked at %s (%s). Replace it now: whoever checks does not accept it "+
			"any more.", c.Revocation.At.Format(time.RFC3339), c.Revocation.Reason), nil
	}
	replaced, err := s.isReplaced(r.Context(), c)
	if replaced {
		urgency = "Its account has ordered a replacement. Whoever still uses it should change to that one."
	}
	return c, urgency, err
}

// certificateOf finds the certificate, issued or void. It must be of the issuer that the id names: a
// serial alone can be another CA's.
func (s *Server) certificateOf(ctx context.Context, id certID) (*ca.Certificate, error) {
	unknown := refuse(malformed, "no certificate with this id was issued here").
		withStatus(http.StatusNotFound)
	c, err := s.store.CertificateBySerial(ctx, id.serial)
	if fault.Is(err, fault.NotFound) {
		return nil, unknown
	}
	if err != nil {
		return nil, err
	}
	if c.State == ca.Promised || string(s.ca.KeyID(c.Issuer)) != id.keyID {
		return nil, unknown
	}
	return c, nil
}

// isReplaced reports whether an order to replace the certificate came or may come to something.
func (s *Server) isReplaced(ctx context.Context, c *ca.Certificate) (bool, error) {
	id, ok := strings.CutPrefix(c.Successor, orderRefs)
	if !ok {
		return c.Successor != "", nil
	}
	return s.store.OrderStands(ctx, id, s.now())
}

func lifeOf(c *ca.Certificate) time.Duration { return c.NotAfter.Sub(c.NotBefore) + time.Second }

// plannedWindow is a 24th of the certificate's life, somewhere between 7/12 and 9/12 of it. Where is
// drawn from the serial: the same whoever is asked, and evenly spread over all certificates, so that
// a fleet that was issued in one go renews over time (2/3 of the life on average).
func plannedWindow(c *ca.Certificate) window {
	life := lifeOf(c)
	width := max(life/24, 2*time.Second).Truncate(time.Second)
	sum := sha256.Sum256(c.Serial.Bytes())
	room := uint64(max(life/6-width, 0))
	offset, _ := bits.Mul64(binary.BigEndian.Uint64(sum[:]), room)
	start := c.NotBefore.Add(life/12*7 + time.Duration(offset)).Truncate(time.Second)
	return window{start, start.Add(width)}
}

// pastWindow is over, whenever it is asked for and by whichever clock that is right to half an hour.
func pastWindow(c *ca.Certificate) window {
	end := c.PromisedAt.Add(-30 * time.Minute).Truncate(time.Second)
	return window{end.Add(-30 * time.Minute), end}
}
