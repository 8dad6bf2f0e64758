package lint

import (
	"fmt"
	"net/url"

	"github.com/zmap/zlint/v3/util"

	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// check asks the policy whether the content may be issued under one of the profiles, whoever wants
// it (never #15: the verdict is on what the octets say), and adds what lints ask beyond that.
func (d *draft) check(profiles []policy.Profile) error {
	for i, p := range profiles {
		err := policy.Decide(identity.Caller{AnyName: true}, p, d.content)
		if err == nil {
			break
		}
		if i == len(profiles)-1 {
			return fmt.Errorf("asking the policy about the draft's content: %w", err)
		}
	}
	for _, name := range d.content.Names {
		if name.Type == identity.URI {
			if err := checkURI(name.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

// checkURI is the lint e_ext_san_uri_host_not_fqdn_or_ip: RFC 5280 section 4.2.1.6 wants the host of
// a URI to be a fully qualified domain name or an address.
func checkURI(text string) error {
	u, err := url.Parse(text)
	if err != nil {
		return fmt.Errorf("subjectAltName: reading URI %q: %w", text, err)
	}
	if u.Opaque == "" && !util.IsFQDNOrIP(u.Host) {
		return fmt.Errorf("subjectAltName: the host of URI %q is no fully qualified domain name", text)
	}
	return nil
}
