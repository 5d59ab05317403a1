package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"math/big"
	"time"

	"github.com/google/go-tdx-guest/pcs"
)

// Collateral is what the vendor states about a platform family. Nothing in it is trusted
// until [Verify] has checked it.
type Collateral struct {
	PCKCRLIssuerChain     string
	RootCACRL             []byte
	PCKCRL                []byte
	TCBInfoIssuerChain    string
	TCBInfo               string
	TCBInfoSignature      []byte
	QEIdentityIssuerChain string
	QEIdentity            string
	QEIdentitySignature   []byte
}

const (
	maxChain         = 5
	tcbInfoVersion   = 3
	rawECDSALength   = 64
	minQEIdentity    = 2
	maxQEIdentity    = 3
	tdxID            = "TDX"
	quotingEnclaveID = "TD_QE"
)

// pki is the vendor's certificates as they stand at one time.
type pki struct {
	root    *x509.Certificate
	now     time.Time
	rootCRL *x509.RevocationList
	pckCRL  *x509.RevocationList
}

// newPKI reads both CRLs. The root's is verified here, the other one together with the
// certificate of its issuer.
func newPKI(root *x509.Certificate, collateral *Collateral, now time.Time) (*pki, error) {
	vendor := &pki{root: root, now: now}
	var err error
	if vendor.rootCRL, err = parseCRL("the root CA's CRL", collateral.RootCACRL, now); err != nil {
		return nil, err
	}
	if vendor.pckCRL, err = parseCRL("the PCK CRL", collateral.PCKCRL, now); err != nil {
		return nil, err
	}
	if err := checkCRL("the root CA's CRL", vendor.rootCRL, root); err != nil {
		return nil, err
	}
	if revoked(vendor.rootCRL, root) {
		return nil, fmt.Errorf("the root CA revoked itself")
	}
	return vendor, nil
}

func parseCRL(name string, der []byte, now time.Time) (*x509.RevocationList, error) {
	crl, err := x509.ParseRevocationList(der)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	if now.Before(crl.ThisUpdate) {
		return nil, fmt.Errorf("%s is of the future, %s", name, crl.ThisUpdate)
	}
	if crl.NextUpdate.IsZero() || now.After(crl.NextUpdate) {
		return nil, fmt.Errorf("%s expired at %s", name, crl.NextUpdate)
	}
	return crl, nil
}

func checkCRL(name string, crl *x509.RevocationList, issuer *x509.Certificate) error {
	if !bytes.Equal(crl.RawIssuer, issuer.RawSubject) {
		return fmt.Errorf("%s is not issued by %s", name, issuer.Subject)
	}
	if err := crl.CheckSignatureFrom(issuer); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	return nil
}

func revoked(crl *x509.RevocationList, certificate *x509.Certificate) bool {
	for _, entry := range crl.RevokedCertificateEntries {
		if entry.SerialNumber.Cmp(certificate.SerialNumber) == 0 {
			return true
		}
	}
	return false
}

// parseChain reads PEM certificates; NUL bytes at the end are the vendor's habit.
func parseChain(text []byte) ([]*x509.Certificate, error) {
	var chain []*x509.Certificate
	rest := bytes.TrimRight(text, "\x00")
	for {
		var block *pem.Block
		block, rest = pem.Decode(rest)
		if block == nil {
			break
		}
		if block.Type != "CERTIFICATE" {
			return nil, fmt.Errorf("it holds a %s", block.Type)
		}
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		if chain = append(chain, certificate); len(chain) > maxChain {
			return nil, fmt.Errorf("it has more than %d certificates", maxChain)
		}
	}
	if len(bytes.TrimSpace(rest)) != 0 {
		return nil, fmt.Errorf("something follows the certificates")
	}
	if len(chain) == 0 {
		return nil, fmt.Errorf("it has no certificates")
	}
	return chain, nil
}

// verify leads a chain to the root and returns the path, leaf first, root last.
func (p *pki) verify(chain []*x509.Certificate) ([]*x509.Certificate, error) {
	roots, intermediates := x509.NewCertPool(), x509.NewCertPool()
	roots.AddCert(p.root)
	for _, certificate := range chain[1:] {
		intermediates.AddCert(certificate)
	}
	paths, err := chain[0].Verify(x509.VerifyOptions{
		Roots:         roots,
		Intermediates: intermediates,
		CurrentTime:   p.now,
		KeyUsages:     []x509.ExtKeyUsage{x509.ExtKeyUsageAny},
	})
	if err != nil {
		return nil, err
	}
	return paths[0], nil
}

// verifySigner accepts a certificate that the root issued itself and has not revoked.
func (p *pki) verifySigner(text string) (*x509.Certificate, error) {
	chain, err := parseChain([]byte(text))
	if err != nil {
		return nil, err
	}
	path, err := p.verify(chain)
	if err != nil {
		return nil, err
	}
	if len(path) != 2 {
		return nil, fmt.Errorf("the signer is not issued by the root CA itself")
	}
	if revoked(p.rootCRL, path[0]) {
		return nil, fmt.Errorf("the signer's certificate is revoked")
	}
	return path[0], nil
}

// pckPath is the verified path of a platform's certificate: leaf, PCK CA, root.
func pckPath(root *x509.Certificate, chain []*x509.Certificate, now time.Time) ([]*x509.Certificate, error) {
	path, err := (&pki{root: root, now: now}).verify(chain)
	if err != nil {
		return nil, err
	}
	if len(path) != 3 {
		return nil, fmt.Errorf("the PCK certificate is not issued by a CA below the root")
	}
	return path, nil
}

// checkRevocation judges a path of [pckPath] by the CRLs.
func (p *pki) checkRevocation(path []*x509.Certificate) error {
	leaf, ca := path[0], path[1]
	if revoked(p.rootCRL, ca) {
		return fmt.Errorf("the PCK CA is revoked")
	}
	if err := checkCRL("the PCK CRL", p.pckCRL, ca); err != nil {
		return err
	}
	if revoked(p.pckCRL, leaf) {
		return fmt.Errorf("the platform's PCK certificate is revoked")
	}
	return nil
}

// verifyTCBInfo returns the vendor's statement about the platform family.
func (p *pki) verifyTCBInfo(collateral *Collateral) (*pcs.TcbInfo, error) {
	var info pcs.TcbInfo
	err := p.verifyStatement(collateral.TCBInfoIssuerChain, collateral.TCBInfo, collateral.TCBInfoSignature, &info)
	if err != nil {
		return nil, err
	}
	if info.ID != tdxID || info.Version < tcbInfoVersion {
		return nil, fmt.Errorf("it is about %q, version %d, not about TDX", info.ID, info.Version)
	}
	return &info, checkDates(p.now, info.IssueDate, info.NextUpdate)
}

// verifyQEIdentity returns the vendor's statement about its quoting enclave.
func (p *pki) verifyQEIdentity(collateral *Collateral) (*pcs.EnclaveIdentity, error) {
	var identity pcs.EnclaveIdentity
	err := p.verifyStatement(
		collateral.QEIdentityIssuerChain, collateral.QEIdentity, collateral.QEIdentitySignature, &identity,
	)
	if err != nil {
		return nil, err
	}
	if identity.ID != quotingEnclaveID || identity.Version < minQEIdentity || identity.Version > maxQEIdentity {
		return nil, fmt.Errorf("it is about %q, version %d, not about the quoting enclave of TDX",
			identity.ID, identity.Version)
	}
	return &identity, checkDates(p.now, identity.IssueDate, identity.NextUpdate)
}

// verifyStatement decodes JSON after its signature held over the exact text.
func (p *pki) verifyStatement(issuer, text string, signature []byte, into any) error {
	signer, err := p.verifySigner(issuer)
	if err != nil {
		return fmt.Errorf("its signer: %w", err)
	}
	key, ok := signer.PublicKey.(*ecdsa.PublicKey)
	if !ok || !verifyECDSA(key, []byte(text), signature) {
		return fmt.Errorf("the signature does not hold")
	}
	return json.Unmarshal([]byte(text), into)
}

func checkDates(now, issued, next time.Time) error {
	if now.Before(issued) {
		return fmt.Errorf("it is of the future, %s", issued)
	}
	if now.After(next) {
		return fmt.Errorf("it expired at %s", next)
	}
	return nil
}

// verifyECDSA checks a raw r||s signature over the SHA-256 of a message.
func verifyECDSA(key *ecdsa.PublicKey, message, signature []byte) bool {
	if len(signature) != rawECDSALength {
		return false
	}
	digest := sha256.Sum256(message)
	r := new(big.Int).SetBytes(signature[:rawECDSALength/2])
	s := new(big.Int).SetBytes(signature[rawECDSALength/2:])
	return ecdsa.Verify(key, digest[:], r, s)
}
