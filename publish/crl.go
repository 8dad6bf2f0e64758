package publish

import (
	"fmt"
	"net/http"
	"strconv"
	"time"

	"github.com/go-chi/chi/v5"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
)

// crlFresh is how long a cache may hand out a CRL without asking again, and so how late a relying
// party behind that cache learns of a revocation. Asking again costs a 304.
const crlFresh = time.Minute

// crl never looks on disk for a shard that no issuer has.
func (d door) crl(r *http.Request) (document, error) {
	issuer, err := d.find(chi.URLParam(r, "issuer"))
	if err != nil {
		return document{}, err
	}
	text := chi.URLParam(r, "shard")
	shard, err := strconv.Atoi(text)
	if err != nil || shard < 0 || shard >= issuer.Shards || text != strconv.Itoa(shard) {
		return document{}, fault.New(fault.NotFound, "This issuer's CRLs are numbered from 0 to %d.",
			issuer.Shards-1)
	}
	crl, err := d.CA.CRL(r.Context(), ca.Shard{Issuer: issuer.ID, Shard: shard})
	if err != nil {
		return document{}, err
	}
	now := d.Now()
	doc := document{
		mediaType: "application/pkix-crl",
		content:   crl.DER,
		// A CRL that is out of date is still handed out: it is no worse than none, and says itself
		// that nobody may rely on it.
		fresh: max(0, min(crlFresh, crl.NextUpdate.Sub(now))),
	}
	// HTTP dates have no fractions of a second. While a second CRL could still carry the same date,
	// none is given, or If-Modified-Since would keep a client on the first (RFC 9110 section 8.8.2.2).
	if now.Sub(crl.ThisUpdate) >= time.Second {
		doc.modified = crl.ThisUpdate
	}
	return doc, nil
}

// setFreshness follows the profile for cached status of RFC 5019 section 6.2, except that Expires is
// not nextUpdate: an old cache too must learn of a revocation before that.
func setFreshness(h http.Header, now time.Time, fresh time.Duration) {
	h.Set("Cache-Control", fmt.Sprintf("public, max-age=%d, no-transform, must-revalidate",
		int(fresh.Seconds())))
	h.Set("Expires", now.Add(fresh).UTC().Format(http.TimeFormat))
}
