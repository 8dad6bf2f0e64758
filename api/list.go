package api

import (
	"context"
	"net/netip"
	"net/url"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"

	"github.com/mayflyca/mayfly/ca"
	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

type listInput struct {
	Name          string    `query:"name" maxLength:"2048" example:"db.internal" doc:"Certificates with exactly this name: a DNS name, IP address, URI or email address."`
	Suffix        string    `query:"suffix" maxLength:"254" example:"internal" doc:"Certificates with a DNS name that is this one or lies below it; below it only, with a dot in front."`
	Status        string    `query:"status" enum:"pending,valid,revoked,expired" doc:"Certificates that stand so now."`
	Profile       string    `query:"profile" maxLength:"64" example:"server" doc:"Certificates of this profile."`
	Owner         string    `query:"owner" maxLength:"256" doc:"Certificates of exactly this owner."`
	ExpiresBefore time.Time `query:"expires_before" example:"2030-01-02T00:00:00Z" doc:"Certificates whose last second is before this time."`
	Cursor        string    `query:"cursor" maxLength:"64" doc:"Continues an earlier list: its next."`
	Limit         int       `query:"limit" minimum:"1" maximum:"1000" default:"100" doc:"The most certificates on a page."`

	asked url.Values
}

// Resolve keeps the query as it was sent, for the link to the next page.
func (in *listInput) Resolve(ctx huma.Context) []error {
	u := ctx.URL()
	in.asked = u.Query()
	return nil
}

type listOutput struct {
	Link string `header:"Link" doc:"The next page, as rel=\"next\" (RFC 8288), if there is one."`
	Body struct {
		Items []certificate `json:"items" nullable:"false" doc:"The certificates of this page."`
		Next  string        `json:"next,omitempty" doc:"The cursor of the next page; missing if nothing follows."`
	}
}

func (d *door) list(ctx context.Context, _ identity.Caller, in *listInput) (*listOutput, error) {
	query, err := in.query()
	if err != nil {
		return nil, err
	}
	found, err := d.CA.Certificates(ctx, query)
	if err != nil {
		return nil, err
	}
	out := &listOutput{}
	out.Body.Items = make([]certificate, len(found))
	for i := range found {
		out.Body.Items[i] = d.summary(&found[i])
	}
	// A full page may be the last: then the next one is empty and says so.
	if len(found) == in.Limit {
		out.Body.Next = encodeCursor(&found[len(found)-1])
		in.asked.Set("cursor", out.Body.Next)
		in.asked.Set("limit", strconv.Itoa(in.Limit))
		out.Link = "<" + certificatesPath + "?" + in.asked.Encode() + `>; rel="next"`
	}
	return out, nil
}

// query reads the filters. Texts that no certificate can hold are refused here and never reach a
// database, which would choke on some.
func (in *listInput) query() (ca.Query, error) {
	q := ca.Query{
		Status: ca.Status(in.Status), Profile: in.Profile, Owner: in.Owner,
		ExpiresBefore: in.ExpiresBefore, Limit: in.Limit,
	}
	for field, text := range map[string]string{"query.profile": in.Profile, "query.owner": in.Owner} {
		if !utf8.ValidString(text) || strings.ContainsFunc(text, unicode.IsControl) {
			return q, fault.Field(field, "%q is not text", text)
		}
	}
	var err error
	if in.Name != "" {
		if q.Name, err = canonical("query.name", nameType(in.Name), in.Name); err != nil {
			return q, err
		}
	}
	if bare, isBelow := strings.CutPrefix(in.Suffix, "."); in.Suffix != "" {
		if q.Suffix, err = canonical("query.suffix", identity.DNS, bare); err != nil {
			return q, err
		}
		if isBelow {
			q.Suffix = "." + q.Suffix
		}
	}
	q.After, err = decodeCursor(in.Cursor)
	return q, err
}

// canonical gives the text of a name as certificates hold it; what is wrong with it is said of field.
func canonical(field string, t identity.NameType, text string) (string, error) {
	name, err := identity.ParseName(t, text)
	if err != nil {
		return "", fault.Field(field, "%s", explain(err).Errors[0].Message)
	}
	return name.Value, nil
}

// nameType tells what type of name a text can be: at most one parses as each.
func nameType(text string) identity.NameType {
	if _, err := netip.ParseAddr(text); err == nil {
		return identity.IP
	}
	switch {
	case strings.Contains(text, ":"):
		return identity.URI
	case strings.Contains(text, "@"):
		return identity.Email
	default:
		return identity.DNS
	}
}
