// Package dcap verifies TDX quotes of version 4 and 5 with Intel's collateral.
//
// It knows the layout of quotes and what the vendor's statements mean; hashes, signatures
// and certificates are the standard library's work, and the vendor's JSON and its
// certificate extensions are read by go-tdx-guest. That library's own verifier is not
// used, because it reads no quotes of version 5 and refuses every TCB status but UpToDate,
// which is for the caller to decide; tests compare the two.
package dcap

import (
	"bytes"
	"encoding/binary"
	"fmt"
)

const (
	// MaxQuote is the longest quote that is read, in bytes. Real ones have about 5,000.
	MaxQuote = 64 << 10

	headerLength    = 48
	bodyHeader      = 6
	td10Length      = 584
	td15Length      = 648
	td15ExLength    = 885
	enclaveLength   = 384
	signatureLength = 64
	keyLength       = 64

	teeTDX          = 0x81
	keyECDSAP256    = 2
	bodyTD10        = 2
	bodyTD15        = 3
	bodyTD15Ex      = 4
	certificationQE = 6
	certificationCh = 5
)

var intelQE = []byte{0x93, 0x9a, 0x72, 0x33, 0xf7, 0x9c, 0x4c, 0xa9, 0x94, 0x0a, 0x0d, 0xb3, 0x95, 0x7f, 0x06, 0x07}

// Report is what a TDX module states about a TD.
type Report struct {
	TEETCBSVN      [16]byte
	MRSignerSEAM   [48]byte
	SEAMAttributes [8]byte
	TDAttributes   [8]byte
	MRTD           [48]byte
	MRConfigID     [48]byte
	MROwner        [48]byte
	MROwnerConfig  [48]byte
	RTMR           [4][48]byte
	ReportData     [64]byte
	// TD15 is set for TDs of TDX 1.5 that are described as such.
	TD15 *TD15
}

// TD15 is what TDX 1.5 adds.
type TD15 struct {
	TEETCBSVN2  [16]byte
	MRServiceTD [48]byte
}

// Quote is a parsed quote; nothing in it is verified yet.
type Quote struct {
	Version uint16
	Report  Report

	signed         []byte
	signature      []byte
	attestationKey []byte
	qeReport       []byte
	qeSignature    []byte
	qeAuthData     []byte
	pckChain       []byte
}

// enclaveReport holds the fields of the quoting enclave's report that are judged.
type enclaveReport struct {
	miscSelect []byte
	attributes []byte
	mrSigner   []byte
	isvProdID  uint16
	isvSVN     uint16
	reportData []byte
}

// cursor takes bytes from the front and remembers when there were too few.
type cursor struct {
	rest   []byte
	failed bool
}

func (c *cursor) take(count int) []byte {
	if c.failed || count < 0 || count > len(c.rest) {
		c.failed = true
		return nil
	}
	taken := c.rest[:count:count]
	c.rest = c.rest[count:]
	return taken
}

func (c *cursor) fill(into []byte) { copy(into, c.take(len(into))) }

func (c *cursor) u16() uint16 {
	if b := c.take(2); b != nil {
		return binary.LittleEndian.Uint16(b)
	}
	return 0
}

func (c *cursor) u32() uint32 {
	if b := c.take(4); b != nil {
		return binary.LittleEndian.Uint32(b)
	}
	return 0
}

// sized takes a length of four bytes and that many bytes.
func (c *cursor) sized() []byte {
	length := c.u32()
	if length > MaxQuote {
		c.failed = true
	}
	return c.take(int(length))
}

// Parse reads a quote. Bytes after the signature data are ignored: buffers carry them.
func Parse(raw []byte) (*Quote, error) {
	if len(raw) > MaxQuote {
		return nil, fmt.Errorf("it has %d bytes; the limit is %d", len(raw), MaxQuote)
	}
	in := &cursor{rest: raw}
	quote := &Quote{}
	bodyLength, bodyType, err := quote.readHeader(in)
	if err != nil {
		return nil, err
	}
	quote.readReport(in.take(bodyLength), bodyType)
	quote.signed = raw[:len(raw)-len(in.rest)]
	auth := &cursor{rest: in.sized()}
	if in.failed {
		return nil, fmt.Errorf("it is cut short")
	}
	return quote, quote.readAuth(auth)
}

func (q *Quote) readHeader(in *cursor) (bodyLength int, bodyType uint16, err error) {
	header := &cursor{rest: in.take(headerLength)}
	q.Version = header.u16()
	keyType := header.u16()
	tee := header.u32()
	header.take(4)
	vendor := header.take(16)
	switch {
	case in.failed:
		return 0, 0, fmt.Errorf("it is cut short")
	case q.Version != 4 && q.Version != 5:
		return 0, 0, fmt.Errorf("version %d is neither 4 nor 5", q.Version)
	case tee != teeTDX:
		return 0, 0, fmt.Errorf("TEE type 0x%x is not TDX", tee)
	case keyType != keyECDSAP256:
		return 0, 0, fmt.Errorf("attestation key type %d is not ECDSA P-256", keyType)
	case !bytes.Equal(vendor, intelQE):
		return 0, 0, fmt.Errorf("the quoting enclave's vendor is not Intel")
	case q.Version == 4:
		return td10Length, bodyTD10, nil
	}
	bodyType = in.u16()
	size := in.u32()
	lengths := map[uint16]int{bodyTD10: td10Length, bodyTD15: td15Length, bodyTD15Ex: td15ExLength}
	bodyLength, known := lengths[bodyType]
	if !known || size != uint32(bodyLength) {
		return 0, 0, fmt.Errorf("a body of type %d and %d bytes does not exist", bodyType, size)
	}
	return bodyLength, bodyType, nil
}

func (q *Quote) readReport(body []byte, bodyType uint16) {
	in := &cursor{rest: body}
	report := &q.Report
	in.fill(report.TEETCBSVN[:])
	in.take(48) // MRSEAM: which module, judged by its signer and version instead
	in.fill(report.MRSignerSEAM[:])
	in.fill(report.SEAMAttributes[:])
	in.fill(report.TDAttributes[:])
	in.take(8) // XFAM
	in.fill(report.MRTD[:])
	in.fill(report.MRConfigID[:])
	in.fill(report.MROwner[:])
	in.fill(report.MROwnerConfig[:])
	for index := range report.RTMR {
		in.fill(report.RTMR[index][:])
	}
	in.fill(report.ReportData[:])
	if bodyType == bodyTD15 || bodyType == bodyTD15Ex {
		report.TD15 = &TD15{}
		in.fill(report.TD15.TEETCBSVN2[:])
		in.fill(report.TD15.MRServiceTD[:])
	}
}

func (q *Quote) readAuth(in *cursor) error {
	q.signature = in.take(signatureLength)
	q.attestationKey = in.take(keyLength)
	if kind := in.u16(); !in.failed && kind != certificationQE {
		return fmt.Errorf("certification data of type %d is not a quoting enclave's report", kind)
	}
	inner := &cursor{rest: in.sized()}
	q.qeReport = inner.take(enclaveLength)
	q.qeSignature = inner.take(signatureLength)
	q.qeAuthData = inner.take(int(inner.u16()))
	if kind := inner.u16(); !in.failed && !inner.failed && kind != certificationCh {
		return fmt.Errorf("certification data of type %d is not a chain of certificates", kind)
	}
	q.pckChain = inner.sized()
	if in.failed || inner.failed {
		return fmt.Errorf("its signature data is cut short")
	}
	return nil
}

func parseEnclaveReport(raw []byte) enclaveReport {
	in := &cursor{rest: raw}
	var report enclaveReport
	in.take(16) // CPU SVN
	report.miscSelect = in.take(4)
	in.take(28)
	report.attributes = in.take(16)
	in.take(32 + 32) // MRENCLAVE: any enclave of the right signer, product and version
	report.mrSigner = in.take(32)
	in.take(96)
	report.isvProdID = in.u16()
	report.isvSVN = in.u16()
	in.take(60)
	report.reportData = in.take(64)
	return report
}
