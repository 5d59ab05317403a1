package attest

import (
	"bytes"
	"context"
	"crypto/x509"
	"encoding/asn1"
	"encoding/hex"
	"encoding/pem"
	"slices"
	"time"

	bylaw "github.com/bylaw/bylaw/guest/sdk/go"
	"github.com/bylaw/bylaw/guest/sdk/go/kms"
)

// Extensions of certificates. Each holds an OCTET STRING.
var (
	oidQuote       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 62397, 1, 1} // older form
	oidEventLog    = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 62397, 1, 2} // older form
	oidAppID       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 62397, 1, 3}
	oidUsage       = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 62397, 1, 4}
	oidAttestation = asn1.ObjectIdentifier{1, 3, 6, 1, 4, 1, 62397, 1, 8}
)

const (
	usageAppCA   = "app:ca"
	chainLength  = 3
	maxPEMLength = 4 << 20
)

var pemBegin = []byte("-----BEGIN CERTIFICATE-----")

// CertificateAppraisal is what a verified certificate establishes.
type CertificateAppraisal struct {
	Appraisal
	// Subject is the leaf's common name: the app's own choice, proven by nothing.
	Subject string
	// DNSNames and IPAddresses are the app's own choice too.
	DNSNames    []string
	IPAddresses []string
	// PublicKey is the leaf's key, which the evidence is bound to: SubjectPublicKeyInfo.
	PublicKey []byte
	// NotBefore and NotAfter bound the certificate; evidence does not age with it.
	NotBefore time.Time
	NotAfter  time.Time
	// IssuedByKMS tells that the chain leads to the KMS root that was given.
	IssuedByKMS bool
}

// ParseChain reads PEM certificates, the leaf first.
func ParseChain(content []byte) ([]*x509.Certificate, error) {
	if len(content) > maxPEMLength {
		return nil, bylaw.Refuse(bylaw.RuleEncoding, "the chain has %d bytes; the limit is %d", len(content), maxPEMLength)
	}
	var ders [][]byte
	for rest := bytes.TrimSpace(content); len(rest) != 0; rest = bytes.TrimSpace(rest) {
		block, after := pem.Decode(rest)
		// The decoder skips what it cannot read; a certificate must not vanish that way.
		if block == nil || !bytes.HasPrefix(rest, pemBegin) ||
			bytes.Count(rest[:len(rest)-len(after)], pemBegin) != 1 {
			return nil, bylaw.Refuse(bylaw.RuleEncoding,
				"the chain holds something that is not a PEM certificate, after %d that are", len(ders))
		}
		ders = append(ders, block.Bytes)
		rest = after
	}
	return ParseDERChain(ders)
}

// ParseDERChain reads DER certificates, the leaf first.
func ParseDERChain(ders [][]byte) ([]*x509.Certificate, error) {
	if len(ders) == 0 {
		return nil, bylaw.Refuse(bylaw.RuleEncoding, "there are no certificates")
	}
	chain := make([]*x509.Certificate, 0, len(ders))
	for index, der := range ders {
		// Refuses extensions that appear twice, so none can be read in two ways.
		certificate, err := x509.ParseCertificate(der)
		if err != nil {
			return nil, bylaw.Because(bylaw.RuleEncoding, err, "certificate %d", index)
		}
		chain = append(chain, certificate)
	}
	return chain, nil
}

// VerifyCertificate verifies the evidence in a certificate and that it is bound to the
// certificate's key. With a root it also verifies that the KMS of that root issued the
// certificate, for this app, and gave the app its keys. Without one the chain is ignored,
// and the evidence alone decides.
func (v *Verifier) VerifyCertificate(
	ctx context.Context, chain []*x509.Certificate, root *kms.Root, expect Expect,
) (*CertificateAppraisal, error) {
	if len(chain) == 0 {
		return nil, bylaw.Refuse(bylaw.RuleEncoding, "there are no certificates")
	}
	leaf, now := chain[0], v.now()
	if err := v.checkIssuer(chain, root, now); err != nil {
		return nil, err
	}
	evidence, err := evidenceOf(leaf)
	if err != nil {
		return nil, err
	}
	if expect.ReportData == nil && expect.TLSKey == nil {
		expect.TLSKey = leaf.RawSubjectPublicKeyInfo
	}
	appraisal, err := v.VerifyEvidence(ctx, evidence, expect)
	if err != nil {
		return nil, err
	}
	// Whatever the caller expected, evidence of another key is not this certificate's.
	if appraisal.ReportData != ReportDataForTLSKey(leaf.RawSubjectPublicKeyInfo) {
		return nil, bylaw.Refuse(bylaw.RuleReportData, "the evidence is not bound to the certificate's key")
	}
	stating := chain[:1]
	if root != nil {
		stating = chain[:2]
		if err := appraisal.hasKMS(root.CASPKI); err != nil {
			return nil, err
		}
	}
	for _, certificate := range stating {
		if err := checkAppID(certificate, appraisal.AppID); err != nil {
			return nil, err
		}
	}
	facts := &CertificateAppraisal{
		Appraisal:   *appraisal,
		Subject:     leaf.Subject.CommonName,
		DNSNames:    leaf.DNSNames,
		PublicKey:   leaf.RawSubjectPublicKeyInfo,
		NotBefore:   leaf.NotBefore,
		NotAfter:    leaf.NotAfter,
		IssuedByKMS: root != nil,
	}
	for _, address := range leaf.IPAddresses {
		facts.IPAddresses = append(facts.IPAddresses, address.String())
	}
	return facts, nil
}

// checkIssuer leads the chain to the root, or without one checks the leaf's dates only.
func (v *Verifier) checkIssuer(chain []*x509.Certificate, root *kms.Root, now time.Time) error {
	leaf := chain[0]
	if root == nil {
		if now.Before(leaf.NotBefore) || now.After(leaf.NotAfter) {
			return bylaw.Refuse(bylaw.RuleChain, "the certificate is valid from %s to %s", leaf.NotBefore, leaf.NotAfter)
		}
		return nil
	}
	if len(chain) != chainLength {
		return bylaw.Refuse(bylaw.RuleChain,
			"the chain has %d certificates, not leaf, app CA and root CA", len(chain))
	}
	appCA, rootCA := chain[1], chain[2]
	if !bytes.Equal(rootCA.RawSubjectPublicKeyInfo, root.CASPKI) {
		return bylaw.Refuse(bylaw.RuleChain, "the chain ends at another root CA than the KMS's")
	}
	// The root's key is known, its certificate is only what that key says about itself.
	if err := rootCA.CheckSignatureFrom(rootCA); err != nil {
		return bylaw.Because(bylaw.RuleChain, err, "the root CA's certificate")
	}
	usage, found, err := octets(appCA, oidUsage)
	if err != nil {
		return err
	}
	if !found || string(usage) != usageAppCA {
		return bylaw.Refuse(bylaw.RuleChain, "the leaf's issuer has usage %q, not %q", usage, usageAppCA)
	}
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(rootCA)
	intermediates.AddCert(appCA)
	paths, err := leaf.Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return bylaw.Because(bylaw.RuleChain, err, "the certificate chain")
	}
	if !slices.ContainsFunc(paths, func(path []*x509.Certificate) bool {
		return slices.EqualFunc(path, chain, (*x509.Certificate).Equal)
	}) {
		return bylaw.Refuse(bylaw.RuleChain, "the certificates do not lead from leaf over app CA to root CA")
	}
	return nil
}

func checkAppID(certificate *x509.Certificate, measured []byte) error {
	stated, found, err := octets(certificate, oidAppID)
	if err != nil || !found {
		return err
	}
	if len(stated) != appIDLength {
		return bylaw.Refuse(bylaw.RuleEncoding, "the certificate %q states an app id of %d bytes",
			certificate.Subject.CommonName, len(stated))
	}
	if !bytes.Equal(stated, measured) {
		return bylaw.Refuse(bylaw.RuleAppID, "the certificate %q is for app %s, the evidence is of app %s",
			certificate.Subject.CommonName, hex.EncodeToString(stated), hex.EncodeToString(measured))
	}
	return nil
}

// evidenceOf reads the evidence in a certificate.
func evidenceOf(leaf *x509.Certificate) (*Evidence, error) {
	content, found, err := octets(leaf, oidAttestation)
	if err != nil {
		return nil, err
	}
	if found {
		return ParseEvidence(content)
	}
	quote, hasQuote, err := octets(leaf, oidQuote)
	if err != nil {
		return nil, err
	}
	if !hasQuote {
		return nil, bylaw.Refuse(bylaw.RuleEncoding,
			"the certificate carries no evidence; its owner must ask for it (RATLS in GetTLSKey)")
	}
	log, hasLog, err := octets(leaf, oidEventLog)
	if err != nil {
		return nil, err
	}
	if !hasLog {
		return nil, bylaw.Refuse(bylaw.RuleEventLog, "the certificate carries a quote without an event log")
	}
	evidence, err := evidenceWithLog(quote, log)
	if err != nil {
		return nil, err
	}
	evidence.ReportData, err = quotedReportData(quote)
	return evidence, err
}

// octets unwraps an extension; found is false when there is none.
func octets(certificate *x509.Certificate, oid asn1.ObjectIdentifier) (content []byte, found bool, err error) {
	for _, extension := range certificate.Extensions {
		if !extension.Id.Equal(oid) {
			continue
		}
		if found {
			return nil, false, bylaw.Refuse(bylaw.RuleEncoding, "extension %s appears twice", oid)
		}
		rest, err := asn1.Unmarshal(extension.Value, &content)
		if err != nil || len(rest) != 0 {
			return nil, false, bylaw.Refuse(bylaw.RuleEncoding, "extension %s is not an OCTET STRING", oid)
		}
		found = true
	}
	return content, found, nil
}
