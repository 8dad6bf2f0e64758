package lint

import (
	"bytes"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	encoding_asn1 "encoding/asn1"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/crypto/cryptobyte"
	"golang.org/x/crypto/cryptobyte/asn1"

	"github.com/mayflyca/mayfly/identity"
	"github.com/mayflyca/mayfly/policy"
)

// draft is a certificate taken apart.
type draft struct {
	content policy.Content
	// shape is all that is not content, and of the content what lints tell apart by kind: forms of
	// time and string, sort and size of key, types of name. Two drafts with one shape have equal
	// octets everywhere else.
	shape []byte
}

// fix adds octets to the shape. The length in front keeps two lists of octets from looking alike.
func (d *draft) fix(octets []byte) {
	d.shape = binary.AppendUvarint(d.shape, uint64(len(octets)))
	d.shape = append(d.shape, octets...)
}

// read takes a certificate apart (RFC 5280 section 4.1). It is strict DER all the way, and refuses
// content that is not in the form which all our certificates have.
func read(der []byte) (*draft, error) {
	input := cryptobyte.String(der)
	var certificate, tbs, algorithm, signature cryptobyte.String
	if !input.ReadASN1(&certificate, asn1.SEQUENCE) || !input.Empty() ||
		!certificate.ReadASN1(&tbs, asn1.SEQUENCE) ||
		!certificate.ReadASN1Element(&algorithm, asn1.SEQUENCE) ||
		!certificate.ReadASN1(&signature, asn1.BIT_STRING) || !certificate.Empty() {
		return nil, errors.New("it is not a certificate in DER")
	}
	d := &draft{shape: make([]byte, 0, len(der))}
	d.fix(algorithm)
	return d, d.readTBS(tbs)
}

func (d *draft) readTBS(tbs cryptobyte.String) error {
	var version, serial, algorithm, issuer, validity, subject, spki, extensions cryptobyte.String
	if !tbs.ReadASN1Element(&version, asn1.Tag(0).Constructed().ContextSpecific()) ||
		!tbs.ReadASN1(&serial, asn1.INTEGER) ||
		!tbs.ReadASN1Element(&algorithm, asn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&issuer, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&validity, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&subject, asn1.SEQUENCE) ||
		!tbs.ReadASN1Element(&spki, asn1.SEQUENCE) ||
		!tbs.ReadASN1(&extensions, asn1.Tag(3).Constructed().ContextSpecific()) || !tbs.Empty() {
		return errors.New("its fields are not those of a version 3 certificate in DER")
	}
	d.fix(version)
	d.fix(algorithm)
	d.fix(issuer)
	// Ours are 16 octets that neither start with zero nor read as a negative number.
	if len(serial) != 16 || serial[0] == 0 || serial[0] >= 0x80 {
		return fmt.Errorf("serial number %x is not a positive number of 16 octets", []byte(serial))
	}
	if err := d.readValidity(validity); err != nil {
		return err
	}
	if err := d.readSubject(subject); err != nil {
		return err
	}
	keyID, err := d.readKey(spki)
	if err != nil {
		return err
	}
	return d.readExtensions(extensions, keyID)
}

// readValidity reads two times in the only form that RFC 5280 section 4.1.2.5 allows for each.
func (d *draft) readValidity(validity cryptobyte.String) (err error) {
	for _, t := range []*time.Time{&d.content.NotBefore, &d.content.NotAfter} {
		var text cryptobyte.String
		var tag asn1.Tag
		if !validity.ReadAnyASN1(&text, &tag) {
			return errors.New("validity is not two times")
		}
		d.fix([]byte{byte(tag)})
		if *t, err = readTime(tag, string(text)); err != nil {
			return fmt.Errorf("validity: %w", err)
		}
	}
	if !validity.Empty() {
		return errors.New("validity is more than two times")
	}
	return nil
}

const (
	utcTime         = "060102150405Z"
	generalizedTime = "20060102150405Z"
)

func readTime(tag asn1.Tag, text string) (time.Time, error) {
	layout, isLate := utcTime, false
	if tag == asn1.GeneralizedTime {
		layout, isLate = generalizedTime, true
	} else if tag != asn1.UTCTime {
		return time.Time{}, fmt.Errorf("ASN.1 tag %d is not a time", tag)
	}
	t, err := time.Parse(layout, text)
	if err != nil || t.Format(layout) != text {
		return time.Time{}, fmt.Errorf("%q is not a time of the form %s", text, layout)
	}
	if isLate != (t.Year() >= 2050) {
		return time.Time{}, fmt.Errorf("%s should be a UTCTime before 2050, a GeneralizedTime after",
			text)
	}
	return t, nil
}

var commonName = encoding_asn1.ObjectIdentifier{2, 5, 4, 3}

// readSubject reads a name that is empty or one common name.
func (d *draft) readSubject(subject cryptobyte.String) error {
	if subject.Empty() {
		d.fix(nil)
		return nil
	}
	var set, attribute, text cryptobyte.String
	var oid encoding_asn1.ObjectIdentifier
	var tag asn1.Tag
	if !subject.ReadASN1(&set, asn1.SET) || !subject.Empty() ||
		!set.ReadASN1(&attribute, asn1.SEQUENCE) || !set.Empty() ||
		!attribute.ReadASN1ObjectIdentifier(&oid) || !oid.Equal(commonName) ||
		!attribute.ReadAnyASN1(&text, &tag) || !attribute.Empty() || len(text) == 0 {
		return errors.New("subject is neither empty nor one common name")
	}
	if tag != asn1.UTF8String && (tag != asn1.PrintableString || !isPrintable(text)) {
		return fmt.Errorf("common name %q is neither a UTF8String nor a PrintableString", text)
	}
	d.fix([]byte{byte(tag)})
	d.content.CommonName = string(text)
	return nil
}

// isPrintable tells whether a PrintableString may hold text (X.680 section 41.4).
func isPrintable(text []byte) bool {
	return !bytes.ContainsFunc(text, func(r rune) bool {
		isAlphanumeric := 'a' <= r && r <= 'z' || 'A' <= r && r <= 'Z' || '0' <= r && r <= '9'
		return !isAlphanumeric && !bytes.ContainsRune([]byte(" '()+,-./:=?"), r)
	})
}

// readKey reads the SubjectPublicKeyInfo and gives the key identifier that belongs to it: the
// leftmost 160 bits of the key's SHA-256 (RFC 7093 section 2, method 1).
func (d *draft) readKey(spki cryptobyte.String) (keyID []byte, err error) {
	if d.content.PublicKey, err = x509.ParsePKIXPublicKey(spki); err != nil {
		return nil, fmt.Errorf("subject public key: %w", err)
	}
	var info, algorithm cryptobyte.String
	var bits []byte
	if !spki.ReadASN1(&info, asn1.SEQUENCE) || !info.ReadASN1Element(&algorithm, asn1.SEQUENCE) ||
		!info.ReadASN1BitStringAsBytes(&bits) || !info.Empty() {
		return nil, errors.New("subject public key is not DER")
	}
	d.fix(algorithm)
	d.fix(binary.AppendUvarint(nil, uint64(len(bits))))
	if key, ok := d.content.PublicKey.(*rsa.PublicKey); ok {
		d.fix(fmt.Appendf(nil, "%d %d", key.N.BitLen(), key.E))
	}
	sum := sha256.Sum256(bits)
	return sum[:20], nil
}

// readExtensions reads the list of extensions. Apart from the names and the subject's key
// identifier, their values belong to the shape.
func (d *draft) readExtensions(extensions cryptobyte.String, keyID []byte) error {
	var list cryptobyte.String
	if !extensions.ReadASN1(&list, asn1.SEQUENCE) || !extensions.Empty() {
		return errors.New("the extensions are not a list")
	}
	for !list.Empty() {
		var extension, critical, value cryptobyte.String
		var oid encoding_asn1.ObjectIdentifier
		if !list.ReadASN1(&extension, asn1.SEQUENCE) || !extension.ReadASN1ObjectIdentifier(&oid) ||
			extension.PeekASN1Tag(asn1.BOOLEAN) &&
				!extension.ReadASN1Element(&critical, asn1.BOOLEAN) ||
			!extension.ReadASN1(&value, asn1.OCTET_STRING) || !extension.Empty() {
			return errors.New("an extension is not DER")
		}
		d.fix([]byte(oid.String()))
		d.fix(critical)
		switch {
		case oid.Equal(subjectAltName):
			if err := d.readNames(value); err != nil {
				return fmt.Errorf("subjectAltName: %w", err)
			}
		case oid.Equal(subjectKeyID):
			var id cryptobyte.String
			if !value.ReadASN1(&id, asn1.OCTET_STRING) || !value.Empty() || !bytes.Equal(id, keyID) {
				return fmt.Errorf("subjectKeyIdentifier %x is not %x, which the key gives", id, keyID)
			}
		default:
			d.fix(value)
		}
	}
	return nil
}

// nameTypes are the context-specific tags of GeneralName (RFC 5280 section 4.2.1.6) that we issue.
var nameTypes = map[asn1.Tag]identity.NameType{
	asn1.Tag(1).ContextSpecific(): identity.Email,
	asn1.Tag(2).ContextSpecific(): identity.DNS,
	asn1.Tag(6).ContextSpecific(): identity.URI,
	asn1.Tag(7).ContextSpecific(): identity.IP,
	// An otherName, of the one kind that readPermanentIdentifier knows.
	asn1.Tag(0).ContextSpecific().Constructed(): identity.PermanentIdentifier,
}

func (d *draft) readNames(value cryptobyte.String) error {
	var list cryptobyte.String
	if !value.ReadASN1(&list, asn1.SEQUENCE) || !value.Empty() {
		return errors.New("it is not a list of names")
	}
	var types [5]byte
	for !list.Empty() {
		var octets cryptobyte.String
		var tag asn1.Tag
		if !list.ReadAnyASN1(&octets, &tag) {
			return errors.New("a name is not DER")
		}
		name := identity.Name{Type: nameTypes[tag], Value: string(octets)}
		switch name.Type {
		case identity.DNS:
			types[0] = 1
		case identity.IP:
			types[1] = 1
			address, ok := netip.AddrFromSlice(octets)
			if !ok {
				return fmt.Errorf("an iPAddress has %d octets", len(octets))
			}
			name.Value = address.String()
		case identity.URI:
			types[2] = 1
		case identity.Email:
			types[3] = 1
		case identity.PermanentIdentifier:
			types[4] = 1
			var ok bool
			if name.Value, ok = readPermanentIdentifier(octets); !ok {
				return errors.New("an otherName is not one permanent identifier")
			}
		default:
			return fmt.Errorf("there is a name with ASN.1 tag %#x", byte(tag))
		}
		d.content.Names = append(d.content.Names, name)
	}
	d.fix(types[:])
	return nil
}

var permanentIdentifier = encoding_asn1.ObjectIdentifier{1, 3, 6, 1, 5, 5, 7, 8, 3}

// readPermanentIdentifier reads an otherName with a PermanentIdentifier (RFC 4043 section 2) that
// has an identifierValue and nothing else.
func readPermanentIdentifier(otherName cryptobyte.String) (string, bool) {
	var oid encoding_asn1.ObjectIdentifier
	var explicit, identifier, value cryptobyte.String
	ok := otherName.ReadASN1ObjectIdentifier(&oid) && oid.Equal(permanentIdentifier) &&
		otherName.ReadASN1(&explicit, asn1.Tag(0).ContextSpecific().Constructed()) &&
		otherName.Empty() &&
		explicit.ReadASN1(&identifier, asn1.SEQUENCE) && explicit.Empty() &&
		identifier.ReadASN1(&value, asn1.UTF8String) && identifier.Empty()
	return string(value), ok
}
