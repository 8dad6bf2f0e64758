package ca

import (
	encoding_asn1 "encoding/asn1"
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
	// An otherName of the one kind below.
	identity.PermanentIdentifier: explicit0,
}

var (
	explicit0              = asn1.Tag(0).ContextSpecific().Constructed()
	oidPermanentIdentifier = encoding_asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 3}
)

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
		switch kind {
		case identity.IP:
			addr, ok := netip.AddrFromSlice(content)
			if !ok {
				return identity.Name{}, fault.Field("csr",
					"holds an IP address of %d octets; 4 or 16 are right", len(content))
			}
			text = addr.String()
		case identity.PermanentIdentifier:
			var err error
			if text, err = readPermanentIdentifier(content); err != nil {
				return identity.Name{}, err
			}
		}
		return identity.ParseName(kind, text)
	}
	return identity.Name{}, fault.Field("csr", "holds a subjectAltName of a form (tag %#02x) that is "+
		"not issued; dNSName, iPAddress, URI, rfc822Name and permanentIdentifier are known", uint8(tag))
}

// readPermanentIdentifier reads an otherName that holds a PermanentIdentifier of nothing but its
// value (RFC 4043 section 2).
func readPermanentIdentifier(content cryptobyte.String) (string, error) {
	var oid encoding_asn1.ObjectIdentifier
	var inner, identifier, value cryptobyte.String
	if !content.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(oidPermanentIdentifier) {
		return "", fault.Field("csr", "holds an otherName that is not issued; permanentIdentifier "+
			"(%s) is known", oidPermanentIdentifier)
	}
	if !content.ReadASN1(&inner, explicit0) || !content.Empty() ||
		!inner.ReadASN1(&identifier, asn1.SEQUENCE) || !inner.Empty() ||
		!identifier.ReadASN1(&value, asn1.UTF8String) || !identifier.Empty() {
		return "", fault.Field("csr", "holds a permanentIdentifier that is not one identifierValue; "+
			"an assigner is not supported")
	}
	return string(value), nil
}

// writeNames is the inverse of readNames, for canonical names.
func writeNames(names []identity.Name) ([]byte, error) {
	var b cryptobyte.Builder
	b.AddASN1(asn1.SEQUENCE, func(list *cryptobyte.Builder) {
		for _, name := range names {
			tag, ok := nameTags[name.Type]
			if !ok {
				list.SetError(fmt.Errorf("encoding a name of type %q: there is no such form", name.Type))
				return
			}
			list.AddASN1(tag, func(content *cryptobyte.Builder) { writeName(content, name) })
		}
	})
	return b.Bytes()
}

func writeName(content *cryptobyte.Builder, name identity.Name) {
	switch name.Type {
	case identity.IP:
		addr, err := netip.ParseAddr(name.Value)
		if err != nil {
			content.SetError(fmt.Errorf("encoding the name %q: %w", name.Value, err))
			return
		}
		content.AddBytes(addr.AsSlice())
	case identity.PermanentIdentifier:
		content.AddASN1ObjectIdentifier(oidPermanentIdentifier)
		content.AddASN1(explicit0, func(b *cryptobyte.Builder) {
			b.AddASN1(asn1.SEQUENCE, func(b *cryptobyte.Builder) {
				b.AddASN1(asn1.UTF8String, func(b *cryptobyte.Builder) { b.AddBytes([]byte(name.Value)) })
			})
		})
	default:
		content.AddBytes([]byte(name.Value))
	}
}
