package ca

import (
	"fmt"
	"net/netip"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mayflyca/mayfly/fault"
	"github.com/mayflyca/mayfly/identity"
)

// nameTags are the GeneralName forms that we know (RFC 5280 section 4.2.1.6).
var nameTags = map[identity.NameType]asn1.Tag{
	identity.Email: asn1.Tag(1).ContextSpecific(),
	identity.DNS:   asn1.Tag(2).ContextSpecific(),
	identity.URI:   asn1.Tag(6).ContextSpecific(),
	identity.IP:    asn1.Tag(7).ContextSpecific(),
}

// readNames reads a subjectAltName's value. Every name counts: a form we do not know is an error,
// for whoever skips it decides about something else than what will be signed (never #15).
func readNames(value []byte) ([]identity.Name, error) {
	input := cryptobyte.String(value)
	var list cryptobyte.String
	if !input.ReadASN1(&list, asn1.SEQUENCE) || !input.Empty() {
		return nil, fault.Field("csr", "holds a subjectAltName that is not DER")
	}
	var names []identity.Name
	for !list.Empty() {
		var content cryptobyte.String
		var tag asn1.Tag
		if !list.ReadAnyASN1(&content, &tag) {
			return nil, fault.Field("csr", "holds a subjectAltName that is not DER")
		}
		name, err := readName(tag, content)
		if err != nil {
			return nil, err
		}
		names = append(names, name)
	}
	return names, nil
}

func readName(tag asn1.Tag, content []byte) (identity.Name, error) {
	for kind, known := range nameTags {
		if tag != known {
			continue
		}
		text := string(content)
		if kind == identity.IP {
			addr, ok := netip.AddrFromSlice(content)
			if !ok {
				return identity.Name{}, fault.Field("csr",
					"holds an IP address of %d octets; 4 or 16 are right", len(content))
			}
			text = addr.String()
		}
		return identity.ParseName(kind, text)
	}
	return identity.Name{}, fault.Field("csr", "holds a subjectAltName of a form (tag %#02x) that is "+
		"not issued; dNSName, iPAddress, URI and rfc822Name are known", uint8(tag))
}

// writeNames is the inverse of readNames, for canonical names.
func writeNames(names []identity.Name) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(list *cryptobyte.Builder) {
		for _, name := range names {
			content := []byte(name.Value)
			if name.Type == identity.IP {
				addr, err := netip.ParseAddr(name.Value)
				if err != nil {
					list.SetError(fmt.Errorf("encoding the name %q: %w", name.Value, err))
					return
				}
				content = addr.AsSlice()
			}
			tag, ok := nameTags[name.Type]
			if !ok {
				list.SetError(fmt.Errorf("encoding a name of type %q: there is no such form", name.Type))
				return
			}
			list.AddASN1(tag, func(value *cryptobyte.Builder) { value.AddBytes(content) })
		}
	})
	return b.Bytes()
}
