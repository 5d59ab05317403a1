package dcap

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"fmt"
	"time"

	"github.com/google/go-tdx-guest/pcs"
)

// Kind says what is at fault.
type Kind int

// The kinds of faults.
const (
	FaultQuote Kind = iota
	FaultCollateral
	FaultDebug
	FaultRevoked
)

// Fault is why a quote is not believed.
type Fault struct {
	Kind Kind
	Err  error
}

// Error is the reason.
func (f *Fault) Error() string { return f.Err.Error() }

// Unwrap is the cause.
func (f *Fault) Unwrap() error { return f.Err }

func fault(kind Kind, format string, values ...any) *Fault {
	return &Fault{Kind: kind, Err: fmt.Errorf(format, values...)}
}

// Platform is what a quote's PCK certificate says about its machine. It is believable
// once the certificate's chain is verified.
type Platform struct {
	// FMSPC names the platform family, 6 bytes.
	FMSPC []byte
	// CA is "processor" or "platform".
	CA string
	// PPID names the machine, 16 bytes.
	PPID []byte

	extensions *pcs.PckExtensions
}

// Result is what a verified quote establishes.
type Result struct {
	Report      Report
	TCBStatus   string
	AdvisoryIDs []string
	PPID        []byte
}

const (
	ppidLength     = 16
	fmspcLength    = 6
	cpuSVNLength   = 16
	attestationPad = 0x04

	processorCA = "Intel SGX PCK Processor CA"
	platformCA  = "Intel SGX PCK Platform CA"
)

// Authenticated is a quote whose signatures lead to the root; what its platform is worth
// only collateral tells.
type Authenticated struct {
	Platform Platform

	quote *Quote
	qe    enclaveReport
	path  []*x509.Certificate
	root  *x509.Certificate
	now   time.Time
}

// Authenticate verifies everything in a quote that needs no collateral.
func Authenticate(raw []byte, root *x509.Certificate, now time.Time) (*Authenticated, error) {
	quote, err := Parse(raw)
	if err != nil {
		return nil, fault(FaultQuote, "not a TDX quote of version 4 or 5: %w", err)
	}
	chain, err := parseChain(quote.pckChain)
	if err != nil {
		return nil, fault(FaultQuote, "the PCK certificate chain: %w", err)
	}
	path, err := pckPath(root, chain, now)
	if err != nil {
		return nil, fault(FaultQuote, "the PCK certificate chain: %w", err)
	}
	platform, err := readPlatform(path[0])
	if err != nil {
		return nil, fault(FaultQuote, "the PCK certificate: %w", err)
	}
	qe, err := quote.verifySignatures(path[0])
	if err != nil {
		return nil, fault(FaultQuote, "%w", err)
	}
	if err := checkReport(&quote.Report); err != nil {
		return nil, err
	}
	return &Authenticated{Platform: *platform, quote: quote, qe: qe, path: path, root: root, now: now}, nil
}

// Appraise judges an authenticated quote by the vendor's statements.
func (a *Authenticated) Appraise(collateral *Collateral) (*Result, error) {
	vendor, err := newPKI(a.root, collateral, a.now)
	if err != nil {
		return nil, fault(FaultCollateral, "%w", err)
	}
	if err := vendor.checkRevocation(a.path); err != nil {
		return nil, fault(FaultCollateral, "%w", err)
	}
	info, err := vendor.verifyTCBInfo(collateral)
	if err != nil {
		return nil, fault(FaultCollateral, "TCB info: %w", err)
	}
	identity, err := vendor.verifyQEIdentity(collateral)
	if err != nil {
		return nil, fault(FaultCollateral, "QE identity: %w", err)
	}
	verdict, err := judge(a, info, identity)
	if err != nil {
		return nil, err
	}
	return &Result{
		Report:      a.quote.Report,
		TCBStatus:   string(verdict.status),
		AdvisoryIDs: verdict.advisories,
		PPID:        a.Platform.PPID,
	}, nil
}

func readPlatform(leaf *x509.Certificate) (*Platform, error) {
	extensions, err := pcs.PckCertificateExtensions(leaf)
	if err != nil {
		return nil, err
	}
	platform := &Platform{extensions: extensions}
	if platform.FMSPC, err = hex.DecodeString(extensions.FMSPC); err != nil || len(platform.FMSPC) != fmspcLength {
		return nil, fmt.Errorf("it states no FMSPC")
	}
	if platform.PPID, err = hex.DecodeString(extensions.PPID); err != nil || len(platform.PPID) != ppidLength {
		return nil, fmt.Errorf("it states no PPID")
	}
	if len(extensions.TCB.CPUSvnComponents) != cpuSVNLength {
		return nil, fmt.Errorf("it states no TCB")
	}
	switch leaf.Issuer.CommonName {
	case processorCA:
		platform.CA = "processor"
	case platformCA:
		platform.CA = "platform"
	default:
		return nil, fmt.Errorf("its issuer %q is neither of the vendor's two CAs", leaf.Issuer.CommonName)
	}
	return platform, nil
}

// verifySignatures follows the signatures: the PCK key signs the quoting enclave's report,
// the report names the attestation key, and that key signs the quote.
func (q *Quote) verifySignatures(pck *x509.Certificate) (enclaveReport, error) {
	report := parseEnclaveReport(q.qeReport)
	pckKey, ok := pck.PublicKey.(*ecdsa.PublicKey)
	if !ok || pckKey.Curve != elliptic.P256() {
		return report, fmt.Errorf("the PCK certificate's key is not P-256")
	}
	if !verifyECDSA(pckKey, q.qeReport, q.qeSignature) {
		return report, fmt.Errorf("the signature of the quoting enclave's report does not hold")
	}
	var named [64]byte
	digest := sha256.Sum256(append(append([]byte{}, q.attestationKey...), q.qeAuthData...))
	copy(named[:], digest[:])
	if !bytes.Equal(named[:], report.reportData) {
		return report, fmt.Errorf("the quoting enclave's report names another attestation key")
	}
	key, err := ecdsa.ParseUncompressedPublicKey(
		elliptic.P256(), append([]byte{attestationPad}, q.attestationKey...),
	)
	if err != nil {
		return report, fmt.Errorf("the attestation key: %w", err)
	}
	if !verifyECDSA(key, q.signed, q.signature) {
		return report, fmt.Errorf("the quote's signature does not hold")
	}
	return report, nil
}

// Bits of the TD attributes (TDX module ABI).
const (
	attributeDebug         = 1 << 0
	attributeProfiling     = 0b111 << 4
	attributeServiceTDExt  = 1 << 17
	attributeSEPTVEDisable = 1 << 28
	attributeMigratable    = 1 << 29

	attributesReserved = 0b111<<1 | 0x1ff<<7 | 0xf<<23 | (1<<62 - 1<<32)
)

// checkReport refuses TDs that somebody else can look into, whatever their TCB.
func checkReport(report *Report) error {
	in := cursor{rest: report.TDAttributes[:]}
	attributes := uint64(in.u32()) | uint64(in.u32())<<32
	switch {
	case attributes&attributeDebug != 0:
		return fault(FaultDebug, "the TD runs in debug mode, so its host can read its memory")
	case attributes&attributeProfiling != 0:
		return fault(FaultDebug, "the TD is being profiled by its host")
	case attributes&attributesReserved != 0:
		return fault(FaultQuote, "TD attributes %x have bits that are not defined", report.TDAttributes)
	case attributes&attributeMigratable != 0:
		return fault(FaultQuote, "the TD may be migrated")
	case attributes&attributeServiceTDExt != 0:
		return fault(FaultQuote, "the TD may be bound to service TDs")
	case attributes&attributeSEPTVEDisable == 0:
		return fault(FaultQuote, "the TD lets its host cause exceptions (SEPT_VE_DISABLE is not set)")
	case report.MRSignerSEAM != [48]byte{}:
		return fault(FaultQuote, "MRSIGNERSEAM is not zero: the TDX module is not Intel's")
	case report.TD15 != nil && report.TD15.MRServiceTD != [48]byte{}:
		return fault(FaultQuote, "MRSERVICETD is not zero: the TD is bound to service TDs")
	}
	return nil
}

// Report is what the quote states.
func (a *Authenticated) Report() *Report { return &a.quote.Report }
